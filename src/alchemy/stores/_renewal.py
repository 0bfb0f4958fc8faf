"""Renewing a lease from a thread of its own, for as long as the event loop is alive."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from alchemy.errors import AlchemyError, LeaseLost

LOOP_PATIENCE = 600.0
"""Seconds for which the lease of a run is kept whose event loop does not answer."""
_LEAST = 0.005


class Renewal:
    """Renews four times in a ttl, until stopped.

    Seconds count that this thread has lived through, so that a process that was stopped as a whole, or slept, is not
    taken for one whose loop hangs.

    Args:
        loop: asked each time whether it still answers.
        ttl: seconds.
        renew: called in the thread; a `LeaseLost` it raises ends the renewal, other errors are tried again.
        give_up: called in the thread with the reason when the loop has not answered for `LOOP_PATIENCE`.
        name: of what is held.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        ttl: float,
        renew: Callable[[], object],
        give_up: Callable[[str], None],
        name: str,
    ) -> None:
        self._loop = loop
        self._every = max(ttl / 4, _LEAST)
        self._renew = renew
        self._give_up = give_up
        self._answered = True
        self._asked = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"alchemy-lease {name}", daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether it still renews."""
        return self._thread.is_alive()

    def join(self, timeout: float) -> None:
        """Wait until it has ended. Blocks."""
        self._thread.join(timeout)

    def stop(self) -> None:
        """Renew no more. Returns at once; a renewal that is under way may still end."""
        self._stopped.set()

    def _run(self) -> None:
        silent = 0.0
        while not self._stopped.wait(self._every):
            silent = 0.0 if self._answered else silent + self._every
            if silent >= LOOP_PATIENCE:
                self._give_up(f"was not renewed any more: the event loop was blocked for {silent:.0f} s")
                return
            if not self._ask():
                return
            try:
                self._renew()
            except LeaseLost:
                return
            except (AlchemyError, OSError):
                continue  # the deadline allows for three more tries

    def _ask(self) -> bool:
        """Ask the loop for a sign; give `False` when it is closed, since nobody can write through it then."""
        self._answered = False
        if not self._asked:
            self._asked = True
            try:
                self._loop.call_soon_threadsafe(self._answer)
            except RuntimeError:
                return False
        return True

    def _answer(self) -> None:
        self._asked = False
        self._answered = True
