"""`alchemy state resolve` as a process: a person says what became of an object that nobody can look for."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Project

LONE = '''
class Lone(Resource, kind="test::Lone", provider="file:alchemy.run.py#Lones"):
    object_id: str = output()

class Lones(Provider[Lone]):
    """Nobody can find one again: a create that was cut short is anybody's guess."""

    naming = None
    recover = "none"

    async def create(self, ctx, want):
        while "SLOW" in os.environ:
            ctx.log("begun")
            await asyncio.sleep(0.01)
        return ctx.result(object_id="lone-2")

    async def delete(self, ctx, have):
        Path("deleted").write_text(have.object_id)

async def main():
    async with alchemy("notes"):
        await Lone("a")
'''


@pytest.fixture
def unknown(project: Project) -> Project:
    """A deploy was killed while it created something, and the next does not know what became of that."""
    project.program(LONE)
    running = project.start("deploy", "--json", env={"SLOW": "1"})
    running.event("resource.log", fqn="notes/dev/a")
    running.interrupt(signal.SIGKILL)
    running.finish()
    done = project.run("deploy")
    assert done.returncode == 1
    assert "alchemy state resolve notes/dev/a --id ID, or --gone" in done.stderr
    return project


def test_it_is_gone(unknown: Project) -> None:
    """Its record is dropped, that is said and kept in the log, and the next deploy creates it."""
    said = unknown.ok("state", "resolve", "notes/dev/a", "--gone").stdout
    assert "notes/dev/a is gone: its record was dropped" in said
    assert "nothing to do" not in said
    assert "resolve" in unknown.ok("scope", "logs", "notes/dev").stdout
    unknown.ok("deploy")
    assert unknown.records() == {"notes/dev/a": "created"}


def test_it_exists(unknown: Project) -> None:
    """With its id it is in state, and a destroy deletes that very object."""
    said = unknown.ok("state", "resolve", "notes/dev/a", "--id", "lone-1").stdout
    assert "notes/dev/a exists, as object_id=lone-1" in said
    unknown.ok("state", "get", "notes/dev/a")
    done = unknown.run("destroy", "--yes")
    assert (done.returncode, (unknown.folder / "deleted").read_text()) == (0, "lone-1"), done.stderr


def test_one_of_the_two_must_be_said(unknown: Project) -> None:
    """Neither, or both, is a mistake of the command line, and nothing changes."""
    for said in ((), ("--gone", "--id", "lone-1")):
        assert unknown.run("state", "resolve", "notes/dev/a", *said).returncode == 2
    assert unknown.records() == {"notes/dev/a": "creating"}
