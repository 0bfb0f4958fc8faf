"""Asking a storage again that did not answer."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from alchemy.errors import StateError
from alchemy.stores.backend import Unreachable

T = TypeVar("T")
PATIENCE = 30.0
"""Seconds for which a storage that does not answer is asked again: a restart takes less."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0


async def persist(ask: Callable[[], Awaitable[T]], *, patience: float = PATIENCE) -> T:
    """Ask until an answer comes.

    Args:
        ask: may be called again with the same effect as once.
        patience: seconds.

    Raises:
        StateError: none came in time.
    """
    began = time.monotonic()
    pause = _FIRST_PAUSE
    while True:
        try:
            return await ask()
        except Unreachable as error:
            waited = time.monotonic() - began
            if waited + pause > patience:
                raise StateError(f"{error.message} (asked for {waited:.0f} s)", hint=error.hint) from error
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(pause * 2, _LONGEST_PAUSE)
