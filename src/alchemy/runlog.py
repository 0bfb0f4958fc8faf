"""A run's log: every event as a line of JSON, kept beside the unit's state."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from alchemy.errors import StateError
from alchemy.events import Event, ResourceFinished, to_line
from alchemy.nursery import Nursery
from alchemy.ports import StateStore

FLUSH_SECONDS = 1.0
FLUSH_BYTES = 64 * 1024


class RunLog:
    """Listen to a run, and write what happened without ever holding it up.

    Resources that are unchanged are left out; how many there were is in the last line. Lines written since the last
    flush, a second at most, are lost when the process is killed: a log is not state.
    """

    def __init__(self, store: StateStore, unit: str, nursery: Nursery) -> None:
        self._store = store
        self._unit = unit
        self._nursery = nursery
        self._lines = bytearray()
        self._flushed = time.monotonic()
        self._flushing = False
        self._broken = False
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.name = f"{moment.replace(':', '-').replace('.', '-')}.ndjson"

    def __call__(self, event: Event) -> None:
        """Take an event down."""
        if isinstance(event, ResourceFinished) and event.outcome == "unchanged":
            return
        self._lines += to_line(event)
        is_due = len(self._lines) > FLUSH_BYTES or time.monotonic() - self._flushed > FLUSH_SECONDS
        if is_due and not self._flushing:
            self._flushing = True
            self._nursery.start(self._flush_soon())

    async def _flush_soon(self) -> None:
        try:
            await self.flush()
        finally:
            self._flushing = False

    async def flush(self) -> None:
        """Write what was taken down. A log that cannot be written is given up: the run matters more."""
        lines, self._lines = bytes(self._lines), bytearray()
        self._flushed = time.monotonic()
        if not lines or self._broken:
            return
        try:
            await self._store.append_log(self._unit, self.name, lines)
        except (StateError, OSError):
            self._broken = True
