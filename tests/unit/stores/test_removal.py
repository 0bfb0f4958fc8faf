"""Record files go while the run goes on: what readers and the next holder find, whatever of them is gone."""

from __future__ import annotations

import errno
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alchemy.errors import LockedError, StateDamaged, StateError
from alchemy.state import STAGE_KIND, seal, unseal
from alchemy.stores import _held, _removal, _sweeper, _tree
from alchemy.stores._disk import Disk
from alchemy.stores._guards import guard, guard_path
from alchemy.stores._removal import Remover
from alchemy.stores._sweeper import Watch
from alchemy.testing.contract import UNIT, a_resource, a_scope

Hold = Callable[..., Any]
NAMES = ("a", "b", "site", "site/page", "db", "db/x", "K%y")


class FaultyDisk(Disk):
    """Refuses one of its calls while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = ""

    def unlink(self, path: str, /) -> None:
        """Refuse, or remove."""
        if self.refused == "unlink":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().unlink(path)

    def replace(self, source: str, target: str) -> None:
        """Refuse, or rename."""
        if self.refused == "replace":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().replace(source, target)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Announce every removal, and have no other process: the files stay until the test or a fold removes them."""
    monkeypatch.setattr(_held, "MANY_FREED", 1)
    monkeypatch.setattr(_removal, "_interpreter", lambda: None)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the other process remove however few there are."""
    monkeypatch.setattr(_held, "MANY_FREED", 1)


def populate(holder: Any) -> None:
    """Write and fold a unit with a scope, a composite, and an id whose folder is called differently."""
    holder.write(a_scope(UNIT, STAGE_KIND), a_scope(f"{UNIT}/db"))
    holder.write(*(a_resource(f"{UNIT}/{name}", rev=1) for name in NAMES if name != "db"))
    holder.unit.fold()


def populate_many(holder: Any, count: int) -> None:
    """Write and fold a unit with many records."""
    holder.write(a_scope(UNIT, STAGE_KIND), *(a_resource(f"{UNIT}/r{n}", rev=n) for n in range(count)))
    holder.unit.fold()


def finish(holder: Any) -> None:
    """Wait for the other process, as a fold does."""
    holder.unit._finish_removal(holder.unit._files)


def go_on(hold: Hold, root: Path, expected: dict[str, int]) -> None:
    """Check that readers and the next holder find just this, and that its fold leaves it and nothing more."""
    holder = hold(root)
    assert holder.revs() == expected
    holder.unit.load()
    holder.write(a_resource(f"{UNIT}/more", rev=7))
    holder.unit.fold()
    assert holder.revs() == {**expected, f"{UNIT}/more": 7}
    unit = root / "notes/prod"
    assert not list(unit.glob("journal*"))
    assert all(list(folder.iterdir()) for folder in unit.rglob("*") if folder.is_dir())
    holder.leave()


# -- what is there and what is not -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("alone")
def test_whichever_of_the_announced_files_are_gone_nothing_else_is(hold: Hold, tmp_path: Path) -> None:
    """After a crash with any of the files, and any of the folders, removed: exactly what was committed is found."""
    root = tmp_path / ".alchemy"
    holder = hold(root)
    populate(holder)
    holder.drop(f"{UNIT}/b", f"{UNIT}/site/page", f"{UNIT}/K%y")
    holder.drop(f"{UNIT}/db/x", f"{UNIT}/db")
    holder.write(a_resource(f"{UNIT}/b", rev=2))
    expected = holder.revs()
    assert expected == {UNIT: 0, f"{UNIT}/a": 1, f"{UNIT}/b": 2, f"{UNIT}/site": 1}
    holder.leave()
    gone = ["resources/b", "resources/site/resources/page", "resources/%4B%25y", "db/resources/x", "db"]
    for number, choice in enumerate(itertools.product(("there", "file", "folder"), repeat=len(gone))):
        copy = tmp_path / f"copy{number}"
        shutil.copytree(root, copy)
        for what, folder in zip(choice, gone, strict=True):
            if what != "there":
                (copy / "notes/prod" / folder / "state.json").unlink()
            if what == "folder" and not list((copy / "notes/prod" / folder).iterdir()):
                (copy / "notes/prod" / folder).rmdir()
        go_on(hold, copy, expected)


@pytest.mark.usefixtures("alone")
def test_files_that_nobody_announced_are_missed_all_the_same(hold: Hold, tmp_path: Path) -> None:
    """While some files may be missing, the others are checked as ever: lost, exchanged and added ones are damage."""
    unit = tmp_path / ".alchemy/notes/prod"
    holder = hold()
    populate(holder)
    old = (unit / "resources/b/state.json").read_bytes()
    holder.drop(f"{UNIT}/b", f"{UNIT}/K%y")
    shutil.rmtree(unit / "resources/b")
    kept = (unit / "resources/a/state.json").read_bytes()
    (unit / "resources/a/state.json").unlink()
    with pytest.raises(StateDamaged, match=r"a/state\.json is missing"):
        holder.revs()
    (unit / "resources/a/state.json").write_bytes(seal({**unseal(kept, where=""), "rev": 9}))
    with pytest.raises(StateDamaged, match="another version"):
        holder.revs()
    (unit / "resources/a/state.json").write_bytes(kept)
    shutil.copytree(unit / "resources/a", unit / "resources/b")
    with pytest.raises(StateDamaged, match="does not belong there"):
        holder.revs()
    (unit / "resources/b/state.json").write_bytes(seal({**unseal(old, where=""), "rev": 9}))
    with pytest.raises(StateDamaged, match="another version"):
        holder.revs()


@pytest.mark.usefixtures("alone")
def test_a_removal_after_a_fold_that_was_interrupted(hold: Hold, tmp_path: Path) -> None:
    """Files of a half-done fold that the next holder drops may be missing too, when that one is stopped as well."""
    unit = tmp_path / ".alchemy/notes/prod"
    disk = FaultyDisk()
    holder = hold(disk=disk)
    populate(holder)
    holder.write(a_resource(f"{UNIT}/a", rev=2), a_resource(f"{UNIT}/new", rev=2))
    holder.drop(f"{UNIT}/K%y")
    disk.refused = "replace"
    with pytest.raises(StateError, match="fold"):
        holder.unit.fold()
    holder.leave()
    second = hold()
    second.drop(f"{UNIT}/a", f"{UNIT}/b")
    second.drop(f"{UNIT}/new")
    expected = {UNIT: 0, f"{UNIT}/site": 1, f"{UNIT}/site/page": 1, f"{UNIT}/db": 0, f"{UNIT}/db/x": 1}
    assert second.revs() == expected
    for name in ("a", "b", "new"):
        shutil.rmtree(unit / "resources" / name)
        assert second.revs() == expected
    second.leave()
    go_on(hold, tmp_path / ".alchemy", expected)


@pytest.mark.usefixtures("at_once")
def test_a_record_that_comes_again_is_kept(hold: Hold, tmp_path: Path) -> None:
    """A record that is written again after its file was removed, or is about to be, has a file after the fold."""
    unit = tmp_path / ".alchemy/notes/prod"
    holder = hold()
    populate(holder)
    holder.drop(f"{UNIT}/b")
    holder.write(a_resource(f"{UNIT}/b", rev=2))
    holder.drop(f"{UNIT}/a")
    finish(holder)
    assert not (unit / "resources/a").exists()
    holder.write(a_resource(f"{UNIT}/a", rev=2), a_resource(f"{UNIT}/a/child", rev=2))
    expected = holder.revs()
    holder.unit.fold()
    assert holder.revs() == expected
    assert (unit / "resources/a/resources/child/state.json").exists()
    assert (unit / "resources/b/state.json").exists()


# -- the other process -----------------------------------------------------------------------------------------------


def test_files_go_before_the_fold(hold: Hold, tmp_path: Path) -> None:
    """With many dropped records their files and folders are gone without a fold, and the fold leaves the rest."""
    unit = tmp_path / ".alchemy/notes/prod"
    holder = hold()
    populate_many(holder, 400)
    holder.drop(*(f"{UNIT}/r{n}" for n in range(100)))
    assert holder.unit._remover is None
    holder.drop(*(f"{UNIT}/r{n}" for n in range(100, 300)))
    finish(holder)
    assert len(list((unit / "resources").iterdir())) == 100
    assert len(holder.revs()) == 101
    holder.leave()
    go_on(hold, tmp_path / ".alchemy", {UNIT: 0, **{f"{UNIT}/r{n}": n for n in range(300, 400)}})


def test_a_file_is_kept_for_a_record_that_came_again_in_time(hold: Hold, tmp_path: Path) -> None:
    """A record that is written again before its file's removal is announced keeps the file."""
    holder = hold()
    populate_many(holder, 300)
    again = tmp_path / ".alchemy/notes/prod/resources/r0/state.json"
    before = again.stat().st_ino
    holder.drop(f"{UNIT}/r0")
    holder.write(a_resource(f"{UNIT}/r0", rev=5))
    holder.drop(*(f"{UNIT}/r{n}" for n in range(1, 300)))
    holder.unit.fold()
    assert holder.revs() == {UNIT: 0, f"{UNIT}/r0": 5}
    assert again.stat().st_ino == before


@pytest.mark.usefixtures("at_once")
def test_folders_above_go_with_the_last(hold: Hold, tmp_path: Path) -> None:
    """Folders that held nothing but removed ones are gone after the fold."""
    unit = tmp_path / ".alchemy/notes/prod"
    holder = hold()
    populate(holder)
    holder.drop(f"{UNIT}/site/page", f"{UNIT}/db/x", f"{UNIT}/db")
    finish(holder)
    holder.unit.fold()
    assert [path.name for path in (unit / "resources/site").iterdir()] == ["state.json"]
    assert not (unit / "db").exists()


def test_all_of_it_goes(hold: Hold, tmp_path: Path) -> None:
    """When everything is dropped one by one, nothing is left after the fold, and the unit can come again."""
    holder = hold()
    populate_many(holder, 500)
    for n in range(500):
        holder.drop(f"{UNIT}/r{n}")
    holder.drop(UNIT)
    holder.unit.fold()
    assert not (tmp_path / ".alchemy/notes/prod").exists()
    populate_many(holder, 3)
    assert len(holder.revs()) == 4


def test_going_without_a_fold_stops_the_removal(hold: Hold, tmp_path: Path) -> None:
    """A run that ends without a fold leaves no process, and what it has dropped is dropped."""
    holder = hold()
    populate_many(holder, 600)
    holder.drop(*(f"{UNIT}/r{n}" for n in range(500)))
    process = holder.unit._remover._process
    assert process is not None
    holder.leave()
    assert process.returncode is not None
    go_on(hold, tmp_path / ".alchemy", {UNIT: 0, **{f"{UNIT}/r{n}": n for n in range(500, 600)}})


def test_loading_again_stops_the_removal(hold: Hold) -> None:
    """The holder's load ends it first, so that it finds files that stay."""
    holder = hold()
    populate_many(holder, 400)
    holder.drop(*(f"{UNIT}/r{n}" for n in range(300)))
    assert len(holder.unit.load().records) == 101
    assert holder.unit._remover is None
    holder.write(*(a_resource(f"{UNIT}/r{n}", rev=5) for n in range(300)))
    holder.unit.fold()
    assert len(holder.revs()) == 401


@pytest.mark.usefixtures("at_once")
def test_what_is_not_ours_stays(hold: Hold, tmp_path: Path) -> None:
    """A foreign file in a record's folder is left, and its folder with it."""
    unit = tmp_path / ".alchemy/notes/prod"
    holder = hold()
    populate(holder)
    (unit / "resources/a/notes.txt").write_text("mine")
    (unit / "db/notes.txt").write_text("mine")
    holder.drop(f"{UNIT}/a", f"{UNIT}/b", f"{UNIT}/db", f"{UNIT}/db/x")
    finish(holder)
    holder.unit.fold()
    left = {str(path.relative_to(unit)) for path in unit.rglob("*") if path.is_file()}
    assert left == {
        "state.json",
        "resources/a/notes.txt",
        "db/notes.txt",
        "resources/site/state.json",
        "resources/site/resources/page/state.json",
        "resources/%4B%25y/state.json",
    }
    assert len(holder.revs()) == 4


def test_what_cannot_be_removed_is_told_by_the_fold(hold: Hold, tmp_path: Path, alone: None) -> None:
    """When files refuse to go the fold fails, everything is found as it was, and the next fold removes them."""
    disk = FaultyDisk()
    holder = hold(disk=disk)
    populate(holder)
    holder.drop(f"{UNIT}/a", f"{UNIT}/b")
    expected = holder.revs()
    disk.refused = "unlink"
    with pytest.raises(StateError, match="fold"):
        holder.unit.fold()
    disk.refused = ""
    assert holder.revs() == expected
    holder.leave()
    go_on(hold, tmp_path / ".alchemy", expected)


def test_the_other_process_tells_what_is_left(hold: Hold, tmp_path: Path) -> None:
    """A file that is in truth a folder cannot be unlinked: it is given back to the fold, the others are gone."""
    holder = hold()
    folder = tmp_path / ".alchemy/notes/prod"
    paths = [f"{folder}/resources/r{n}/state.json" for n in range(100)]
    for path in paths[:-1]:
        Path(path).parent.mkdir(parents=True)
        Path(path).write_text("{}")
    Path(paths[-1]).mkdir(parents=True)
    remover = Remover(str(folder), holder.lock)
    remover.add(paths[:50])
    remover.add(paths[50:])
    left, folders = remover.finish()
    assert left == paths[-1:]
    assert folders == {f"{folder}/resources"}
    assert [path.name for path in (folder / "resources").iterdir()] == ["r99"]


def test_a_fork_does_not_keep_the_fold_waiting(hold: Hold, tmp_path: Path) -> None:
    """A copy of this process that has the pipe open too does not keep the other process from ending."""
    holder = hold()
    path = tmp_path / ".alchemy/notes/prod/resources/a/state.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    remover = Remover(str(tmp_path / ".alchemy/notes/prod"), holder.lock)
    assert remover._process is not None
    assert remover._process.stdin is not None
    copy = os.dup(remover._process.stdin.fileno())
    remover.add([str(path)])
    assert remover.finish()[0] == []
    os.close(copy)
    assert not path.exists()


@pytest.mark.parametrize("lost", ["broken", "taken", "no lock", "no guard"])
def test_nothing_is_removed_for_one_who_holds_no_more(hold: Hold, tmp_path: Path, lost: str) -> None:
    """Once the unit was taken away the other process removes nothing more."""
    holder = hold()
    folder = tmp_path / ".alchemy/notes/prod"
    path = folder / "resources/a/state.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    if lost in ("broken", "taken"):
        holder.folder.break_(UNIT)
    if lost == "taken":
        hold()
    if lost == "no lock":
        Path(holder.lock.path).unlink()
    remover = Remover(str(folder), holder.lock)
    if lost == "no guard":
        Path(guard_path(holder.lock.path)).unlink()
    remover.add([str(path)])
    left, _ = remover.finish()
    assert left == [str(path)]
    assert path.exists()


def test_nothing_is_removed_for_a_parent_that_is_gone(hold: Hold, tmp_path: Path) -> None:
    """A process that outlives the one that has started it stops."""
    holder = hold()
    path = tmp_path / "a/state.json"
    path.parent.mkdir()
    path.write_text("{}")
    arguments = ["1", guard_path(holder.lock.path), holder.lock.path, str(holder.lock.content.token)]
    done = subprocess.run(
        [sys.executable, "-I", "-S", _sweeper.__file__, *arguments],
        input=b"a\n",
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
    assert path.exists()


@pytest.mark.parametrize("program", ["/usr/bin/uwsgi", "", "/nowhere/python3"])
def test_without_an_interpreter_the_fold_removes(
    hold: Hold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """A program with Python within it is not started again; one that is not there is no failure."""
    holder = hold()
    populate_many(holder, 300)
    monkeypatch.setattr(sys, "executable", program)
    holder.drop(*(f"{UNIT}/r{n}" for n in range(300)))
    assert holder.unit._remover._process is None
    assert len(list((tmp_path / ".alchemy/notes/prod/resources").iterdir())) == 300
    holder.drop(UNIT)
    holder.unit.fold()
    assert not (tmp_path / ".alchemy/notes/prod").exists()


def test_a_frozen_program_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `sys.executable` names in a frozen program is that program."""
    assert _removal._interpreter() == sys.executable
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert _removal._interpreter() is None


def test_the_guard_is_let_go_of(hold: Hold) -> None:
    """While somebody is at it the guard is shared, by as many as there are; after the last one anybody can have it."""
    lock = hold().lock
    watch = Watch(os.getppid(), guard_path(lock.path), lock.path, lock.content.token)
    assert watch.enter()
    assert watch.enter()
    watch.leave()
    with pytest.raises(LockedError, match="has been locked"), guard(lock.path, exclusive=True, wait=0.01):
        pass
    watch.leave()
    with guard(lock.path, exclusive=True, wait=0.01):
        pass
    assert watch.enter()
    watch.leave()


# -- while it happens ------------------------------------------------------------------------------------------------

DESTROYER = """
import sys
from alchemy.ports import Owner
from alchemy.stores._commits import Dropped
from alchemy.stores._disk import Disk
from alchemy.stores._folder import Folder
from alchemy.stores._held import HeldUnit

UNIT = "notes/prod"
owner = Owner(user="tester", host="here", pid=0, operation="destroy")
folder = Folder(sys.argv[1], Disk())
unit = HeldUnit(Disk(), folder.unit_folder(UNIT), folder.take(UNIT, owner, 60.0, None))
left = sorted((r.rev, r.fqn) for r in unit.load().records.values() if r.fqn != UNIT)
for start in range(0, len(left), 20):
    unit.commit([Dropped(tuple(fqn for _, fqn in left[start : start + 20]))])
    print(start + 20, flush=True)
"""


def test_killed_in_the_middle_of_a_removal(hold: Hold, tmp_path: Path) -> None:
    """Several times the process that destroys is killed: all it confirmed is gone, the rest is there, until it ends."""
    choose = random.Random(3)
    root = tmp_path / ".alchemy"
    holder = hold(root)
    count = 3000
    populate_many(holder, count)
    holder.leave()
    for _ in range(4):
        confirmed = 0
        with subprocess.Popen([sys.executable, "-c", DESTROYER, str(root)], stdout=subprocess.PIPE) as destroyer:
            assert destroyer.stdout is not None
            for _ in range(choose.randint(12, 30)):
                confirmed = int(destroyer.stdout.readline())
            destroyer.send_signal(signal.SIGKILL)
            for line in destroyer.stdout:
                confirmed = int(line)
        holder = hold(root)
        found = {fqn: rev for fqn, rev in holder.revs().items() if fqn != UNIT}
        assert count - len(found) in (confirmed, confirmed + 20)
        first = 3000 - len(found)
        assert found == {f"{UNIT}/r{n}": n for n in range(first, 3000)}
        count = len(found)
        holder.leave()
    go_on(hold, root, {UNIT: 0, **found})


@pytest.mark.usefixtures("at_once")
def test_a_file_that_goes_while_it_is_looked_for(hold: Hold, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that has begun before a record is dropped, and finds its file gone, sees no damage."""
    holder = hold()
    populate(holder)
    holder.unit.load()
    scope = _tree.Walk.scope

    def late(walk: Any, folder: str, chain: str | None) -> None:
        monkeypatch.setattr(_tree.Walk, "scope", scope)
        holder.drop(f"{UNIT}/a")
        finish(holder)
        scope(walk, folder, chain)

    monkeypatch.setattr(_tree.Walk, "scope", late)
    assert set(holder.revs()) == {UNIT, *(f"{UNIT}/{name}" for name in NAMES if name != "a")}


@pytest.mark.usefixtures("at_once")
def test_readers_see_what_was_acknowledged_all_the_time(hold: Hold) -> None:
    """While records are dropped and their files removed, a reader finds neither fewer nor more than there can be."""
    holder = hold()
    count = 500
    populate_many(holder, count)
    begun = confirmed = 0
    problems: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            before = confirmed
            try:
                found = {rev for fqn, rev in holder.revs().items() if fqn != UNIT}
            except StateError as error:
                problems.append(str(error))
                return
            if not set(range(begun, count)) <= found <= set(range(before, count)):
                problems.append(f"{before}, {begun}: {sorted(found)}")

    reader = threading.Thread(target=read)
    reader.start()
    for start in range(0, count, 10):
        begun = start + 10
        holder.drop(*(f"{UNIT}/r{n}" for n in range(start, begun)))
        confirmed = begun
    finish(holder)
    done.set()
    reader.join()
    assert problems == []
    holder.unit.fold()
    assert holder.revs() == {UNIT: 0}
