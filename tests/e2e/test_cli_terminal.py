"""What a person sees: the commands on a terminal of their own."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.e2e.terminals import Terminal

if TYPE_CHECKING:
    from tests.e2e.conftest import Project

SHOW, HIDE = "\x1b[?25h", "\x1b[?25l"


def test_a_terminal_shows_a_tree_that_moves_and_then_stays(project: Project) -> None:
    """While it runs, what is being done; in the end the tree, the summary, the exports, and the cursor again."""
    project.things(
        'async with alchemy.run("data"):',
        '    Thing("db", slow=True)',
        'print("from the program")',
        'app.export(url="http://x")',
    )
    terminal = Terminal(project, "deploy")
    terminal.until("creating")
    terminal.until("1 running")
    (project.folder / "go").touch()
    assert terminal.finish() == 0
    end = terminal.plain[terminal.plain.rindex("└─ data") :].splitlines()
    assert end[1].split()[:5] == ["└─", "+", "db", "test::Thing", "created"]
    assert end[2].startswith("notes/dev: 1 created in ")
    assert "  url  http://x" in end
    assert "from the program" in terminal.plain
    assert terminal.text.count(HIDE) == 1
    assert terminal.text.rindex(SHOW) > terminal.text.rindex(HIDE)


def test_no_color_means_none(project: Project) -> None:
    """`NO_COLOR` leaves movements but no colors, on stdout and stderr."""
    project.things('Thing("a", bad=True)')
    colored, plain = (Terminal(project, "deploy", env=env) for env in ({}, {"NO_COLOR": "1"}))
    assert (colored.finish(), plain.finish()) == (1, 1)
    assert "\x1b[31m" in colored.text
    assert not re.search(r"\x1b\[(\d+;)*3\dm", plain.text)


def test_a_dumb_terminal_gets_lines(project: Project) -> None:
    """`TERM=dumb` cannot move the cursor."""
    project.things('Thing("a")')
    terminal = Terminal(project, "deploy", env={"TERM": "dumb"})
    assert terminal.finish() == 0
    assert "\x1b" not in terminal.text
    assert "created    notes/dev/a" in terminal.text


@pytest.mark.parametrize(("answer", "code", "left"), [("y", 0, 0), ("n", 1, 22)])
def test_destroy_shows_what_goes_and_asks(project: Project, answer: str, code: int, left: int) -> None:
    """Twenty names and how many more; only yes destroys."""
    project.things('for n in range(22): Thing(f"t{n:02}")')
    project.ok("deploy")
    terminal = Terminal(project, "destroy")
    terminal.until("Destroy? [y/N]")
    assert "This destroys 22 resources of notes/dev:" in terminal.plain
    assert "notes/dev/t19" in terminal.plain
    assert "notes/dev/t20" not in terminal.plain
    assert "… and 2 more" in terminal.plain
    terminal.type(f"{answer}\n")
    assert terminal.finish() == code
    assert len(project.records()) == left


def test_the_question_can_be_interrupted(project: Project) -> None:
    """Ctrl-C instead of an answer destroys nothing."""
    project.things('Thing("a")')
    project.ok("deploy")
    terminal = Terminal(project, "destroy")
    terminal.until("Destroy? [y/N]")
    while terminal.process.poll() is None:  # one that comes just before the read begins is seen after the read only
        terminal.process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            terminal.process.wait(0.1)
    assert terminal.finish() == 130
    assert len(project.records()) == 1
