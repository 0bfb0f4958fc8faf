"""The display for terminals: a tree of scopes and resources that moves while the run does, then stays as a list."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from alchemy import events
from alchemy.cli import terminal
from alchemy.cli.progress import Entry
from alchemy.cli.render import VERBS, Display, counted, duration, exported, holder, line_of, notice_of, summary
from alchemy.events import Event
from alchemy.names import is_within

FINAL = 60
"""How many lines of the tree stay when a run is over; what failed comes first."""
_CHROME = 4
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_DONE = {
    "created": ("+", "green"),
    "adopted": ("+", "cyan"),
    "updated": ("~", "yellow"),
    "replaced": ("±", "yellow"),
    "deleted": ("-", "magenta"),
    "forgotten": ("-", "dim"),
    "restored": ("+", "green"),
    "failed": ("✗", "bold red"),
}
_DOING = {
    "create": "creating",
    "update": "updating",
    "replace": "replacing",
    "delete": "deleting",
    "read": "reading",
    "adopt": "adopting",
    "forget": "forgetting",
}


class LiveTree(Display):
    """Draws at most ten times a second, and never more than fits: what runs and what ended last, the rest as counts."""

    def __init__(self, *, verbose: bool = False, console: Console | None = None) -> None:
        super().__init__()
        self.console = console or Console(highlight=False, soft_wrap=False)
        self._verbose = verbose
        self._live: Live | None = None
        self._dirty = False
        self._began = time.time()

    def __call__(self, event: Event) -> None:
        self.progress.feed(event)
        self._dirty = True
        if isinstance(event, events.RunFinished):
            self._finish(event)
        elif isinstance(event, events.Waiting) and not self.progress.phases:
            pass  # the picture says it, and goes on counting
        elif not isinstance(event, events.ResourceStarted | events.ResourceFinished | events.RunStarted):
            line = line_of(event, verbose=True) if self._verbose else notice_of(event)
            if line is not None:
                self.say(line)
        elif self._verbose and isinstance(event, events.ResourceFinished) and event.outcome in ("unchanged", "read"):
            self.say(f"{event.outcome:<10} {event.fqn}  {event.kind}")

    def say(self, message: str) -> None:
        style = "yellow" if message.startswith(("warning", "stopping", "aborting")) else "dim"
        self.console.print(Text(terminal.clean(message), style=style))

    def tick(self) -> None:
        if not (self._dirty or self.progress.running):
            return
        self._dirty = False
        if self._live is None:
            # Only now: a run that is over within the first tenth of a second needs no moving picture.
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(Group(*self.picture(time.time())), refresh=True)

    def close(self) -> None:
        super().close()
        if self._live is not None:
            self._live.update(Group())
            self._live.stop()
            self._live = None

    def _finish(self, event: events.RunFinished) -> None:
        """Print for good what became of a unit."""
        if self._live is not None:
            self._live.update(Group(), refresh=True)
        ended = [entry for entry in self.progress.ended if is_within(entry.fqn, event.unit)]
        ended.sort(key=lambda entry: (entry.outcome != "failed", entry.place))
        kept, left = ended[:FINAL], sum(event.counts.values()) - min(len(ended), FINAL)
        for line in tree(kept, root=event.unit, now=event.at, spin=0):
            self.console.print(line, no_wrap=True, overflow="ellipsis")
        quiet = event.counts.get("unchanged", 0) + event.counts.get("read", 0)
        if left - quiet > 0:
            self.console.print(Text(f"… and {left - quiet} more", style="dim"))
        self.console.print(Text(summary(event), style="bold" if event.ok else "bold red"))
        for value in exported(event.exports):
            self.console.print(Text(terminal.clean(value), style="cyan"), soft_wrap=True)
        for entry in ended:
            self.progress.ended.remove(entry)

    def picture(self, now: float) -> Iterator[Text]:
        """Give the lines that fit the terminal now."""
        progress = self.progress
        room = max(self.console.height - _CHROME, 3)
        spin = int(now * 10)
        if not progress.phases:
            waiting = progress.waiting
            what = f"waiting: {holder(waiting, now)}" if waiting else "starting"
            yield Text(f"{_frame(spin)} {what} · {duration(now - self._began)}", style="dim")
            return
        unit = next(reversed(progress.phases))
        yield Text(f"{VERBS.get(progress.phases[unit], 'running')} {unit}", style="bold")
        # What runs comes first, then what ended last.
        fitting = list(islice(chain(progress.running.values(), reversed(progress.ended)), room))
        lines: list[Text] = []
        while fitting:
            shown = sorted(fitting, key=lambda entry: entry.place)
            lines = list(tree(shown, root=unit, now=now, spin=spin))
            if len(lines) <= room:
                break
            del fitting[room - len(lines) :]  # their scopes need lines too
        yield from lines[:room]
        hidden = len(progress.running) - sum(entry.outcome is None for entry in fitting)
        doing = f"{len(progress.running)} running" + (f" ({hidden} not shown)" if hidden else "")
        parts = [counted(progress.counts), doing, duration(now - self._began)]
        yield Text(f"{_frame(spin)} " + " · ".join(part for part in parts if part), style="dim", overflow="ellipsis")


def _frame(spin: int) -> str:
    return _SPINNER[spin % len(_SPINNER)]


class _Branch:
    """A part of the tree: perhaps a resource, and what lies below it."""

    __slots__ = ("below", "entry")

    def __init__(self) -> None:
        self.entry: Entry | None = None
        self.below: dict[str, _Branch] = {}


def tree(entries: Iterable[Entry], *, root: str, now: float, spin: int) -> Iterator[Text]:
    """Draw resources under their scopes, a line each; those outside `root` stand beside it under their full names."""
    top = _Branch()
    for entry in entries:
        inside = is_within(entry.fqn, root)
        parts = entry.fqn[len(root) + 1 :].split("/") if inside else [entry.fqn]
        branch = top
        for part in parts:
            branch = branch.below.setdefault(part, _Branch())
        branch.entry = entry
    yield from _draw(top, "", now, spin)


def _draw(branch: _Branch, indent: str, now: float, spin: int) -> Iterator[Text]:
    last = len(branch.below) - 1
    for index, (name, below) in enumerate(branch.below.items()):
        guide, further = ("└─ ", "   ") if index == last else ("├─ ", "│  ")
        line = Text(indent + guide, style="dim", no_wrap=True, overflow="ellipsis")
        _describe(line, name, below.entry, now, spin)
        yield line
        yield from _draw(below, indent + further, now, spin)


def _describe(line: Text, name: str, entry: Entry | None, now: float, spin: int) -> None:
    if entry is None:
        line.append(name, style="not dim bold")
        return
    if entry.outcome is None:
        line.append(f"{_frame(spin)} ", style="not dim cyan")
        line.append(name, style="not dim")
        doing = _DOING.get(entry.action or "", "working")
        line.append(f"  {entry.kind}  {doing} {duration(max(now - entry.since, 0.0))}")
        if entry.note:
            line.append(f"  {terminal.clean(entry.note).splitlines()[0][:200]}", style="italic")
        return
    mark, style = _DONE.get(entry.outcome, ("•", "dim"))
    line.append(f"{mark} ", style=f"not dim {style}")
    line.append(name, style="not dim")
    line.append(f"  {entry.kind}  ")
    line.append(entry.outcome, style=f"not dim {style}" if style != "dim" else style)
    if entry.seconds:
        line.append(f"  {duration(entry.seconds)}")
