"""A run's log: every event as a line of JSON, kept beside the unit's state."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import ClassVar

import msgspec

from alchemy.errors import AlchemyError
from alchemy.events import Event, ResourceFinished, ResourceLog, ResourceRetrying, RunFinished, to_line
from alchemy.history import MOMENT, stamp
from alchemy.nursery import Nursery
from alchemy.ports import StateStore
from alchemy.secret import MASK

FLUSH_SECONDS = 1.0
FLUSH_BYTES = 64 * 1024


class RunLog:
    """Listen to a run, and write what happened without ever holding it up.

    Resources that are unchanged are left out; how many there were is in the last line. Lines taken down since the last
    flush, a second at most, are lost when the process is killed: a log is not state. The last ones are given to whoever
    gives the unit back: a store may take both in one request, and who finds the unit free finds the log whole.

    Args:
        names_only: leave out whatever may hold a value: what providers say, what was exported, why something failed.
    """

    _newest: ClassVar = datetime.fromtimestamp(0, UTC)

    def __init__(self, store: StateStore, unit: str, nursery: Nursery, *, names_only: bool = False) -> None:
        self._store = store
        self._unit = unit
        self._nursery = nursery
        self._lines = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._writing = asyncio.Lock()
        self._broken = False
        self._finished = False
        self._names_only = names_only
        # Or a little later: runs of this process that begin in the same millisecond have a log each.
        RunLog._newest = max(datetime.now(UTC), RunLog._newest + MOMENT)
        self.name = f"{stamp(RunLog._newest)}.ndjson"

    def __call__(self, event: Event) -> None:
        """Take an event down."""
        if self._finished or not self._take(event):
            return
        if self._timer is None:
            # A timer, not the next event: while one slow call runs nothing else happens, and people look.
            self._timer = self._nursery.loop.call_later(FLUSH_SECONDS, self._flush_soon)
        elif len(self._lines) > FLUSH_BYTES and not self._timer.cancelled():
            self._timer.cancel()
            self._flush_soon()

    def _take(self, event: Event) -> bool:
        if isinstance(event, ResourceFinished) and event.outcome == "unchanged":
            return False
        if self._names_only:
            if isinstance(event, ResourceLog):
                return False
            event = _without_values(event)
        self._lines += to_line(event)
        return True

    async def written(self) -> None:
        """Wait for what is being written: what comes after it must not come before it."""
        async with self._writing:
            pass

    def finish(self, last: RunFinished) -> bytes:
        """Take the last event down, and nothing after it; give the lines that are still to be written."""
        if not self._finished:
            self._take(last)
        self._finished = True
        return self._drain()

    async def correct(self, last: RunFinished) -> None:
        """Write another last event after the one that turned out wrong: readers go by the latest."""
        self._take(last)
        await self.flush()

    def _flush_soon(self) -> None:
        self._nursery.start(self.flush())

    async def flush(self) -> None:
        """Write what was taken down. A log that cannot be written is given up: the run matters more."""
        async with self._writing:  # one after the other, or lines would change places
            lines = self._drain()
            if not lines:
                return
            try:
                await self._store.append_log(self._unit, self.name, lines)
            except (AlchemyError, OSError):
                self._broken = True

    def _drain(self) -> bytes:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = bytes(self._lines), bytearray()
        return b"" if self._broken else lines


def _without_values(event: Event) -> Event:
    """Give an event without what may hold an input or an output."""
    match event:
        case ResourceFinished() | ResourceRetrying() if event.error is not None:
            return msgspec.structs.replace(event, error=MASK)
        case RunFinished():
            return msgspec.structs.replace(event, exports={}, failures=[MASK for _ in event.failures])
        case _:
            return event
