"""Two deploys of one stage: whom the second waits for, what it can do about it, and what becomes of the first."""

from __future__ import annotations

import re
import shlex
import signal
from typing import TYPE_CHECKING

from tests.stopping import stop

from alchemy.stores._guards import guard

if TYPE_CHECKING:
    from tests.e2e.conftest import Project

STATE = ("--state-dir", "my state")


def test_the_commands_that_are_named_work(project: Project) -> None:
    """One line says who holds the stage and until when; the error ends with commands that a shell takes as they are."""
    project.things('await Thing("a", slow=True)')
    first = project.start("deploy", "--json", *STATE)
    first.event("resource.started", fqn="notes/dev/a")
    second = project.run("deploy", "--lock-timeout", "0.3", *STATE)
    assert second.returncode == 1
    assert re.search(
        r"^waiting +notes/dev is held by \S+@\S+ \(pid \d+\), deploy for .*; free in .* s unless it is renewed"
        r"; waiting up to 0\.3 s$",
        second.stdout,
        re.MULTILINE,
    )
    assert "; waited 0.3 s for it" in second.stderr
    look, unlock = re.findall(r"(alchemy scope [^;\n]+)", second.stderr)
    shown = project.ok(*shlex.split(look)[1:]).stdout
    assert "notes/dev" in shown
    assert f"pid {first.process.pid}" in shown
    refused = project.run(*shlex.split(unlock)[1:])
    assert refused.returncode == 1
    assert "still alive" in refused.stderr
    assert "--force" in refused.stderr
    (project.folder / "go").touch()
    assert first.finish()[0] == 0


def test_an_import_waits_too(project: Project) -> None:
    """It says for whom, and with which command the lock can be taken away."""
    project.things('await Thing("a", slow=True)')
    project.write('{"motto": {"kind": "fs::File", "props": {"path": "motto.txt"}}}', "old/state.json")
    first = project.start("deploy", "--json")
    first.event("resource.started", fqn="notes/dev/a")
    done = project.run(
        *("state", "import", "old/state.json", "--app", "notes", "--yes"), env={"ALCHEMY_LOCK_TIMEOUT": "50"}
    )
    assert done.returncode == 1
    assert "waiting    notes/dev is held by" in done.stderr
    assert "alchemy scope unlock notes/dev" in done.stderr
    (project.folder / "go").touch()
    assert first.finish()[0] == 0


def test_a_stage_is_taken_from_a_run_that_hangs(project: Project) -> None:
    """With `--no-lock` at once; that run, should it go on, writes nothing, says who took it, and fails."""
    project.things('await Thing("a", slow=True)', 'await Thing("b")')
    first = project.start("deploy", "--json")
    first.event("resource.log", fqn="notes/dev/a", message="making a")
    with guard(str(project.folder / ".alchemy/locks/notes/dev.lock"), exclusive=True):
        stop(first.process)
    (project.folder / "go").touch()
    try:
        second = project.run("deploy", "--no-lock")
    finally:
        first.interrupt(signal.SIGCONT)
    assert second.returncode == 0, second.stderr
    assert "the lock of notes/dev was taken from" in second.stdout
    code, _, stderr = first.finish()
    assert code == 1
    assert "notes/dev was taken away from this run: " in stderr
    assert "deploy had it since" in stderr
    assert project.records() == {"notes/dev/a": "created", "notes/dev/b": "created"}
    assert sorted(project.objects) == ["notes-dev-a", "notes-dev-b"]
    assert "2 unchanged" in project.ok("deploy").stdout
