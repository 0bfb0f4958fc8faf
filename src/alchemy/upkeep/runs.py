"""What runs left in their logs: which there were, how each went, and what happened in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from alchemy import events
from alchemy.events import Event

_decode = msgspec.json.decode


@dataclass(frozen=True, slots=True)
class PastRun:
    """One run, as its log tells it.

    Attributes:
        name: the log's.
        started: seconds since the epoch; `None` when the log has no beginning.
        phase: what it did: `up`, `destroy`, or the command that did it.
        finished: how it ended; `None`: it goes on, or was ended without a chance to say so.
    """

    name: str
    started: float | None
    phase: str
    finished: events.RunFinished | None

    @property
    def what(self) -> str:
        """The command that made such a run."""
        return _COMMANDS.get(self.phase, self.phase) or "unknown"

    def as_json(self) -> dict[str, Any]:
        """Give it as data for programs."""
        finished = self.finished
        return {
            "name": self.name,
            "started_at": self.started,
            "operation": self.what,
            "ended": finished is not None,
            "ok": finished.ok if finished else None,
            "seconds": finished.seconds if finished else None,
            "counts": finished.counts if finished else None,
        }


_COMMANDS = {"up": "deploy"}


def summarize(name: str, raw: bytes) -> PastRun:
    """Tell from a log which run it was."""
    started = finished = None
    for data in _objects(raw, only=(b'"run.started"', b'"run.finished"')):
        match events.from_json(data):
            case events.RunStarted() as event:
                started = event
            case events.RunFinished() as event:
                finished = event
            case _:
                pass
    phase = started.phase if started else finished.phase if finished else ""
    return PastRun(name, started.at if started else None, phase, finished)


def events_in(raw: bytes) -> Iterator[tuple[bytes, Event | None]]:
    """Give each whole line of a log with the event it stands for; `None` for one that a newer version wrote."""
    for line in raw.splitlines():
        data = _object(line)
        if data is not None:
            yield line, events.from_json(data)


def _objects(raw: bytes, *, only: tuple[bytes, ...]) -> Iterator[dict[str, Any]]:
    for line in raw.splitlines():
        if any(word in line for word in only):
            data = _object(line)
            if data is not None:
                yield data


def _object(line: bytes) -> dict[str, Any] | None:
    """Read a line; one that was cut short by a crash is nothing."""
    try:
        data: Any = _decode(line)
    except ValueError:
        return None
    return cast("dict[str, Any]", data) if isinstance(data, dict) else None
