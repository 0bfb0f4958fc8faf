"""`python -m alchemy` is `alchemy`."""

from alchemy.cli import main

main()
