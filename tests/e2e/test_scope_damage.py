"""`alchemy scope restore` and `rebuild` as processes, with a state that is damaged or gone."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Project

BOTH = ('Thing("a", size=2)', 'Thing("b")')


@pytest.fixture
def damaged(project: Project) -> Project:
    """A stage of two resources, with a backup of both, of which one record cannot be read."""
    project.things('Thing("a")', 'Thing("b")')
    project.ok("deploy")
    project.things(*BOTH)
    project.ok("deploy")
    (project.folder / ".alchemy/notes/dev/resources/b/state.json").write_text("{")
    assert project.run("deploy").returncode == 1
    return project


def newest(project: Project) -> str:
    """Name the newest backup."""
    return project.ok("scope", "restore", "notes/dev", "--list").stdout.splitlines()[-1].split()[0]


def test_restore_works_while_the_state_is_damaged(damaged: Project) -> None:
    """What was there is put aside, and told; what cannot be read comes from the backup, the rest stays."""
    before = dict(damaged.objects)
    done = damaged.run("scope", "restore", "notes/dev", "--backup", newest(damaged))
    assert done.returncode == 0, done.stderr
    assert ".alchemy/.aside/notes/dev-" in done.stdout
    assert "restored   notes/dev/b" in done.stdout
    (aside,) = (damaged.folder / ".alchemy/.aside/notes").iterdir()
    assert (aside / "resources/b/state.json").read_text() == "{"
    assert damaged.records() == {"notes/dev/a": "updated", "notes/dev/b": "created"}
    damaged.ok("scope", "validate", "notes")
    assert "2 unchanged" in damaged.ok("deploy").stdout
    assert damaged.objects == before


def test_a_part_of_a_damaged_stage_is_not_restored_alone(damaged: Project) -> None:
    """The rest would be missing without a word: the whole stage has to be named."""
    done = damaged.run("scope", "restore", "notes/dev/b", "--backup", newest(damaged))
    assert (done.returncode, "resources/b/state.json" in done.stderr) == (1, True)
    assert not (damaged.folder / ".alchemy/.aside").exists()


def test_a_damaged_nested_store_is_restored_from_its_own_backup(project: Project) -> None:
    """The stage's own records are left alone, and nothing of them is put aside."""
    for size in ("1", "2"):
        project.things(
            'async with alchemy.run("inner", state_store="file:inner-state"):',
            f'    Thing("a", size={size})',
            'Thing("top")',
        )
        project.ok("deploy")
    (project.folder / "inner-state/notes/dev/inner/resources/a/state.json").write_text("{")
    name = project.ok("scope", "restore", "notes/dev/inner", "--list").stdout.split()[0]
    done = project.run("scope", "restore", "notes/dev/inner", "--backup", name)
    assert done.returncode == 0, done.stderr
    assert "inner-state/.aside/notes/dev-" in done.stdout
    assert project.records() == {"notes/dev/inner/a": "created", "notes/dev/top": "created"}
    project.ok("deploy")
    assert project.objects == {"notes-dev-inner-a": "2", "notes-dev-top": "1"}
    assert not (project.folder / ".alchemy/.aside").exists()


def test_rebuild_finds_everything_again(project: Project) -> None:
    """All records lost: each is made anew from what exists, nothing is created, and the next deploy changes nothing."""
    project.things(*BOTH)
    project.ok("deploy")
    before = dict(project.objects)
    shutil.rmtree(project.folder / ".alchemy/notes/dev")
    told = project.ok("scope", "rebuild", "notes/dev").stdout.splitlines()
    assert told[0] == "rebuilding notes/dev"
    assert "2 read" in told[-1]
    assert set(project.records()) == {"notes/dev/a", "notes/dev/b"}
    assert " rebuild " in project.ok("scope", "logs", "notes/dev", "--list").stdout
    project.ok("deploy")
    assert project.objects == before


def test_rebuild_works_while_the_state_is_damaged(damaged: Project) -> None:
    """What could not be read is found in the provider; all that was there is put aside."""
    done = damaged.run("scope", "rebuild")
    assert done.returncode == 0, done.stderr
    assert ".alchemy/.aside/notes/dev-" in done.stdout
    assert set(damaged.records()) == {"notes/dev/a", "notes/dev/b"}
    damaged.ok("scope", "validate", "notes")


def test_rebuild_lists_what_is_missing(project: Project) -> None:
    """The exit code is 1, and nothing is created."""
    project.things('Thing("a")')
    done = project.run("scope", "rebuild")
    assert (done.returncode, "notes/dev/a was not read back: it is missing" in done.stderr) == (1, True)
    assert project.objects == {}


def test_rebuild_is_careful_about_which_stage(project: Project) -> None:
    """A stage that the program does not open, a part of one, a program that is not there, two stages at once."""
    project.things('Thing("a")', app='alchemy("notes", stage="prod")')
    project.ok("deploy")
    project.ok("scope", "rebuild", "notes/prod")
    project.ok("scope", "rebuild", "alchemy.run.py")
    for args, code, words in (
        (("notes/dev",), 1, "does not open notes/dev, but notes/prod"),
        (("shop/prod",), 1, "does not open shop/prod, but notes/prod"),
        (("notes",), 1, "not a stage"),
        (("notes/test/x",), 1, "not a stage"),
        (("gone.py",), 1, "there is no program gone.py"),
        (("notes/prod", "--stage", "dev"), 2, "leave one out"),
    ):
        done = project.run("scope", "rebuild", *args)
        assert (done.returncode, words in done.stderr) == (code, True), (args, done.stderr)


def test_rebuild_leaves_alone_what_somebody_else_holds(project: Project) -> None:
    """The usual error; nothing is read."""
    project.things('await Thing("a", slow=True)')
    running = project.start("deploy", "--json")
    running.event("resource.started", fqn="notes/dev/a")
    done = project.run("scope", "rebuild", env={"ALCHEMY_LOCK_TIMEOUT": "0"})
    assert (done.returncode, f"(pid {running.process.pid}), deploy" in done.stderr) == (1, True)
    (project.folder / "go").touch()
    assert running.finish()[0] == 0
