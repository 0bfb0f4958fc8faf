"""How much of a test is run: a little with every change, a lot in `make torture`."""

from __future__ import annotations

import os

TORTURE = bool(os.environ.get("TORTURE"))


def amount(suite: int, torture: int) -> int:
    """Give the first number in the suite, the second in `make torture`."""
    return torture if TORTURE else suite
