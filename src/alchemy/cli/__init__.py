"""The command line: `alchemy deploy`, `alchemy destroy`, and what belongs to them."""

from __future__ import annotations

import gc
import sys

_GARBAGE = 100_000
"""New objects between two collections: a run makes many that stay, and collecting often costs a fifth of its time."""


def main() -> None:
    """Run the command that the process was started with, and exit with its code.

    0: done. 1: something failed. 2: the command was not understood. 130: interrupted.
    """
    gc.set_threshold(_GARBAGE, 20, 100)
    try:
        from alchemy.cli.entry import run

        sys.exit(run(sys.argv[1:]))
    finally:
        # Python looks for cycles among all objects once more before it ends, 0.2 s after 10,000 resources, only to
        # give back memory that the system takes back anyway. What is not in a cycle is finalized as ever.
        gc.freeze()
