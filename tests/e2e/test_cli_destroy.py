"""`alchemy destroy` as a process: from state alone, and never without being sure of what is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Project

FILES = """
from alchemy import alchemy
from alchemy.fs import File

async def main():
    async with alchemy("notes") as app:
        await File("one", path=f"{app.stage}/one.txt", content="1")
        File("two", path=f"{app.stage}/two.txt", content="2")
"""


def left_in(project: Project, unit: str) -> list[str]:
    """What is left of a unit in the store apart from logs and backups."""
    folder = project.folder / ".alchemy" / unit
    return sorted(path.name for path in folder.iterdir() if path.name not in ("logs", "backups"))


def test_destroy_needs_no_program(project: Project) -> None:
    """With the program gone, the only application in state is meant; nothing of it is left but logs."""
    project.write(FILES)
    project.ok("deploy")
    (project.folder / "alchemy.run.py").unlink()
    told = project.ok("destroy", "--yes").stdout
    assert told.splitlines()[0] == "destroying notes/dev, 2 in state"
    assert "2 deleted" in told
    assert not (project.folder / "dev/one.txt").exists()
    assert left_in(project, "notes/dev") == []
    assert project.records() == {}


def test_destroy_never_runs_the_program(project: Project) -> None:
    """A program that would fail is read for its application's name; a broken one is not even read."""
    project.write(FILES)
    project.ok("deploy")
    project.ok("deploy", "--stage", "other")
    project.write('raise RuntimeError("must not run")\nfrom alchemy import alchemy\nalchemy("notes")\n')
    project.ok("destroy", "--yes")
    project.write('async def main(:\n    alchemy("notes")\n')
    project.ok("destroy", "--yes", "--stage", "other")
    assert project.records() == {}


def test_destroy_loads_providers_that_the_program_defines(project: Project) -> None:
    """`file:path#Class` is loaded without calling `main`."""
    project.things('Thing("a")', 'raise_if = os.environ["NEEDED_BY_MAIN"]')
    project.ok("deploy", env={"NEEDED_BY_MAIN": "1"})
    assert project.objects == {"notes-dev-a": "1"}
    project.ok("destroy", "--yes")
    assert project.objects == {}


def test_destroy_asks_first(project: Project) -> None:
    """Without a terminal and `--yes` it refuses with exit code 2, says why and how many; nothing is touched."""
    project.write(FILES)
    project.ok("deploy")
    done = project.run("destroy", stdin="y\n")
    assert done.returncode == 2
    assert "notes/dev has 2 resources" in done.stderr
    assert "--yes" in done.stderr
    assert len(project.records()) == 2


def test_an_unknown_stage_lists_those_there_are(project: Project) -> None:
    """A stage, an application or a state that does not exist is an error, not success."""
    nothing = project.run("destroy", "--yes")
    assert (nothing.returncode, "there is no state" in nothing.stderr) == (1, True)
    project.write(FILES)
    project.ok("deploy")
    project.ok("deploy", "--stage", "prod")
    done = project.run("destroy", "--yes", "--stage", "prd")
    assert done.returncode == 1
    assert "notes has no stage 'prd'; it has dev, prod" in done.stderr
    done = project.run("destroy", "--yes", "nots/dev")
    assert (done.returncode, "did you mean 'notes'" in done.stderr) == (1, True)
    done = project.run("destroy", "--yes", "notes/dev/one")
    assert (done.returncode, "only whole stages" in done.stderr) == (1, True)
    assert len(project.records()) == 4
    for stage in ("dev", "prod"):
        project.ok("destroy", "--yes", "--stage", stage)
    done = project.run("destroy", "--yes")
    assert (done.returncode, "notes has no stage 'dev': nothing of notes is deployed" in done.stderr) == (1, True)


def test_a_chain_says_what_is_meant(project: Project) -> None:
    """`notes/prod` and `notes` with `--stage` destroy that stage alone, whatever program is here."""
    project.write(FILES)
    for stage in ("dev", "prod", "test-2"):
        project.ok("deploy", "--stage", stage)
    project.write('from alchemy import alchemy\nalchemy("another")')
    project.ok("destroy", "--yes", "notes/prod")
    project.ok("destroy", "--yes", "notes", "--stage", "test-2")
    assert {fqn.split("/")[1] for fqn in project.records()} == {"dev"}


def test_several_applications_must_be_told_apart(project: Project) -> None:
    """When neither the program nor the state says which application is meant, it lists them."""
    for app in ("notes", "shop"):
        project.things('Thing("a")', app=f'alchemy("{app}")')
        project.ok("deploy")
    (project.folder / "alchemy.run.py").rename(project.folder / "other.py")
    done = project.run("destroy", "--yes")
    assert done.returncode == 1
    assert "several applications: notes, shop" in done.stderr
    project.write('from alchemy import alchemy\nimport os\nalchemy("notes", stage=os.environ["X"])')
    done = project.run("destroy", "--yes")
    assert (done.returncode, "computes its stage" in done.stderr) == (1, True)


def test_the_programs_own_options_count(project: Project) -> None:
    """A stage and a state folder that the program's text names are where destroy looks."""
    project.things('Thing("a")', app='alchemy("notes", stage="fixed", state_dir=".kept")')
    project.ok("deploy")
    assert (project.folder / ".kept/notes/fixed").is_dir()
    assert "destroying notes/fixed" in project.ok("destroy", "--yes").stdout
    assert project.objects == {}


@pytest.mark.parametrize("args", [("--json",), ("--quiet",)])
def test_destroy_shows_as_deploy_does(project: Project, args: tuple[str, ...]) -> None:
    """`--json` and `--quiet` mean the same."""
    project.things('Thing("a")')
    project.ok("deploy")
    told = project.ok("destroy", "--yes", *args).stdout
    assert told.startswith('{"type":"run.started"') if args == ("--json",) else told == ""


def test_what_cannot_be_destroyed_is_kept_and_named(project: Project) -> None:
    """A protected resource fails the command with exit code 1, and stays in state."""
    project.things('Thing("a", options=Options(protect=True))', 'Thing("b")')
    project.ok("deploy")
    done = project.run("destroy", "--yes")
    assert done.returncode == 1
    assert "notes/dev/a is protected" in done.stderr
    assert "protect=False" in done.stderr
    assert set(project.records()) == {"notes/dev/a"}
