"""The command line: `alchemy deploy`, `alchemy destroy`, and what belongs to them."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command that the process was started with, and exit with its code.

    0: done. 1: something failed. 2: the command was not understood. 130: interrupted.
    """
    from alchemy.cli.entry import run

    sys.exit(run(sys.argv[1:]))
