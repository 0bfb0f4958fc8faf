"""Events as lines, as JSON, and as pictures that fit the terminal."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from alchemy.cli.live import LiveTree
from alchemy.cli.render import Display, JsonLines, Lines, Output, duration, exported, holder, line_of, summary
from alchemy.events import (
    ALL,
    Action,
    Event,
    Notice,
    ResourceFinished,
    ResourceLog,
    ResourceRetrying,
    ResourceStarted,
    RunFinished,
    RunStarted,
    ScopeEntered,
    Waiting,
)


def finished(fqn: str, outcome: str = "created", **more: object) -> ResourceFinished:
    return ResourceFinished(fqn=fqn, kind="t::T", outcome=outcome, **more)  # type: ignore[arg-type]


def ended(**more: object) -> RunFinished:
    values = {"unit": "a/b", "phase": "up", "ok": True, "seconds": 1.25, "counts": {}, **more}
    return RunFinished(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 s"),
        (0.034, "0.03 s"),
        (0.0999, "0.1 s"),
        (1.25, "1.2 s"),
        (99.9, "99.9 s"),
        (99.96, "1 min 40 s"),
        (3725, "1 h 2 min"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float, text: str) -> None:
    """Two digits that matter, and minutes when there are any."""
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (RunStarted(unit="a/b", phase="up", known=3), "deploying a/b, 3 in state"),
        (RunStarted(unit="a/b", phase="destroy"), "destroying a/b"),
        (finished("a/b/c", action="create", seconds=2.0), "created    a/b/c  t::T  2.0 s"),
        (
            finished("a/b/c", "failed", error="a/b/c: create failed: no\nmore"),
            "failed     a/b/c  t::T  create failed: no",
        ),
        (finished("a/b/c", "deleted", old=True), "deleted    a/b/c  t::T  (the one it replaced)"),
        (finished("a/b/c", "unchanged"), None),
        (ResourceStarted(fqn="a/b/c", kind="t::T", action="create"), None),
        (ResourceLog(fqn="a/b/c", message="hello"), None),
        (Waiting(unit="a/b", owner="bob@host"), "waiting    a/b is held by bob@host"),
        (Notice(level="warning", message="careful"), "warning:   careful"),
        (
            ResourceRetrying(fqn="a/b/c", action="create", attempt=1, delay=2.0, error="busy"),
            "retrying   a/b/c  create in 2.0 s: busy",
        ),
        (ScopeEntered(fqn="a/b/c"), None),
        (ended(counts={"unchanged": 2, "created": 1}), "a/b: 1 created, 2 unchanged in 1.2 s"),
        (ended(), "a/b: nothing to do in 1.2 s"),
        (ended(phase="mv"), "a/b: done in 1.2 s"),
        (ended(phase="mv", ok=False), "a/b: not finished in 1.2 s"),
    ],
)
def test_an_event_is_a_line(event: Event, line: str | None) -> None:
    """Only what changed, waits, or went wrong is worth one."""
    assert line_of(event, verbose=False) == line


def test_verbose_has_a_line_for_more() -> None:
    """What providers say, what begins, and what stays as it is."""
    assert line_of(finished("a/b/c", "unchanged"), verbose=True) == "unchanged  a/b/c  t::T"
    assert line_of(ResourceLog(fqn="a/b/c", message="hello"), verbose=True) == "log        a/b/c  hello"
    started = ResourceStarted(fqn="a/b/c", kind="t::T", action="update")
    assert line_of(started, verbose=True) == "update …   a/b/c  t::T"


def test_a_summary_says_how_it_went() -> None:
    """Counts in one order, nothing to do, and not finished."""
    assert summary(ended()) == "a/b: nothing to do in 1.2 s"
    assert summary(ended(ok=False)) == "a/b: not finished in 1.2 s"
    assert (
        summary(ended(ok=False, counts={"failed": 1, "created": 2}))
        == "a/b: 2 created, 1 failed, not finished in 1.2 s"
    )
    assert exported({"url": "http://x", "sizes": [1, 2]}) == ["  url    http://x", "  sizes  [1,2]"]
    assert exported({"db": {"@resource": {"fqn": "a/b/db"}}}) == ["  db  a/b/db"]


def test_lines_cannot_steer_a_terminal() -> None:
    """Control characters in what a provider says are left out."""
    stream = io.StringIO()
    display = Lines(stream)
    display(Notice(level="info", message="red \x1b[31malert\x07"))
    display.close()
    assert stream.getvalue() == "info:      red [31malert\n"


def test_json_is_one_event_a_line() -> None:
    """Every event, also those that have no line for people."""
    stream = io.StringIO()
    display = JsonLines(stream)
    for event in (RunStarted(unit="a/b", phase="up"), ScopeEntered(fqn="a/b/c"), ended(exports={"url": "x"})):
        display(event)
    display.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["type"] for line in lines] == ["run.started", "scope.entered", "run.finished"]


def test_long_work_is_mentioned_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pipe a line says every ten seconds what is still being worked on."""
    stream = io.StringIO()
    display = Lines(stream)
    display(ResourceStarted(fqn="a/b/c", kind="t::T", action="create", at=1000.0))
    for now in (1005.0, 1010.0, 1015.0, 1020.0):
        monkeypatch.setattr("time.time", lambda now=now: now)
        display.tick()
    assert stream.getvalue().splitlines() == ["still      a/b/c  create  10.0 s", "still      a/b/c  create  20.0 s"]


def test_a_stream_that_nobody_reads_is_given_up() -> None:
    """Writing into a closed pipe raises nothing, neither then nor later."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        output = Output(stream)
        for _ in range(3):
            output.write("x" * 100_000)
            output.flush()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Output that cannot be written does not end the run, but is not lost in silence."""
    with open("/dev/full", "w") as stream:
        output = Output(stream)
        for _ in range(3):
            output.write("x" * 100_000)
            output.flush()
    assert capsys.readouterr().err.count("the output cannot be written: No space left on device") == 1


def pictured(events: Sequence[Event], *, height: int = 20, width: int = 80, now: float = 107.0) -> list[str]:
    """What the live view draws after these events, as text."""
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True)
    display = LiveTree(console=console)
    for event in events:
        display(event)
    return [text.plain for text in display.picture(now)]


def start(fqn: str, action: Action = "create") -> ResourceStarted:
    return ResourceStarted(fqn=fqn, kind="t::T", action=action, at=105.0)


def test_a_picture_is_a_tree_of_what_runs_and_ended() -> None:
    """Scopes and resources under them, what each is doing and for how long, and the counts."""
    lines = pictured(
        [
            RunStarted(unit="a/b", phase="up"),
            start("a/b/data/db"),
            finished("a/b/data/db", action="create", seconds=0.5),
            start("a/b/web", "update"),
            ResourceLog(fqn="a/b/web", message="half way"),
            finished("a/b/same", "unchanged"),
        ]
    )
    assert lines[0] == "deploying a/b"
    assert lines[1:4] == [
        "├─ data",
        "│  └─ + db  t::T  created  0.5 s",
        lines[3],
    ]
    assert lines[3].startswith("└─ ")
    assert lines[3].endswith(" web  t::T  updating 2.0 s  half way")
    assert "1 created, 1 unchanged · 1 running" in lines[4]


def test_a_picture_is_never_higher_than_the_terminal() -> None:
    """With thousands of resources it shows what runs first, then what ended last, and counts the rest."""
    events: list[Event] = [RunStarted(unit="a/b", phase="up")]
    events += [finished(f"a/b/s{index}/x") for index in range(3000)]
    events += [start(f"a/b/n{index}/x") for index in range(50)]
    for height in (5, 12, 24, 60, 200):
        lines = pictured(events, height=height)
        assert len(lines) <= height
        assert "3000 created" in lines[-1]
        assert "50 running" in lines[-1]
    small = pictured(events, height=12)
    assert "not shown" in small[-1]
    assert not any("created  " in line for line in small[:-1])
    assert any("+ x" in line for line in pictured(events, height=200))


def test_waiting_is_shown_before_anything_runs() -> None:
    """Who holds the stage is said while it is waited for."""
    lines = pictured([Waiting(unit="a/b", owner="bob@host (pid 7), deploy")])
    assert len(lines) == 1
    assert "waiting: a/b is held by bob@host (pid 7), deploy" in lines[0]


def test_a_wait_tells_how_long() -> None:
    """In one line: who, from where, since when, until when, what it keeps waiting, and for how long that waits."""
    event = Waiting(
        at=1_000_000.0,
        unit="a/b",
        held="a/b/c",
        owner="bob@host (pid 7), deploy",
        since="1970-01-12T13:44:35.000Z",
        deadline=1_000_040.0,
        patience=30.0,
    )
    assert line_of(event, verbose=False) == (
        "waiting    a/b/c is held by bob@host (pid 7), deploy for 2 min 5 s, which keeps a/b waiting"
        "; free in 40.0 s unless it is renewed; waiting up to 30.0 s"
    )
    assert "; should be free any moment" in holder(event, 1_000_041.0)


def final(events: Sequence[Event], *, verbose: bool = False) -> str:
    """What stays on the terminal after these events."""
    stream = io.StringIO()
    display = LiveTree(console=Console(file=stream, width=100, height=24, no_color=True), verbose=verbose)
    for event in events:
        display(event)
    display.close()
    return stream.getvalue()


def test_what_changed_stays_on_the_terminal() -> None:
    """The tree, the summary and the exports; failures first."""
    told = final(
        [
            RunStarted(unit="a/b", phase="up"),
            finished("a/b/one", seconds=1.0),
            finished("a/b/two", "failed", error="no"),
            ended(ok=False, counts={"created": 1, "failed": 1}, exports={"url": "http://x"}),
        ]
    )
    assert told.splitlines() == [
        "├─ ✗ two  t::T  failed",
        "└─ + one  t::T  created  1.0 s",
        "a/b: 1 created, 1 failed, not finished in 1.2 s",
        "  url  http://x",
    ]


def test_a_large_run_leaves_a_short_list() -> None:
    """Of thousands some stay, and the number of the others."""
    events: list[Event] = [finished(f"a/b/r{index}") for index in range(1000)]
    told = final([*events, ended(counts={"created": 1000, "unchanged": 5})]).splitlines()
    assert len(told) == 62
    assert told[-2] == "… and 940 more"


def test_two_applications_are_summed_up_one_after_the_other() -> None:
    """What belongs to the first is not shown again with the second."""
    told = final([finished("a/b/one"), ended(counts={"created": 1}), finished("c/d/two"), ended(unit="c/d")])
    assert told.count("one") == 1
    assert told.splitlines()[-1].startswith("c/d: ")


def test_notices_are_said_at_once_in_a_terminal() -> None:
    """Warnings and retries always; logs and unchanged resources when asked for."""
    events = [
        Notice(level="warning", message="careful"),
        ResourceLog(fqn="a/b/c", message="details"),
        finished("a/b/same", "unchanged"),
    ]
    assert final(events).splitlines() == ["warning:   careful"]
    assert [line.split()[0] for line in final(events, verbose=True).splitlines()] == ["warning:", "log", "unchanged"]


@pytest.mark.parametrize("display", [Display, lambda: Lines(io.StringIO()), lambda: JsonLines(io.StringIO())])
def test_every_event_can_be_shown(display: type[Display]) -> None:
    """No display lacks a word for an event, whatever it holds."""
    from tests.unit.test_events import sample

    made = display()
    for kind in ALL:
        made(sample(kind))
    made.tick()
    made.close()
