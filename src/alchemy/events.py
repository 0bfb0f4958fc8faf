"""What the engine reports. Nothing below the command line prints: it emits these, and listeners show them.

Every event has `type`, its name in JSON, and `at`, seconds since the epoch. `to_json` gives the object that
`--json` and a run's log write, one a line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import msgspec

Action = Literal["create", "update", "replace", "delete", "read", "adopt", "forget"]
Outcome = Literal[
    "created", "updated", "replaced", "unchanged", "deleted", "adopted", "forgotten", "restored", "read", "failed"
]


class Event(msgspec.Struct, kw_only=True, frozen=True):
    """Something happened at `at` (seconds since the epoch, UTC)."""

    type: ClassVar[str] = "event"
    at: float = msgspec.field(default_factory=time.time)


class RunStarted(Event, frozen=True, kw_only=True):
    """A unit was leased and loaded. `phase` is what the run does, `known` how many resources state holds.

    `owner` says who runs it, from where and what for; `options` are those that differ from their defaults.
    """

    type: ClassVar[str] = "run.started"
    unit: str
    phase: str
    known: int = 0
    owner: str = ""
    program: str | None = None
    options: dict[str, Any] = {}


class RunFinished(Event, frozen=True, kw_only=True):
    """The unit's run is over. `counts` has a number for each outcome that occurred; `seconds` is how long it took.

    `exports` is what the program exported, with secrets masked. `failures` says what went wrong, one by one.
    """

    type: ClassVar[str] = "run.finished"
    unit: str
    phase: str
    ok: bool
    seconds: float
    counts: dict[str, int]
    exports: dict[str, Any] = {}
    failures: list[str] = []


class ScopeEntered(Event, frozen=True, kw_only=True):
    """A nested scope was declared."""

    type: ClassVar[str] = "scope.entered"
    fqn: str


class ScopeLeft(Event, frozen=True, kw_only=True):
    """Everything started in a nested scope has ended."""

    type: ClassVar[str] = "scope.left"
    fqn: str
    ok: bool


class ResourceStarted(Event, frozen=True, kw_only=True):
    """A provider is about to be called for a resource; `old`: for the object that a replacement left behind."""

    type: ClassVar[str] = "resource.started"
    fqn: str
    kind: str
    action: Action
    old: bool = False


class ResourceFinished(Event, frozen=True, kw_only=True):
    """A resource is as the program wants it, or not: `outcome`. `seconds` is 0 for `unchanged`.

    `error` is the failure in words, secrets masked, when the outcome is `failed`. `old`: it is about the object
    that a replacement left behind; the resource itself is reported for itself.
    """

    type: ClassVar[str] = "resource.finished"
    fqn: str
    kind: str
    outcome: Outcome
    action: Action | None = None
    seconds: float = 0.0
    error: str | None = None
    old: bool = False


class ResourceLog(Event, frozen=True, kw_only=True):
    """A provider said something about a resource, such as a line a command printed."""

    type: ClassVar[str] = "resource.log"
    fqn: str
    message: str


class ResourceRetrying(Event, frozen=True, kw_only=True):
    """A call failed in a way that may pass; it is tried again in `delay` seconds. `attempt` counts from 1."""

    type: ClassVar[str] = "resource.retrying"
    fqn: str
    action: Action
    attempt: int
    delay: float
    error: str


class Waiting(Event, frozen=True, kw_only=True):
    """Somebody else holds the unit: `owner` says who, from where and doing what, `since` when (UTC).

    `held` is the chain that they hold: the unit, or one above or below it. At `deadline` (seconds since the epoch) it
    would be free, unless they renew it, as a run that lives does. This run waits `patience` seconds.
    """

    type: ClassVar[str] = "lock.waiting"
    unit: str
    owner: str
    held: str = ""
    since: str = ""
    deadline: float | None = None
    patience: float = 0.0


class Planned(Event, frozen=True, kw_only=True):
    """A dry run would do this, in this order; nothing was touched."""

    type: ClassVar[str] = "plan.delete"
    fqn: str
    kind: str


class Notice(Event, frozen=True, kw_only=True):
    """Something a person should know: `level` is `info` or `warning`."""

    type: ClassVar[str] = "notice"
    level: Literal["info", "warning"]
    message: str


Listener = Callable[[Event], None]
_encoder = msgspec.json.Encoder(enc_hook=str)

ALL: tuple[type[Event], ...] = (
    RunStarted,
    RunFinished,
    ScopeEntered,
    ScopeLeft,
    ResourceStarted,
    ResourceFinished,
    ResourceLog,
    ResourceRetrying,
    Waiting,
    Planned,
    Notice,
)


def to_json(event: Event) -> dict[str, Any]:
    """Give the object that stands for `event`, `type` first."""
    return {"type": event.type, **msgspec.structs.asdict(event)}


def to_line(event: Event) -> bytes:
    """Give what `to_json` gives as a line of JSON, its end included; what JSON does not know becomes text."""
    return b'{"type":"%s",%s\n' % (event.type.encode(), _encoder.encode(event)[1:])


_BY_TYPE = {kind.type: kind for kind in ALL}


def from_json(data: Mapping[str, Any]) -> Event | None:
    """Give the event that `to_json` made this of; `None` for one that this version does not know."""
    kind = _BY_TYPE.get(data.get("type", ""))
    try:
        return msgspec.convert(data, kind) if kind is not None else None
    except msgspec.ValidationError:
        return None


class Bus:
    """Hand every event to every listener, in order. A listener that raises ends the run: it is a bug."""

    def __init__(self, listeners: tuple[Listener, ...] = ()) -> None:
        self._listeners = list(listeners)

    def listen(self, listener: Listener) -> None:
        """Add a listener; it hears what comes from now on."""
        self._listeners.append(listener)

    def emit(self, event: Event) -> None:
        """Tell everyone."""
        for listener in self._listeners:
            listener(event)
