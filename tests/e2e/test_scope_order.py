"""`alchemy scope validate|cleanup|reset|restore` as a process: what went wrong is found, and put in order."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.terminals import Terminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Project

STUCK = """
class Stuck(Resource, kind="test::Stuck", provider="file:alchemy.run.py#Stucks"):
    object_id: str = output()

class Stucks(Provider[Stuck]):
    '''Objects that cannot be deleted while there is a file `stuck`.'''

    naming = Naming(max=40)
    recover = "name"

    async def find(self, ctx, want):
        return None

    async def create(self, ctx, want):
        Path(ctx.name).touch()
        return ctx.result(object_id=ctx.name)

    async def delete(self, ctx, have):
        if Path("stuck").exists():
            raise ValueError("it is stuck")
        Path(have.object_id).unlink(missing_ok=True)

async def main():
    async with alchemy("notes") as app:
        Thing("a")
        if not os.environ.get("WITHOUT"):
            Stuck("b")
"""


def events(text: str) -> list[dict[str, Any]]:
    """Read what `--json` writes."""
    return [json.loads(line) for line in text.splitlines()]


def record_file(project: Project, id: str, unit: str = "notes/dev") -> Path:
    """Give the file of a resource's record."""
    return project.folder / f".alchemy/{unit}/resources/{id}/state.json"


@pytest.fixture
def deployed(project: Project) -> Project:
    """A stage with two resources, after two deploys that changed something."""
    project.things('Thing("a")')
    project.ok("deploy")
    project.things('Thing("a", size=2)', 'Thing("b")')
    project.ok("deploy")
    return project


@pytest.fixture
def stuck(project: Project) -> Project:
    """A stage with a resource that left the program, and could not be destroyed."""
    project.program(STUCK)
    project.ok("deploy")
    (project.folder / "stuck").touch()
    assert project.run("deploy", env={"WITHOUT": "1"}).returncode == 1
    (project.folder / "stuck").unlink()
    assert project.records() == {"notes/dev/a": "created", "notes/dev/b": "deleting"}
    return project


def test_validate_finds_nothing_in_what_is_whole(deployed: Project) -> None:
    """Of a resource, a stage, an application, and of all there is."""
    for chain in ((), ("notes",), ("notes/dev",), ("notes/dev/a",)):
        done = deployed.ok("scope", "validate", *chain)
        assert done.stdout.endswith(": nothing is wrong\n")
    assert deployed.ok("scope", "validate", "--json").stdout == ""


def test_validate_names_file_and_remedy(deployed: Project) -> None:
    """A damaged record is told with its file, what is wrong, and the command that helps; the exit code is 1."""
    record_file(deployed, "a").write_text("{")
    for chain in ((), ("notes",), ("notes/dev",)):
        done = deployed.run("scope", "validate", *chain)
        assert done.returncode == 1, done
        assert "resources/a/state.json" in done.stdout
        assert "alchemy scope restore notes/dev" in done.stdout
        assert "1 problem in " in done.stderr
    done = deployed.run("scope", "validate", "notes", "--json")
    assert (done.returncode, events(done.stdout)[0]["fqn"]) == (1, "notes/dev/a")


def test_validate_looks_into_nested_stores(project: Project) -> None:
    """Damage there is found, and a store that is gone is told."""
    project.things('async with alchemy.run("inner", state_store="file:inner-state"):', '    Thing("a")')
    project.ok("deploy")
    file = project.folder / "inner-state/notes/dev/inner/resources/a/state.json"
    file.write_text("{")
    for chain in ("notes", "notes/dev/inner"):
        done = project.run("scope", "validate", chain)
        assert (done.returncode, "inner-state/notes/dev/inner/resources/a" in done.stdout) == (1, True)
    (project.folder / "inner-state").rename(project.folder / "moved")
    done = project.run("scope", "validate")
    assert (done.returncode, "the store of notes/dev/inner cannot be used" in done.stdout) == (1, True)


def test_cleanup_destroys_what_a_failed_destroy_left(stuck: Project) -> None:
    """Without the program's main, from state alone; what is in use stays, and the run is logged."""
    before = stuck.ok("scope", "cleanup", "notes/dev", "--force").stdout.splitlines()
    assert before[0] == "cleaning up notes/dev, 2 in state"
    assert "1 deleted" in before[-1]
    assert stuck.records() == {"notes/dev/a": "created"}
    assert list(stuck.objects) == ["notes-dev-a"]
    assert "cleaning up notes/dev" in stuck.ok("scope", "logs", "notes/dev").stdout
    assert " cleanup " in stuck.ok("scope", "logs", "notes/dev", "--list").stdout
    done = stuck.run("scope", "cleanup", "notes")
    assert (done.returncode, done.stderr) == (0, "there is nothing to clean up in notes\n")


def test_cleanup_destroys_what_left_the_program_of_a_run_that_failed(project: Project) -> None:
    """A run that fails destroys nothing; what it would have, is marked, and goes without another run."""
    project.things('Thing("a")', 'Thing("old")')
    project.ok("deploy")
    project.things('Thing("a")', 'Thing("new", bad=True)')
    assert project.run("deploy").returncode == 1
    lines = project.ok("scope", "inspect", "notes/dev").stdout.splitlines()
    assert [line.split()[1] for line in lines if line.endswith("not in the program")] == ["old"]
    assert events(project.ok("scope", "inspect", "notes/dev/old", "--json").stdout)[0]["orphan"] is True
    project.ok("scope", "cleanup", "notes/dev", "--force")
    assert project.records() == {"notes/dev/a": "created"}
    assert list(project.objects) == ["notes-dev-a"]


@pytest.mark.parametrize("args", [("cleanup", "--force"), ("reset", "--yes")], ids=lambda args: args[0])
def test_a_nested_store_that_is_gone_stops_it(project: Project, args: tuple[str, str]) -> None:
    """What is in it would be lost sight of: nothing is done, and no empty store is made in its place."""
    project.things('async with alchemy.run("inner", state_store="file:inner-state"):', '    Thing("a")')
    project.ok("deploy")
    (project.folder / "inner-state").rename(project.folder / "moved")
    done = project.run("scope", args[0], "notes/dev", args[1])
    assert (done.returncode, "what notes/dev/inner keeps in a store of its own" in done.stderr) == (1, True)
    assert not (project.folder / "inner-state").exists()


def test_cleanup_asks(stuck: Project) -> None:
    """Without a terminal it refuses; with one it shows what would go and why, and takes no for an answer."""
    done = stuck.run("scope", "cleanup", "notes/dev")
    assert (done.returncode, "add --force" in done.stderr) == (2, True)
    terminal = Terminal(stuck, "scope", "cleanup", "notes/dev")
    terminal.until("Destroy?")
    assert "notes/dev/b  test::Stuck  could not be destroyed" in terminal.plain
    terminal.type("n\r")
    assert terminal.finish() == 1
    assert "notes/dev/b" in stuck.records()
    terminal = Terminal(stuck, "scope", "cleanup", "notes/dev")
    terminal.until("Destroy?")
    terminal.type("y\r")
    assert terminal.finish() == 0
    assert stuck.records() == {"notes/dev/a": "created"}


def test_cleanup_tells_what_it_could_not_destroy(stuck: Project) -> None:
    """It stays in state, the reason is told, and the exit code is 1; as JSON there are events and nothing else."""
    (stuck.folder / "stuck").touch()
    done = stuck.run("scope", "cleanup", "notes/dev", "--yes", "--json")
    assert done.returncode == 1
    assert "it is stuck" in done.stderr
    assert events(done.stdout)[-1]["ok"] is False
    assert stuck.records()["notes/dev/b"] == "deleting"


def test_reset_forgets_and_the_next_deploy_finds_its_own(deployed: Project) -> None:
    """Nothing is destroyed, what is left is named, and the next deploy has the same objects and makes none."""
    deployed.ok("deploy", "--stage", "prod")
    before = dict(deployed.objects)
    done = deployed.ok("scope", "reset", "notes/dev", "--yes").stdout
    assert "resetting notes/dev, 2 in state" in done
    assert "  notes/dev/a  test::Thing notes-dev-a-" in done
    assert deployed.objects == before
    assert deployed.records() == {"notes/prod/a": "created", "notes/prod/b": "created"}
    assert "2 forgotten" in deployed.ok("scope", "list").stdout
    told = deployed.ok("deploy").stdout
    assert "created" not in told.replace("notes/dev: ", "")
    assert deployed.objects == before
    assert set(deployed.records()) == {"notes/dev/a", "notes/dev/b", "notes/prod/a", "notes/prod/b"}


def test_reset_of_files_finds_them_again(project: Project) -> None:
    """Files have the names that the program chose: they are known as its own all the same, and none is refused."""
    project.write(
        "from alchemy import alchemy\nfrom alchemy.fs import File, Folder\n\n"
        'async def main():\n    async with alchemy("notes") as app:\n'
        '        folder = Folder("out", path="out")\n'
        '        File("one", path="out/one.txt", content="1")\n'
    )
    project.ok("deploy")
    left = project.ok("scope", "reset", "notes", "--yes").stdout
    assert "notes/dev/one  fs::File out/one.txt" in left
    project.ok("deploy")
    assert set(project.records()) == {"notes/dev/out", "notes/dev/one"}
    project.ok("destroy", "--yes")
    assert not (project.folder / "out").exists()


def test_reset_asks(deployed: Project) -> None:
    """Without a terminal it refuses; an answer of no forgets nothing; an empty scope is told."""
    done = deployed.run("scope", "reset", "notes/dev")
    assert (done.returncode, "add --yes" in done.stderr) == (2, True)
    terminal = Terminal(deployed, "scope", "reset", "notes/dev/b")
    terminal.until("Forget?")
    assert "notes/dev/b  test::Thing notes-dev-b-" in terminal.plain
    terminal.type("n\r")
    assert terminal.finish() == 1
    assert len(deployed.records()) == 2
    deployed.ok("scope", "reset", "notes/dev", "--yes", "--json")
    done = deployed.run("scope", "reset", "notes/dev")
    assert (done.returncode, done.stderr) == (0, "there is nothing to forget in notes/dev\n")


def test_restore_brings_back_what_was_forgotten(deployed: Project) -> None:
    """Backups are listed with what they hold and what they were made before; the newest undoes a reset."""
    deployed.ok("scope", "reset", "notes/dev", "--yes")
    lines = deployed.ok("scope", "restore", "notes/dev", "--list").stdout.splitlines()
    assert ["before a deploy" in lines[0], "before a reset" in lines[-1]] == [True, True]
    assert "2 resources" in lines[-1]
    rows = events(deployed.ok("scope", "restore", "notes/dev", "--list", "--json").stdout)
    assert (rows[-1]["operation"], rows[-1]["resources"]) == ("reset", 2)
    told = deployed.ok("scope", "restore", "notes/dev", "--backup", rows[-1]["name"]).stdout
    assert "restored   notes/dev/a  test::Thing" in told
    assert "2 restored" in told
    assert set(deployed.records()) == {"notes/dev/a", "notes/dev/b"}
    assert "2 unchanged" in deployed.ok("deploy").stdout


def test_restore_drops_nothing_and_says_what_differs(deployed: Project) -> None:
    """What is newer stays, what is another stays, and each is told with what differs."""
    oldest = deployed.ok("scope", "restore", "notes/dev", "--list").stdout.split()[0]
    lines = deployed.ok("scope", "restore", "notes/dev", "--backup", oldest).stdout.splitlines()
    assert any(line.startswith("kept       notes/dev/a  differs in") and "props.size" in line for line in lines)
    assert "kept       notes/dev/b  is not in the backup" in lines
    assert "nothing was missing: nothing was restored" in lines
    assert deployed.records() == {"notes/dev/a": "updated", "notes/dev/b": "created"}


def test_restore_of_a_stage_that_was_destroyed(deployed: Project) -> None:
    """Its backups outlive it."""
    deployed.ok("destroy", "--yes")
    name = deployed.ok("scope", "restore", "notes/dev", "--list").stdout.splitlines()[-1].split()[0]
    deployed.ok("scope", "restore", "notes/dev", "--backup", name)
    assert set(deployed.records()) == {"notes/dev/a", "notes/dev/b"}
    assert "2 created" in deployed.ok("deploy").stdout


def test_restore_says_which_backups_there_are(deployed: Project) -> None:
    """For an unknown name near ones, else all; a damaged backup is listed as that, and refused."""
    name = deployed.ok("scope", "restore", "notes/dev", "--list").stdout.split()[0]
    for given, hint in ((name[:-6], f"did you mean {name}"), ("x", f"there are {name}")):
        done = deployed.run("scope", "restore", "notes/dev", "--backup", given)
        assert (done.returncode, hint in done.stderr) == (1, True), done.stderr
    for args in ((), ("--list", "--backup", name)):
        assert deployed.run("scope", "restore", "notes/dev", *args).returncode == 2
    done = deployed.run("scope", "restore", "notes", "--list")
    assert (done.returncode, "notes/dev" in done.stderr) == (1, True)
    done = deployed.run("scope", "restore", "notes/prod", "--list")
    assert (done.returncode, "it has dev" in done.stderr) == (1, True)
    (deployed.folder / ".alchemy/notes/dev/backups" / name).write_text("{")
    assert f"{name}  damaged" in deployed.ok("scope", "restore", "notes/dev", "--list").stdout
    done = deployed.run("scope", "restore", "notes/dev", "--backup", name)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert deployed.records() == {"notes/dev/a": "updated", "notes/dev/b": "created"}


def test_a_stage_without_backups_is_told(project: Project) -> None:
    """Before its first change there was nothing to keep."""
    project.things('Thing("a")')
    project.ok("deploy")
    done = project.run("scope", "restore", "notes/dev", "--list")
    assert (done.returncode, "notes/dev has no backup" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    "args", [("cleanup", "--force"), ("reset", "--yes"), ("restore", "--backup", "NEWEST")], ids=lambda args: args[0]
)
def test_what_somebody_else_holds_is_left_alone(stuck: Project, args: tuple[str, ...]) -> None:
    """The error says who holds it, as everywhere; nothing is changed."""
    newest = stuck.ok("scope", "restore", "notes/dev", "--list").stdout.splitlines()[-1].split()[0]
    stuck.program(STUCK.replace('Thing("a")', 'Thing("a", size=3, slow=True)\n        await Thing("c", slow=True)'))
    running = stuck.start("deploy", "--json", env={"WITHOUT": "1"})
    running.event("resource.started", fqn="notes/dev/c")
    name, *rest = (newest if arg == "NEWEST" else arg for arg in args)
    done = stuck.run("scope", name, "notes/dev", *rest, env={"ALCHEMY_LOCK_TIMEOUT": "0"})
    assert done.returncode == 1
    assert f"(pid {running.process.pid}), deploy" in done.stderr
    (stuck.folder / "go").touch()
    assert running.finish()[0] == 0


def test_state_may_lie_elsewhere(stuck: Project) -> None:
    """Every command finds it by `--state-store` and `--state-dir`, and makes none in the default place."""
    (stuck.folder / ".alchemy").rename(stuck.folder / "elsewhere")
    url = ("--state-store", f"file://{stuck.folder}/elsewhere")
    folder = ("--state-dir", "elsewhere")
    stuck.ok("scope", "validate", "notes/dev", *url)
    assert "1 deleted" in stuck.ok("scope", "cleanup", "notes/dev", "--force", *url).stdout
    assert "1 forgotten" in stuck.ok("scope", "reset", "notes/dev", "--yes", *folder).stdout
    name = stuck.ok("scope", "restore", "notes/dev", "--list", *folder).stdout.splitlines()[-1].split()[0]
    assert "1 restored" in stuck.ok("scope", "restore", "notes/dev", "--backup", name, *url).stdout
    assert "1 read" in stuck.ok("scope", "rebuild", "notes/dev", *folder, env={"WITHOUT": "1"}).stdout
    assert not (stuck.folder / ".alchemy").exists()


@pytest.mark.parametrize("name", ["validate", "cleanup", "reset"])
def test_names_that_do_not_exist_suggest_near_ones(deployed: Project, name: str) -> None:
    """Nothing is asked and nothing is done."""
    for chain, hint in (("note/dev", "'notes'"), ("notes/prod", "it has dev"), ("notes/dev/aa", "notes/dev/a")):
        done = deployed.run("scope", name, chain)
        assert (done.returncode, hint in done.stderr) == (1, True), done.stderr
    assert len(deployed.records()) == 2
