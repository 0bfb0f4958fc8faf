"""`alchemy scope locks|list-locks|unlock` as a process: who holds what, and taking it from them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from tests.e2e.terminals import Terminal

if TYPE_CHECKING:
    from tests.e2e.conftest import Project, Running


@pytest.fixture
def running(project: Project) -> Running:
    """A deploy that holds the stage until there is a file `go`."""
    project.things('await Thing("a", slow=True)', 'await Thing("b")')
    started = project.start("deploy", "--json")
    started.event("resource.started", fqn="notes/dev/a")
    return started


def test_locks_say_who_holds_what(project: Project, running: Running) -> None:
    """User, host, process, what for and since when; of everything, a stage, an application or what lies in it."""
    pid = running.process.pid
    chains: tuple[tuple[str, ...], ...] = ((), ("notes",), ("notes/dev",), ("notes/dev/a",))
    for command in ("locks", "list-locks"):
        for chain in chains:
            unit, owner = project.ok("scope", command, *chain).stdout.splitlines()
            assert unit == "notes/dev"
            assert re.match(rf"  \S+@\S+ \(pid {pid}\), deploy.*, for \d+ \w+, renewed, expires in ", owner)
        row = json.loads(project.ok("scope", command, "--json").stdout)
        assert (row["chain"], row["owner"]["pid"], row["owner"]["operation"]) == ("notes/dev", pid, "deploy")
    for other, hint in (("notes/prod", "it has dev"), ("note", "did you mean notes?")):
        done = project.run("scope", "locks", other)
        assert (done.returncode, done.stdout, hint in done.stderr) == (1, "", True)


def test_a_live_holder_keeps_its_lock(project: Project, running: Running) -> None:
    """Without --force the holder is shown, with what to do, and goes on undisturbed."""
    done = project.run("scope", "unlock", "notes/dev", "--yes")
    assert done.returncode == 1
    assert f"pid {running.process.pid}" in done.stderr
    assert "alchemy scope unlock notes/dev --force" in done.stderr
    (project.folder / "go").touch()
    assert running.finish()[0] == 0
    assert project.records() == {"notes/dev/a": "created", "notes/dev/b": "created"}


def test_force_takes_it_and_the_holder_can_write_no_more(project: Project, running: Running) -> None:
    """It is taken; the run that had it fails at its next write, and says why."""
    told = project.ok("scope", "unlock", "notes", "--force", "--yes").stdout
    assert told.startswith("notes/dev was taken from ")
    assert project.run("scope", "locks").stderr == "nobody holds anything\n"
    (project.folder / "go").touch()
    code, _, stderr = running.finish()
    assert code == 1
    assert "notes/dev" in stderr


def test_unlock_asks(project: Project, running: Running) -> None:
    """On a terminal the holder is shown and a person is asked; without one it is refused."""
    done = project.run("scope", "unlock", "notes/dev", "--force")
    assert (done.returncode, "add --yes" in done.stderr) == (2, True)
    terminal = Terminal(project, "scope", "unlock", "notes/dev", "--force")
    terminal.until("Unlock?")
    assert f"pid {running.process.pid}" in terminal.text
    terminal.type("n\r")
    assert terminal.finish() == 1
    assert "nothing was unlocked" in terminal.text
    row = json.loads(project.ok("scope", "locks", "--json").stdout)
    assert row["owner"]["pid"] == running.process.pid
    terminal = Terminal(project, "scope", "unlock", "notes/dev", "--force", "--json")
    terminal.until("Unlock?")
    terminal.type("y\r")
    assert terminal.finish() == 0
    assert '"chain":"notes/dev"' in terminal.text


def test_a_holder_that_died_needs_no_unlocking(project: Project, running: Running) -> None:
    """Nobody holds it; a stage that does not exist is an error with what there is."""
    while not project.records():  # the intent is durable a moment after it is told
        assert running.process.poll() is None
    running.process.kill()
    running.process.wait()
    done = project.run("scope", "unlock", "notes/dev")
    assert (done.returncode, done.stderr) == (0, "nobody holds notes/dev: there is nothing to unlock\n")
    done = project.run("scope", "unlock", "notes/prod")
    assert (done.returncode, "it has dev" in done.stderr) == (1, True)


def test_locks_of_nested_stores_are_found(project: Project) -> None:
    """A scope with a store of its own is held there too, and listed with that store."""
    project.things(
        'async with alchemy.run("inner", state_store="file:inner-state"):',
        '    await Thing("a")',
        'await Thing("b", slow=True)',
    )
    running = project.start("deploy", "--json")
    running.event("resource.started", fqn="notes/dev/b")
    rows = [json.loads(line) for line in project.ok("scope", "locks", "--json").stdout.splitlines()]
    assert [row["store"].rpartition("/")[2] for row in rows] == [".alchemy", "inner-state"]
    assert "in file:inner-state" in project.ok("scope", "locks", "notes/dev").stdout
    assert len(project.ok("scope", "unlock", "notes", "--force", "--yes").stdout.splitlines()) == 2
    (project.folder / "go").touch()
    assert running.finish()[0] == 1


def test_of_a_scope_in_a_stage_that_is_held(project: Project, running: Running) -> None:
    """The stage's lock is not taken for it: it is named, with the command that would take it."""
    done = project.run("scope", "unlock", "notes/dev/a", "--force", "--yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"pid {running.process.pid}" in done.stderr
    assert "alchemy scope unlock notes/dev\n" in done.stderr
    (project.folder / "go").touch()
    assert running.finish()[0] == 0
