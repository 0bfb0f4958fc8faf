"""What people, or programs, get to see of a run: listeners to its events. `choose` picks the one that fits."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import msgspec

from alchemy import events
from alchemy.cli import terminal
from alchemy.cli.columns import seconds_of
from alchemy.cli.progress import Progress
from alchemy.events import Event

VERBS = {
    "up": "deploying",
    "destroy": "destroying",
    "read": "reading",
    "cleanup": "cleaning up",
    "reset": "resetting",
    "restore": "restoring",
    "rebuild": "rebuilding",
    "resolve": "resolving",
    "mv": "renaming in",
    "rm": "forgetting in",
    "rekey": "encrypting anew",
}
_TELLS_ITSELF = ("mv", "rekey")
"""What nothing counts: the command says what was done, record by record."""
ORDER = ("created", "adopted", "updated", "replaced", "unchanged", "read", "deleted", "forgotten", "restored", "failed")
_PATIENCE = 10.0


class Display:
    """Shows nothing but failures, which the command lists at the end: `--quiet`, and the base of the others.

    A display hears every event (`__call__`) on the loop's thread, and is given the time to draw by `tick`, ten
    times a second. It never raises for lack of a reader: a deploy does not end because `head` did.

    Attributes:
        progress: what the run has done so far.
    """

    interval = 0.1

    def __init__(self) -> None:
        self.progress = Progress()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __call__(self, event: Event) -> None:
        """Take in an event."""
        self.progress.feed(event)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to draw."""
        self._loop = loop
        loop.call_later(self.interval, self._tick)

    def _tick(self) -> None:
        if self._loop is not None:
            began = time.monotonic()
            self.tick()
            # A slow terminal gets fewer pictures, and the run keeps nine tenths of the time.
            self._loop.call_later(max(self.interval, 9 * (time.monotonic() - began)), self._tick)

    def tick(self) -> None:
        """Draw, if there is anything new."""

    def say(self, message: str) -> None:
        """Tell people something that is not an event."""
        terminal.note(message)

    def close(self) -> None:
        """Draw for the last time. Safe to repeat."""
        self._loop = None


class Output:
    """A stream that is flushed now and then, and whose reader may go away."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._fresh = False
        self._gone = False

    def write(self, line: str) -> None:
        """Write a line."""
        if not self._gone:
            self._fresh = True
            self._guarded(lambda: self._stream.write(line + "\n"))

    def flush(self) -> None:
        """Hand over what was written."""
        if self._fresh and not self._gone:
            self._fresh = False
            self._guarded(self._stream.flush)

    def _guarded(self, act: Callable[[], object]) -> None:
        try:
            act()
        except OSError as error:
            self._gone = True
            # What is still in the stream's buffer would raise again when Python exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            if not isinstance(error, BrokenPipeError):
                terminal.problem(f"the output cannot be written: {error.strerror}", "the run goes on without it")


class JsonLines(Display):
    """`--json`: every event as one line of JSON, and nothing else."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._output = Output(stream)

    def __call__(self, event: Event) -> None:
        self.progress.feed(event)
        self._output.write(msgspec.json.encode(events.to_json(event)).decode())

    def tick(self) -> None:
        self._output.flush()

    def close(self) -> None:
        super().close()
        self._output.flush()


class Lines(Display):
    """Plain lines, for pipes and logs: one for each resource that changed, and a summary."""

    def __init__(self, stream: TextIO, *, verbose: bool = False) -> None:
        super().__init__()
        self._output = Output(stream)
        self._verbose = verbose
        self._told: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        self.progress.feed(event)
        line = line_of(event, verbose=self._verbose)
        if line is not None:
            self._output.write(terminal.clean(line))

    def tick(self) -> None:
        """Flush, and say of what takes long that it is still being worked on."""
        now = time.time()
        for entry in self.progress.running.values():
            last = self._told.get(entry.fqn, entry.since)
            if now - last >= _PATIENCE:
                self._told[entry.fqn] = now
                self._output.write(f"{'still':<10} {entry.fqn}  {entry.action}  {duration(now - entry.since)}")
        self._output.flush()

    def close(self) -> None:
        super().close()
        self._output.flush()


def line_of(event: Event, *, verbose: bool) -> str | None:
    """Say an event in a line; `None` when it is not worth one. `verbose` as on the command line."""
    match event:
        case events.RunStarted():
            known = f", {event.known} in state" if event.known else ""
            return f"{VERBS.get(event.phase, event.phase)} {event.unit}{known}"
        case events.RunFinished():
            return "\n".join([summary(event), *exported(event.exports)])
        case events.ResourceFinished():
            if event.outcome in ("unchanged", "read") and not verbose:
                return None
            took = f"  {duration(event.seconds)}" if event.seconds else ""
            old = "  (the one it replaced)" if event.old else ""
            why = f"  {reason(event)}" if event.error else ""
            return f"{event.outcome:<10} {event.fqn}  {event.kind}{took}{old}{why}"
        case events.ResourceStarted():
            return f"{event.action + ' …':<10} {event.fqn}  {event.kind}" if verbose else None
        case events.ResourceLog():
            return f"{'log':<10} {event.fqn}  {event.message}" if verbose else None
        case _:
            return notice_of(event)


def notice_of(event: Event) -> str | None:
    """Say in a line what is told at once, whatever the display; `None` for other events."""
    match event:
        case events.ResourceRetrying():
            return f"{'retrying':<10} {event.fqn}  {event.action} in {duration(event.delay)}: {event.error}"
        case events.Waiting():
            return f"{'waiting':<10} {holder(event, event.at)}"
        case events.Planned():
            return f"{'would go':<10} {event.fqn}  {event.kind}"
        case events.Notice():
            return f"{event.level + ':':<10} {event.message}"
        case _:
            return None


def holder(event: events.Waiting, now: float) -> str:
    """Say in a line who holds what is waited for, for how long, until when, and how long this run waits."""
    what = event.held or event.unit
    parts = [f"{what} is held by {event.owner}"]
    since = seconds_of(event.since)
    if since is not None:
        parts.append(f" for {duration(max(now - since, 0.0))}")
    if what != event.unit:
        parts.append(f", which keeps {event.unit} waiting")
    if event.deadline is not None:
        left = event.deadline - now
        parts.append(f"; free in {duration(left)} unless it is renewed" if left > 0 else "; should be free any moment")
    if event.patience:
        parts.append(f"; waiting up to {duration(event.patience)}")
    return "".join(parts)


def reason(event: events.ResourceFinished) -> str:
    """Say in a line why a resource failed; which one it was is said beside it."""
    first = (event.error or "failed").partition("\n")[0]
    return first.removeprefix(f"{event.fqn}: ")


def duration(seconds: float) -> str:
    """Say how long something took: `0.03 s`, `4.2 s`, `2 min 5 s`."""
    if seconds < 0.095:
        return f"{seconds:.2f} s"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def counted(counts: Mapping[str, int]) -> str:
    """Say how many ended how: `3 created, 2 unchanged`; empty for nothing."""
    known = [(outcome, counts[outcome]) for outcome in ORDER if counts.get(outcome)]
    return ", ".join(f"{count} {outcome}" for outcome, count in known)


def summary(event: events.RunFinished) -> str:
    """Say in a line how a unit's run went."""
    how = counted(event.counts)
    if not event.ok:
        how = f"{how}, not finished" if how else "not finished"
    if not how:
        how = "done" if event.phase in _TELLS_ITSELF else "nothing to do"
    return f"{event.unit}: {how} in {duration(event.seconds)}"


def exported(exports: Mapping[str, Any]) -> list[str]:
    """Give a line for each exported value, names aligned."""
    width = max(map(len, exports), default=0)
    return [f"  {name:<{width}}  {value_of(value)}" for name, value in exports.items()]


def value_of(value: Any) -> str:
    """Give an exported value as text: text as it is, a resource by its FQN, anything else as JSON."""
    match value:
        case {"@resource": {"fqn": str(fqn)}}:
            return fqn
        case _:
            return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def choose(*, as_json: bool, quiet: bool, verbose: bool) -> Display:
    """Make the display that was asked for, and that stdout can show.

    For JSON, stdout is taken over: what the program prints goes to stderr from then on, so that a reader gets
    nothing but events.
    """
    if as_json:
        return JsonLines(_claim_stdout())
    if quiet:
        return Display()
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        from alchemy.cli.live import LiveTree

        return LiveTree(verbose=verbose)
    return Lines(sys.stdout, verbose=verbose)


def _claim_stdout() -> TextIO:
    """Give stdout for ourselves, and let file descriptor 1 lead to stderr: children print there too."""
    sys.stdout.flush()
    ours = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return ours
