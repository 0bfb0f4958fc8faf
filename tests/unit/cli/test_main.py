"""How the command begins and ends as a process."""

from __future__ import annotations

import subprocess
import sys

import pytest

ENDING = """
import atexit, gc, sys
atexit.register(lambda: print("frozen:", gc.get_freeze_count() > 1000))
from alchemy.cli import main
sys.argv[:] = ["alchemy", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize(("argument", "code"), [("--version", 0), ("--versoin", 2)])
def test_no_cycles_are_looked_for_at_the_end(argument: str, code: int) -> None:
    """However a command ends, Python does not go through all objects once more, and the exit code is the command's."""
    done = subprocess.run([sys.executable, "-c", ENDING, argument], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (code, ["frozen: True"])
