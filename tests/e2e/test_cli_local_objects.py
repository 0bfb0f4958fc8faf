"""`alchemy local objects`, `evict` and `delete-object` as processes, on the state service's own Durable Object."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from tests.e2e.terminals import Terminal

if TYPE_CHECKING:
    from tests.e2e.conftest import Project

pytestmark = pytest.mark.workerd

PROGRAM = """
from alchemy import alchemy
from alchemy.fs import Folder

async def main():
    async with alchemy("notes"):
        Folder("made", path="made")
"""
LABEL = "notes of alchemy-state-service/Store"


@pytest.fixture
def stopped(project: Project) -> Iterator[Project]:
    """A project whose local Cloudflare ends with the test."""
    yield project
    project.ok("local", "stop")


def deploy(project: Project, *words: str) -> str:
    """Deploy with state in a Durable Object of the local Cloudflare."""
    variables = dict(shlex.split(line)[1].split("=", 1) for line in project.ok("local", "env").stdout.splitlines())
    done = project.run(
        "deploy", *words, "--state-store", "cloudflare:", env={**variables, "ALCHEMY_STATE_TOKEN": "a-token-of-tests"}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_object_is_listed_let_go_and_deleted(stopped: Project) -> None:
    """Evicted, state is still there; deleted, after asking, the next deploy knows nothing."""
    project = stopped
    project.write(PROGRAM)
    project.run("local", "start")
    assert project.run("local", "objects").stderr == "no Worker has a class of Durable Objects\n"
    assert "1 created" in deploy(project)
    heading, *below = project.ok("local", "objects").stdout.splitlines()
    assert heading.startswith("alchemy-state-service/Store  ")
    assert [line.split()[0] for line in below] == ["/", "notes"]
    (found,) = json.loads(project.ok("local", "objects", "Store", "--json").stdout)["classes"]
    ids = {each["name"]: each["id"] for each in found["objects"]}

    first = project.ok("local", "evict", "Store", "notes").stdout
    assert first in (f"evicted {LABEL}\n", f"{LABEL} was not in memory\n")  # a slow machine was idle for 10 seconds
    assert project.ok("local", "evict", "Store", "notes").stdout == f"{LABEL} was not in memory\n"
    project.ok("local", "evict", "Store", "--all")
    assert project.ok("local", "evict", "--all").stdout == "nothing is in memory\n"
    assert "1 unchanged" in deploy(project)
    assert project.ok("local", "evict", "--all", "--now").stdout == "evicted all objects\n"

    refused = project.run("local", "delete-object", "Store", "notes")
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    terminal = Terminal(project, "local", "delete-object", "Store", "notes")
    terminal.until("Delete?")
    terminal.type("n\n")
    assert terminal.finish() == 1
    assert "nothing was deleted" in terminal.text
    deleted = project.ok("local", "delete-object", "Store", "--id", ids["notes"], "--yes").stdout
    assert deleted.startswith("deleted ")
    assert deleted.endswith(f" bytes of {LABEL}\n")
    assert ids["notes"] not in project.ok("local", "objects").stdout
    assert "1 adopted" in deploy(project, "--adopt")


def test_what_there_is_not(project: Project) -> None:
    """Nothing runs: how to start it."""
    for words in (["objects"], ["evict", "Store", "notes"], ["delete-object", "Store", "notes", "--yes"]):
        refused = project.run("local", *words)
        assert (refused.returncode, "alchemy local start" in refused.stderr) == (1, True)
