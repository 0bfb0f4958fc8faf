"""What becomes of a unit when the operating system refuses: every call that changes the disk, with every reason."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import resource
import shutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from alchemy.errors import StateError
from alchemy.history import encode_backup
from alchemy.state import STAGE_KIND, Application, Record, encode
from alchemy.stores import FileStore, _folding
from alchemy.stores._commits import Change, Dropped, Saved, Written
from alchemy.stores._disk import Disk
from alchemy.stores._problems import find_problems
from alchemy.testing.contract import UNIT, a_resource, a_scope, an_owner

Hold = Callable[..., Any]
Revs = dict[str, int]
CALLS = (
    *("append", "fdatasync", "truncate", "write_file", "replace", "mkdir", "unlink", "rmdir"),
    *("sync_folder", "sync_all", "open_append", "reserve"),
)
OPENING = ("write_file", "sync_folder", "sync_all", "open_append", "reserve")
BACKUPS = [f"state-2026-11-21T09-00-00-{n:03}Z.json" for n in range(2)]


class RefusingDisk(Disk):
    """Refuses the n-th of its calls, and those after it when the reason lasts.

    Attributes:
        made: the calls that were made, in order.
    """

    def __init__(self, at: int = -1, number: int = 0, *, lasting: bool = False) -> None:
        super().__init__()
        self.at = at
        self.number = number
        self.lasting = lasting
        self.made: list[str] = []

    def ask(self, call: str) -> bool:
        """Say whether a call is to be refused."""
        n = len(self.made)
        self.made.append(call)
        return self.at >= 0 and (n == self.at or (self.lasting and n > self.at))


def _refusing(call: str) -> Callable[..., Any]:
    def refusing(self: RefusingDisk, *args: Any, **kwargs: Any) -> Any:
        refused = self.ask(call)
        if not refused and "sync" in call:
            return None  # nothing here cuts the power
        if refused:
            if call == "append":  # a full disk takes what it can
                Disk.append(self, args[0], args[1][: len(args[1]) // 2])
            raise OSError(self.number, os.strerror(self.number))
        return getattr(Disk, call)(self, *args, **kwargs)

    return refusing


for _call in CALLS:
    setattr(RefusingDisk, _call, _refusing(_call))


@dataclass
class Script:
    """What a holder does, and what may be stored after it.

    Attributes:
        states: one of these is what a reader must find.
        kept: backups that were confirmed.
        poisoned: whether nothing more may be written.
    """

    holder: Any
    states: list[Revs] = field(default_factory=lambda: [dict[str, int]()])
    kept: list[str] = field(default_factory=list[str])
    poisoned: bool = False
    refusals: list[StateError] = field(default_factory=list[StateError])

    def run(self) -> None:
        """Write, fold, back up, write in a group, load, and remove everything."""
        self.commit(a_scope(UNIT, STAGE_KIND), a_resource(f"{UNIT}/a", rev=1))
        self.commit(*(a_resource(f"{UNIT}/{name}", rev=1) for name in ("b", "site", "site/page")))
        self.attempt(self.holder.unit.fold)
        self.commit(backup=BACKUPS[0])
        self.commit(a_resource(f"{UNIT}/a", rev=2), drop=(f"{UNIT}/b",))
        self.commit(a_resource(f"{UNIT}/c", rev=1), backup=BACKUPS[1])
        self.attempt(self.holder.unit.load)
        self.attempt(self.holder.unit.fold)
        self.commit(drop=(f"{UNIT}/site", f"{UNIT}/site/page", f"{UNIT}/c", f"{UNIT}/a", UNIT))
        self.attempt(self.holder.unit.fold)

    def commit(self, *records: Record, drop: tuple[str, ...] = (), backup: str | None = None) -> None:
        """Try to write in one group."""
        changes: list[Change] = [Written([(record.fqn, encode(record), record.is_scope)]) for record in records]
        if drop:
            changes.append(Dropped(drop))
        if backup:
            content = encode_backup(unit=UNIT, made_at="", operation="deploy", records=[])
            changes.append(Saved(backup, content))
        after = [
            {fqn: rev for fqn, rev in {**state, **{one.fqn: one.rev for one in records}}.items() if fqn not in drop}
            for state in self.states
        ]
        was_poisoned = self.poisoned
        if self.attempt(lambda: self.holder.unit.commit(changes)):
            self.states = after
            self.kept += [backup] if backup else []
        elif self.poisoned and not was_poisoned:  # the disk alone knows how much of it is there
            self.states = [*self.states, *(state for state in after if state not in self.states)]

    def attempt(self, step: Callable[[], object]) -> bool:
        """Take a step; what refuses it must say what to do, and what is poisoned stays so."""
        refusal: StateError | None = None
        try:
            step()
        except StateError as error:
            refusal = error
        if refusal is None:
            assert not self.poisoned or step == self.holder.unit.load
            return True
        assert refusal.hint
        self.refusals.append(refusal)
        self.poisoned = self.poisoned or "nothing more is written" in refusal.message
        return False


def begin(hold: Hold, root: Path, disk: RefusingDisk) -> Any:
    """Hold a unit of an application in a folder of its own; what the disk is asked from then on counts."""
    holder = hold(root, disk)
    holder.folder.create_application(Application(app="notes", lineage="00" * 16, created_at=""))
    disk.made.clear()
    return holder


def clean_calls(hold: Hold, root: Path) -> list[str]:
    """Give the calls of a run that nothing refuses."""
    disk = RefusingDisk()
    script = Script(begin(hold, root, disk))
    script.run()
    assert script.refusals == []
    assert script.states == [{}]
    return disk.made


def is_leftover(what: str) -> bool:
    """Say whether a problem is only something that lies about."""
    return any(word in what for word in ("never finished", "empty folder", "cut short", "keeps room"))


@pytest.mark.parametrize(
    ("number", "lasting", "many"),
    [
        (errno.EIO, False, 0),
        (errno.EIO, False, 1000),
        (errno.EIO, True, 0),
        (errno.ENOSPC, False, 0),
        (errno.ENOSPC, True, 1000),
        (errno.EDQUOT, False, 1000),
        (errno.EROFS, True, 0),
        (errno.EACCES, False, 1000),
        (errno.EMFILE, False, 0),
        (errno.EMFILE, True, 1000),
    ],
    ids=lambda value: errno.errorcode.get(value, "many") if type(value) is int else "lasting" if value else "once",
)
def test_refused_anywhere_nothing_confirmed_is_lost(
    hold: Hold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, lasting: bool, many: int
) -> None:
    """At every call: an error that says what to do; a reader and the next holder find exactly what was confirmed."""
    monkeypatch.setattr(_folding, "MANY", many)
    calls = clean_calls(hold, tmp_path / "clean")
    for at, call in enumerate(calls):
        if number == errno.EMFILE and call not in OPENING:
            continue
        root = tmp_path / str(at)
        disk = RefusingDisk()
        holder = begin(hold, root, disk)
        disk.at, disk.number, disk.lasting = at, number, lasting
        script = Script(holder)
        script.run()
        if call == "fdatasync" and number == errno.EIO:
            assert script.poisoned  # a failed sync is not tried again
        disk.at = -1
        holder.unit.close()
        holder.lock.release()
        after = hold(root)
        found = after.revs()
        assert found in script.states, (at, call)
        assert {*after.folder.backups(UNIT).names()} >= {*script.kept}
        left = [problem for problem in find_problems(after.folder, "") if not is_leftover(problem.what)]
        assert left == [], (at, call)
        after.unit.load()
        after.write(a_resource(f"{UNIT}/more", rev=7))
        after.unit.fold()
        assert after.revs() == {**found, f"{UNIT}/more": 7}, (at, call)
        after.leave()
        shutil.rmtree(root)


def test_a_full_disk_has_room_for_what_is_in_flight(hold: Hold, tmp_path: Path) -> None:
    """Every commit that the disk has no room for is refused alone; those after it are written once there is."""
    disk = RefusingDisk()
    holder = hold(disk=disk)
    holder.write(a_resource(f"{UNIT}/a", rev=1))
    for rev in range(2, 6):
        disk.at, disk.number = len(disk.made) + disk_calls_until_append(holder), errno.ENOSPC
        with pytest.raises(StateError, match="disk is full"):
            holder.write(a_resource(f"{UNIT}/a", rev=rev))
        assert not (tmp_path / ".alchemy/notes/prod/journal.reserve").exists()
        disk.at = -1
        holder.write(a_resource(f"{UNIT}/b", rev=rev))
        assert holder.revs() == {f"{UNIT}/a": 1, f"{UNIT}/b": rev}


def disk_calls_until_append(holder: Any) -> int:
    """Say how many calls come before the next frame is written: two when the journal has to be opened."""
    return 0 if holder.unit._files is not None else 2


# -- too many open files -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def only(more: int) -> Iterator[None]:
    """Let this process open so many files more, and no more than that."""
    gc.collect()  # what others have left would be closed meanwhile, and there would be more
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/dev/fd"))
    fillers = [os.dup(0) for _ in range(highest + 1 - len(os.listdir("/dev/fd")) + 8)]
    limit = max(fillers) + 1 + more
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in fillers:
            os.close(fd)


@pytest.mark.anyio
@pytest.mark.parametrize("more", range(7))
async def test_too_many_open_files(tmp_path: Path, more: int) -> None:
    """With none to spare, one, two, …: a clear error or success, and just what was confirmed is there."""
    store = FileStore(tmp_path)
    await store.init()
    refused = 0
    confirmed: set[str] = set()

    async def attempt(step: Callable[[], Awaitable[Any]]) -> Any:
        nonlocal refused
        try:
            with only(more):
                return await step()
        except StateError as error:
            refused += 1
            check_told(error)

    async def write(fqn: str) -> None:
        await store.set(lease, a_resource(fqn, rev=1))
        confirmed.add(fqn)

    lease = await attempt(lambda: store.acquire(UNIT, owner=an_owner(), timeout=0))
    lease = lease or await store.acquire(UNIT, owner=an_owner(), timeout=0)
    for n in range(3):
        await attempt(lambda: store.load(UNIT, lease=lease))
        await attempt(partial(write, f"{UNIT}/r{n}"))
        await attempt(partial(store.save_backup, lease, f"state-{n}.json", b"{}"))
        await attempt(lambda: store.append_log(UNIT, "a.ndjson", b"{}\n"))
        await attempt(lambda: store.fold(lease))
        await attempt(lambda: store.renew(lease))
        await attempt(lambda: store.all(UNIT))
        assert set(await store.all(UNIT)) == confirmed
    assert (refused > 0) == (more < 4)
    await write(f"{UNIT}/last")
    await store.fold(lease)
    assert set(await store.all(UNIT)) == confirmed
    await store.release(lease)
    left = [problem for problem in await store.problems("") if "not a backup" not in problem.what]
    assert [problem for problem in left if "has no checksum" not in problem.what] == []
    await store.deinit()


def check_told(error: StateError) -> None:
    """See that an error names the reason and the remedy."""
    assert "open files" in error.message
    assert "ulimit" in str(error.hint)


# -- the folder goes under our feet ------------------------------------------------------------------------------------


def test_a_units_folder_that_is_removed_is_noticed(hold: Hold, tmp_path: Path) -> None:
    """No commit is confirmed into a file that is not there any more, nor later in that run."""
    for folds in (False, True):
        root = tmp_path / str(folds)
        holder = hold(root)
        holder.write(a_resource(f"{UNIT}/a", rev=1))
        if folds:
            holder.unit.fold()
            holder.write(a_resource(f"{UNIT}/a", rev=2))
        shutil.rmtree(root / "notes/prod")
        for attempt in (lambda holder=holder: holder.write(a_resource(f"{UNIT}/b", rev=1)), holder.unit.fold):
            with pytest.raises(StateError) as refused:
                attempt()
            assert refused.value.hint
        holder.unit.close()
        holder.lock.release()
        after = hold(root)
        assert after.revs() == {}
        after.write(a_resource(f"{UNIT}/c", rev=1))
        after.unit.fold()
        assert after.revs() == {f"{UNIT}/c": 1}


@pytest.mark.anyio
async def test_the_whole_folder_that_is_removed_is_noticed(tmp_path: Path) -> None:
    """Every call then says so, none makes half a folder again, and giving back is no error."""
    root = tmp_path / ".alchemy"
    store = FileStore(root)
    await store.init()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.set(lease, a_resource(f"{UNIT}/a", rev=1))
    shutil.rmtree(root)
    for step in (
        lambda: store.set(lease, a_resource(f"{UNIT}/b")),
        lambda: store.save_backup(lease, BACKUPS[0], b"{}"),
        lambda: store.load(UNIT, lease=lease),
        lambda: store.fold(lease),
        lambda: store.renew(lease),
    ):
        with pytest.raises(StateError) as refused:
            await step()
        assert refused.value.hint
    assert await store.all(UNIT) == {}
    await store.release(lease)
    await store.deinit()
    assert not root.exists()
