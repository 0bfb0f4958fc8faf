"""What a run has done and is doing, gathered from its events: what every display shows. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from alchemy import events
from alchemy.events import Action, Event, Outcome

RECENT = 400
"""How many resources that have ended are remembered by name; the others are only counted."""


@dataclass(slots=True)
class Entry:
    """One resource that is, or was, being worked on.

    Attributes:
        action: what is being done; `None` for one that was reported when it had ended.
        since: when it began; seconds since the epoch.
        outcome: how it ended; `None` while it runs.
        seconds: how long it took.
        note: the last thing its provider said, or why it is tried again.
        place: its place in the order in which things began.
    """

    fqn: str
    kind: str
    action: Action | None
    since: float
    place: int
    outcome: Outcome | None = None
    seconds: float = 0.0
    note: str = ""


class Progress:
    """The state of all runs of one program.

    Attributes:
        running: by FQN, in the order in which they began.
        ended: the newest `RECENT` that ended, unchanged ones left out.
        failed: why, by FQN, in words.
        counts: how many ended how, in all.
        phases: of the units that were opened, by unit.
        finished: the units' ends, in order.
        waiting: who holds a unit that is waited for.
    """

    def __init__(self) -> None:
        self.running: dict[str, Entry] = {}
        self.ended: deque[Entry] = deque(maxlen=RECENT)
        self.failed: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        self.phases: dict[str, str] = {}
        self.finished: list[events.RunFinished] = []
        self.waiting: events.Waiting | None = None
        self._places = 0
        self._on: dict[type[Event], Callable[[Any], None]] = {
            events.RunStarted: self._run_started,
            events.RunFinished: self.finished.append,
            events.ResourceStarted: self._started,
            events.ResourceFinished: self._finished,
            events.ResourceLog: self._log,
            events.ResourceRetrying: self._retrying,
            events.Waiting: self._waiting,
        }

    @property
    def ok(self) -> bool:
        """Whether nothing has failed so far."""
        return not self.failed and all(run.ok for run in self.finished)

    def feed(self, event: Event) -> None:
        """Take an event in."""
        on = self._on.get(type(event))
        if on is not None:
            on(event)

    def _run_started(self, event: events.RunStarted) -> None:
        self.phases[event.unit] = event.phase
        self.waiting = None

    def _waiting(self, event: events.Waiting) -> None:
        self.waiting = event

    def _place(self) -> int:
        self._places += 1
        return self._places

    def _started(self, event: events.ResourceStarted) -> None:
        self.running[event.fqn] = Entry(event.fqn, event.kind, event.action, event.at, self._place())

    def _finished(self, event: events.ResourceFinished) -> None:
        entry = self.running.pop(event.fqn, None)
        if event.outcome == "failed":
            self.failed[event.fqn] = event.error or "failed"
        if event.old and event.outcome != "failed":
            return  # the end of a replacement, which was counted
        self.counts[event.outcome] += 1
        if event.outcome in ("unchanged", "read"):
            return
        if entry is None:
            entry = Entry(event.fqn, event.kind, event.action, event.at, self._place())
        entry.outcome, entry.seconds = event.outcome, event.seconds
        self.ended.append(entry)

    def _log(self, event: events.ResourceLog) -> None:
        entry = self.running.get(event.fqn)
        if entry is not None:
            entry.note = event.message

    def _retrying(self, event: events.ResourceRetrying) -> None:
        entry = self.running.get(event.fqn)
        if entry is not None:
            entry.note = f"tried again in {event.delay:.0f} s: {event.error}"
