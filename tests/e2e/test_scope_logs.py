"""`alchemy scope logs` as a process: what happened in which run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Project


@pytest.fixture
def deployed(project: Project) -> Project:
    """A stage after a deploy that failed, and one that went well."""
    project.things('Thing("a")', 'Thing("b", bad=True)')
    assert project.run("deploy").returncode == 1
    project.things('Thing("a", size=2)', 'Thing("b")')
    project.ok("deploy")
    return project


def test_the_newest_run_is_shown(deployed: Project) -> None:
    """With the time of each line; unchanged resources and what providers say only with --verbose."""
    lines = deployed.ok("scope", "logs", "notes/dev").stdout.splitlines()
    first, who, *middle, last = [line[21:].split()[0] for line in lines]
    assert (first, who, sorted(middle), last) == ("deploying", "by", ["created", "updated"], "notes/dev:")
    assert lines[1].endswith(", deploy, alchemy.run.py")
    assert "making b" in deployed.ok("scope", "logs", "notes/dev", "--verbose").stdout
    assert deployed.ok("scope", "logs", "notes").stdout.splitlines() == lines


def test_runs_are_listed_and_shown_by_name(deployed: Project) -> None:
    """Oldest first, with how each went; a failure is told with its reason."""
    lines = deployed.ok("scope", "logs", "notes/dev", "--list").stdout.splitlines()
    assert [line.endswith("not finished") for line in lines] == [True, False]
    oldest = lines[0].split()[0]
    assert "b went bad" in deployed.ok("scope", "logs", "notes/dev", "--run", oldest).stdout
    rows = [
        json.loads(row) for row in deployed.ok("scope", "logs", "notes/dev", "--list", "--json").stdout.splitlines()
    ]
    assert [(row["operation"], row["ok"]) for row in rows] == [("deploy", False), ("deploy", True)]


def test_why_a_run_failed_is_told(project: Project) -> None:
    """Also when it was not a resource that did."""
    project.things('await Thing("a")', 'raise RuntimeError("changed my mind")')
    assert project.run("deploy").returncode == 1
    last = project.ok("scope", "logs", "notes/dev").stdout.splitlines()[-1]
    assert last.strip() == "RuntimeError"  # its text may hold a secret


def test_of_a_resource_only_what_concerns_it(deployed: Project) -> None:
    """A chain below the stage picks the events of what lies there; as JSON they come as they were recorded."""
    rows = [json.loads(line) for line in deployed.ok("scope", "logs", "notes/dev/a", "--json").stdout.splitlines()]
    assert {row["fqn"] for row in rows} == {"notes/dev/a"}
    assert rows[-1]["outcome"] == "updated"


def test_logs_outlive_what_they_are_about(deployed: Project) -> None:
    """A stage that was destroyed still has its logs."""
    deployed.ok("destroy", "--yes")
    assert "2 deleted" in deployed.ok("scope", "logs", "notes/dev").stdout


def test_follow_ends_with_the_run(project: Project) -> None:
    """What happens is shown when it happens, until the run is over."""
    project.things('await Thing("a")', 'await Thing("b", slow=True)')
    running = project.start("deploy", "--json")
    running.event("resource.started", fqn="notes/dev/b")
    following = project.start("scope", "logs", "notes/dev", "--follow", "--verbose")
    (project.folder / "go").touch()
    assert running.finish()[0] == 0
    code, stdout, stderr = following.finish()
    assert (code, stderr) == (0, "")
    assert "2 created" in stdout.splitlines()[-1]


def test_follow_ends_when_the_run_was_killed(project: Project) -> None:
    """A run that can say nothing any more is not waited for."""
    project.things('await Thing("a", slow=True)')
    running = project.start("deploy", "--json")
    while not any(path.stat().st_size for path in (project.folder / ".alchemy").glob("notes/dev/logs/*")):
        assert running.process.poll() is None  # what happened is written a second later
    running.process.kill()
    running.process.wait()
    done = project.run("scope", "logs", "notes/dev", "--follow")
    assert (done.returncode, done.stderr) == (0, "the run was ended without a chance to say so\n")
    assert "not ended" in project.ok("scope", "logs", "notes/dev", "--list").stdout


def test_mistakes_say_what_there_is(deployed: Project) -> None:
    """An unknown run, a stage without runs, an application with several stages, options that do not go together."""
    name = deployed.ok("scope", "logs", "notes/dev", "--list").stdout.split()[0]
    done = deployed.run("scope", "logs", "notes/dev", "--run", name[:-1])
    assert (done.returncode, f"did you mean {name}" in done.stderr) == (1, True)
    done = deployed.run("scope", "logs", "notes/dev", "--run", "x")
    assert (done.returncode, "--list" in done.stderr) == (1, True)
    done = deployed.run("scope", "logs", "notes/prod")
    assert (done.returncode, "it has dev" in done.stderr) == (1, True)
    deployed.ok("deploy", "--stage", "prod")
    done = deployed.run("scope", "logs", "notes")
    assert (done.returncode, "notes/dev, notes/prod" in done.stderr) == (1, True)
    assert deployed.run("scope", "logs", "notes/dev", "--list", "--follow").returncode == 2
    (deployed.folder / ".alchemy/notes/prod/logs").rename(deployed.folder / "logs")
    done = deployed.run("scope", "logs", "notes/prod")
    assert (done.returncode, "notes/prod has no log" in done.stderr) == (1, True)


def test_a_run_that_says_nothing_of_a_resource(deployed: Project) -> None:
    """That is told, and not left to be guessed from an empty answer."""
    done = deployed.run("scope", "logs", "notes/dev/nobody")
    assert (done.returncode, done.stdout) == (0, "")
    assert "has nothing to tell of notes/dev/nobody" in done.stderr
