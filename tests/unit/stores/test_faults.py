"""What the file store does when the disk refuses, the process dies, or a fold stops half-way."""

from __future__ import annotations

import asyncio
import errno
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

from alchemy.errors import StateError
from alchemy.state import STAGE_KIND, encode
from alchemy.stores import FileStore, _folding
from alchemy.stores._commits import Written
from alchemy.stores._disk import Disk
from alchemy.testing.contract import UNIT, a_resource, a_scope, an_owner

Hold = Callable[..., Any]
CHANGING = (
    "append",
    "fdatasync",
    "truncate",
    "write_file",
    "replace",
    "mkdir",
    "unlink",
    "rmdir",
    "sync_folder",
    "sync_all",
)


class FaultyDisk(Disk):
    """Refuses one of its calls with an error of the operating system."""

    def __init__(self, call: str = "", number: int = errno.EIO) -> None:
        super().__init__()
        self.call = call
        self.number = number
        self.refused = 0

    def _ask(self, call: str) -> None:
        if call == self.call:
            self.refused += 1
            raise OSError(self.number, os.strerror(self.number))

    def append(self, fd: int, data: bytes) -> None:
        """Write half of it before refusing, as a full disk does."""
        if self.call == "append":
            super().append(fd, data[: len(data) // 2])
        self._ask("append")
        super().append(fd, data)

    def fdatasync(self, fd: int) -> None:
        """Refuse, or sync."""
        self._ask("fdatasync")
        super().fdatasync(fd)

    def replace(self, source: str, target: str) -> None:
        """Refuse, or rename."""
        self._ask("replace")
        super().replace(source, target)

    def sync_folder(self, path: str) -> None:
        """Refuse, or sync."""
        self._ask("sync_folder")
        super().sync_folder(path)

    def sync_all(self, path: str) -> None:
        """Refuse, or sync."""
        self._ask("sync_all")
        super().sync_all(path)


class FilmingDisk(Disk):
    """Copies the tree before each of its calls, and in the middle of those that write."""

    def __init__(self, root: Path, film: Path) -> None:
        super().__init__()
        self.root = root
        self.film = film
        self.frames = 0

    def shoot(self) -> None:
        """Keep the tree as it is."""
        shutil.copytree(self.root, self.film / f"{self.frames:03}")
        self.frames += 1

    def append(self, fd: int, data: bytes) -> None:
        """Stop after none and after half of it."""
        self.shoot()
        super().append(fd, data[: len(data) // 2])
        self.shoot()
        super().append(fd, data[len(data) // 2 :])


def _film(call: str) -> Callable[..., Any]:
    def filmed(self: FilmingDisk, *args: Any, **kwargs: Any) -> Any:
        self.shoot()
        return getattr(Disk, call)(self, *args, **kwargs)

    return filmed


for _call in set(CHANGING) - {"append"}:
    setattr(FilmingDisk, _call, _film(_call))


def populate(holder: Any) -> None:
    """Write and fold a unit with scopes, a composite, and things that will change."""
    holder.write(a_scope(UNIT, STAGE_KIND), a_scope(f"{UNIT}/db"), a_scope(f"{UNIT}/old"))
    holder.write(*(a_resource(f"{UNIT}/{name}", rev=1) for name in ("a", "b", "site", "db/x", "old/y", "site/page")))
    holder.unit.fold()


def change(holder: Any) -> None:
    """Change a record, add some, drop some, and turn a resource with a child into a scope."""
    holder.write(
        a_resource(f"{UNIT}/a", rev=2), a_resource(f"{UNIT}/new", rev=2), a_resource(f"{UNIT}/db/z/deep", rev=2)
    )
    holder.drop(f"{UNIT}/b", f"{UNIT}/old", f"{UNIT}/old/y")
    holder.write(a_scope(f"{UNIT}/site"), a_resource(UNIT, kind=STAGE_KIND, rev=2))


@pytest.mark.parametrize("many", [0, 1000], ids=["syncfs", "fsync each"])
@pytest.mark.parametrize("scenario", ["change", "remove", "first"])
def test_a_fold_stopped_anywhere_loses_nothing(
    hold: Hold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int, scenario: str
) -> None:
    """At every step of a fold readers find everything, and the next holder finds, changes and folds it all the same."""
    monkeypatch.setattr(_folding, "MANY", many)
    root, film = tmp_path / ".alchemy", tmp_path / "film"
    film.mkdir()
    disk = FilmingDisk(root, film)
    disk.shoot = lambda: None  # type: ignore[method-assign]
    holder = hold(root, disk)
    if scenario == "first":
        holder.write(a_scope(UNIT, STAGE_KIND), a_resource(f"{UNIT}/a", rev=2), a_resource(f"{UNIT}/a/child", rev=2))
    else:
        populate(holder)
        if scenario == "change":
            change(holder)
        else:
            holder.drop(*holder.revs())
    expected = holder.revs()
    del disk.shoot
    holder.unit.fold()
    disk.shoot()
    if scenario == "remove":
        after: dict[str, int] = {}
        allowed = [expected, after]
        assert not (root / "notes/prod").exists()
    else:
        allowed = [expected]
    assert disk.frames > 10
    for copy in sorted(film.iterdir()):
        after_crash = hold(copy)
        assert after_crash.revs() in allowed, copy
        after_crash.unit.load()
        assert after_crash.revs() in allowed, copy
        after_crash.write(a_resource(f"{UNIT}/more", rev=3))
        wanted = {**after_crash.revs()}
        assert wanted.pop(f"{UNIT}/more") == 3
        assert wanted in allowed
        after_crash.unit.fold()
        assert after_crash.revs() == {**wanted, f"{UNIT}/more": 3}
        assert not list((copy / "notes/prod").glob("journal-*"))
        assert not list(copy.rglob("*.new"))
        after_crash.leave()


def test_a_fold_stopped_twice_loses_nothing(hold: Hold, tmp_path: Path) -> None:
    """A fold that stops, more changes, and a second fold that stops again at any step: everything is found."""
    root, film, second = tmp_path / ".alchemy", tmp_path / "film", tmp_path / "second"
    film.mkdir()
    disk = FilmingDisk(root, film)
    disk.shoot = lambda: None  # type: ignore[method-assign]
    holder = hold(root, disk)
    populate(holder)
    change(holder)
    del disk.shoot
    holder.unit.fold()
    for number, copy in enumerate(sorted(film.iterdir())[::8]):
        again = second / str(number)
        again.mkdir(parents=True)
        filming = FilmingDisk(copy, again)
        filming.shoot = lambda: None  # type: ignore[method-assign]
        next_holder = hold(copy, filming)
        next_holder.write(a_resource(f"{UNIT}/site", rev=4), a_resource(f"{UNIT}/b", rev=4))
        next_holder.drop(f"{UNIT}/new", f"{UNIT}/db/z/deep")
        expected = next_holder.revs()
        del filming.shoot
        next_holder.unit.fold()
        filming.shoot()
        for inner in sorted(again.iterdir()):
            last = hold(inner)
            assert last.revs() == expected, (copy, inner)
            last.unit.fold()
            assert last.revs() == expected, (copy, inner)
            last.leave()


def test_a_full_disk_refuses_the_commit_and_keeps_room_for_what_is_in_flight(hold: Hold, tmp_path: Path) -> None:
    """The refused commit leaves nothing behind; the reserve is given up, and the next commit finds room."""
    disk = FaultyDisk()
    holder = hold(disk=disk)
    unit = tmp_path / ".alchemy/notes/prod"
    holder.write(a_resource(f"{UNIT}/a", rev=1))
    assert (unit / "journal.reserve").stat().st_blocks * 512 >= 256 * 1024
    before = (unit / "journal-1.ndjson").read_bytes()
    disk.call, disk.number = "append", errno.ENOSPC
    with pytest.raises(StateError, match="disk is full") as refused:
        holder.write(a_resource(f"{UNIT}/a", rev=2))
    assert refused.value.hint
    assert (unit / "journal-1.ndjson").read_bytes() == before
    assert not (unit / "journal.reserve").exists()
    disk.call = ""
    holder.write(a_resource(f"{UNIT}/b", rev=3))
    assert holder.revs() == {f"{UNIT}/a": 1, f"{UNIT}/b": 3}
    holder.unit.fold()
    assert holder.revs() == {f"{UNIT}/a": 1, f"{UNIT}/b": 3}


def test_a_full_disk_at_the_first_commit(hold: Hold) -> None:
    """The very first commit is refused whole as well, and may succeed later."""
    disk = FaultyDisk("append", errno.EDQUOT)
    holder = hold(disk=FaultyDisk())
    holder.unit._disk = disk
    with pytest.raises(StateError, match="disk is full"):
        holder.write(a_resource(f"{UNIT}/a", rev=1))
    assert holder.revs() == {}
    disk.call = ""
    holder.write(a_resource(f"{UNIT}/a", rev=2))
    assert holder.revs() == {f"{UNIT}/a": 2}


@pytest.mark.parametrize(
    ("call", "number"), [("fdatasync", errno.EIO), ("fdatasync", errno.ENOSPC), ("append", errno.EIO)]
)
def test_a_failed_sync_or_write_poisons_the_store(hold: Hold, tmp_path: Path, call: str, number: int) -> None:
    """After it nothing more is written in this run, whatever the disk says then, and it is not tried again."""
    disk = FaultyDisk()
    holder = hold(disk=disk)
    holder.write(a_resource(f"{UNIT}/a", rev=1))
    disk.call, disk.number = call, number
    with pytest.raises(StateError, match=r"journal-1\.ndjson") as first:
        holder.write(a_resource(f"{UNIT}/a", rev=2))
    assert first.value.hint
    disk.call = ""
    journal = tmp_path / ".alchemy/notes/prod/journal-1.ndjson"
    left = journal.read_bytes()
    for attempt in (lambda: holder.write(a_resource(f"{UNIT}/b", rev=3)), holder.unit.fold):
        with pytest.raises(StateError, match=r"journal-1\.ndjson"):
            attempt()
    assert disk.refused == 1
    assert journal.read_bytes() == left
    holder.leave()
    after = hold()
    assert after.revs()[f"{UNIT}/a"] in (1, 2)
    after.write(a_resource(f"{UNIT}/b", rev=4))
    after.unit.fold()
    assert after.revs()[f"{UNIT}/b"] == 4


@pytest.mark.parametrize("call", ["fdatasync", "replace", "sync_folder", "sync_all", "append"])
def test_a_fold_that_fails_keeps_the_journal(
    hold: Hold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """When the disk refuses during a fold, that is an error, and everything is found all the same."""
    if call == "sync_all":
        monkeypatch.setattr(_folding, "MANY", 0)
    disk = FaultyDisk()
    holder = hold(disk=disk)
    populate(holder)
    change(holder)
    expected = holder.revs()
    disk.call = call
    with pytest.raises(StateError, match="fold"):
        holder.unit.fold()
    disk.call = ""
    assert disk.refused == 1
    assert holder.revs() == expected
    with pytest.raises(StateError, match="fold"):
        holder.write(a_resource(f"{UNIT}/c"))
    holder.leave()
    after = hold()
    after.unit.fold()
    assert after.revs() == expected


@pytest.mark.anyio
async def test_an_unawaited_failure_is_told_once_and_later_writes_are_kept(tmp_path: Path) -> None:
    """A commit refused by a full disk is reported by the next write, which is itself written."""
    disk = FaultyDisk()
    store = FileStore(tmp_path / ".alchemy", disk=disk)
    await store.init()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.set(lease, a_resource(f"{UNIT}/a"))
    disk.call, disk.number = "append", errno.ENOSPC
    store.set(lease, a_resource(f"{UNIT}/b"))
    with pytest.raises(StateError, match="disk is full"):
        await store.load(UNIT, lease=lease)
    with pytest.raises(StateError, match="disk is full"):
        await store.set(lease, a_resource(f"{UNIT}/c"))
    store.set(lease, a_resource(f"{UNIT}/d"))
    held = store._units[UNIT]
    while held.committer._failed is None or not held.committer._failed.untold:
        await asyncio.sleep(0)
    disk.call = ""
    with pytest.raises(StateError, match="disk is full"):
        await store.set(lease, a_resource(f"{UNIT}/e"))
    await store.set(lease, a_resource(f"{UNIT}/f"))
    await store.fold(lease)
    assert await store.list(UNIT) == ["a", "e", "f"]
    await store.release(lease)
    await store.deinit()


WRITER = """
import sys
from alchemy.ports import Owner
from alchemy.state import Record, encode
from alchemy.stores._commits import Dropped, Written
from alchemy.stores._disk import Disk
from alchemy.stores._folder import Folder
from alchemy.stores._held import HeldUnit

UNIT = "notes/prod"
owner = Owner(user="tester", host="here", pid=0, operation="deploy")

def a_resource(fqn, rev):
    return Record(kind="fs::File", id=fqn.rpartition("/")[2], fqn=fqn, rev=rev)

folder = Folder(sys.argv[1], Disk())
folder.make()
unit = HeldUnit(Disk(), folder.unit_folder(UNIT), folder.take(UNIT, owner, 60.0, None))
first = folder.read(UNIT).records.get(f"{UNIT}/counter")
n = first.rev if first else 0
while True:
    n += 1
    records = [a_resource(f"{UNIT}/counter", rev=n), a_resource(f"{UNIT}/r{n % 7}", rev=n)]
    unit.commit([Written([(r.fqn, encode(r), False) for r in records]), Dropped((f"{UNIT}/r{(n + 3) % 7}",))])
    print(n, flush=True)
    if n % 5 == 0:
        unit.fold()
"""


def after_commits(n: int) -> dict[str, int]:
    """Give what the writer's first `n` commits leave."""
    revs: dict[str, int] = {}
    for i in range(1, n + 1):
        revs |= {f"{UNIT}/counter": i, f"{UNIT}/r{i % 7}": i}
        revs.pop(f"{UNIT}/r{(i + 3) % 7}", None)
    return revs


def test_a_writer_killed_at_any_instant_leaves_an_exact_prefix(hold: Hold, tmp_path: Path) -> None:
    """A dozen times a writing process is killed; all it confirmed is there, at most one commit more, nothing else."""
    choose = random.Random(7)
    root = tmp_path / ".alchemy"
    confirmed = 0
    for _ in range(12):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(choose.randint(1, 40)):
                confirmed = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            for line in writer.stdout:
                confirmed = int(line)
        holder = hold(root)  # the kernel has freed the lock: no waiting
        found = holder.revs()
        assert found[f"{UNIT}/counter"] in (confirmed, confirmed + 1)
        assert found == after_commits(found[f"{UNIT}/counter"])
        holder.leave()


def test_readers_never_see_older_than_confirmed(hold: Hold) -> None:
    """While a holder writes and folds again and again, a reader finds at least what was confirmed before it began."""
    holder = hold()
    confirmed = 0
    problems: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            least = confirmed
            found = holder.revs()
            n = found.get(f"{UNIT}/counter", 0)
            if n < least or found != after_commits(n):
                problems.append(f"{least}: {found}")

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(1, 121):
        before = set(after_commits(n - 1)) - set(after_commits(n))
        holder.unit.commit(_both(n, tuple(before)))
        confirmed = n
        if n % 2 == 0:
            holder.unit.fold()
    done.set()
    reader.join()
    assert problems == []


def _both(n: int, dropped: tuple[str, ...]) -> Any:
    records = [a_resource(f"{UNIT}/counter", rev=n), a_resource(f"{UNIT}/r{n % 7}", rev=n)]
    return [Written([(record.fqn, encode(record), False) for record in records], dropped)]
