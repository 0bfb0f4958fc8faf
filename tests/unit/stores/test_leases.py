"""Who holds a unit of the file store: dead holders, forks, other hosts, renewal."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alchemy.errors import LeaseLost, LockedError, StateDamaged
from alchemy.ports import Owner
from alchemy.stores import FileStore, _guards
from alchemy.stores._disk import Disk
from alchemy.stores._folder import Folder
from alchemy.stores._guards import guard
from alchemy.stores._leases import UnitLock
from alchemy.stores._lockfile import Held, Sighting, read_lock
from alchemy.testing.contract import UNIT, a_resource, an_owner

pytestmark = pytest.mark.anyio
Hold = Callable[..., Any]
ELSEWHERE = Owner(user="ci", host="elsewhere", pid=1, operation="deploy")

TAKER = """
import sys, time
from alchemy.ports import Owner
from alchemy.stores._disk import Disk
from alchemy.stores._folder import Folder
folder = Folder(sys.argv[1], Disk())
folder.make()
lock = folder.take("notes/prod", Owner(user="other", host="here", pid=0, operation="destroy"), 60.0, None)
print(lock.content.token, flush=True)
time.sleep(60)
"""

PARENT = """
import os, subprocess, sys, time
from alchemy.ports import Owner
from alchemy.stores._disk import Disk
from alchemy.stores._folder import Folder
folder = Folder(sys.argv[1], Disk())
folder.make()
lock = folder.take("notes/prod", Owner(user="other", host="here", pid=0, operation="destroy"), 60.0, None)
pid = os.fork()
if pid == 0:
    os.write(1, f"{os.getpid()}\\n".encode())  # at one go: both write to the same pipe
    time.sleep(60)
    os._exit(0)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
os.write(1, f"{child.pid}\\n".encode())
time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder for state."""
    made = Folder(str(tmp_path / ".alchemy"), Disk())
    made.make()
    return made


def take(folder: Folder, owner: Owner | None = None, sighting: Sighting | None = None) -> UnitLock | Held:
    """Try to take the unit."""
    return folder.take(UNIT, owner or an_owner(), 60.0, {UNIT: sighting} if sighting else {})


def write_lock(folder: Folder, **changes: Any) -> Held:
    """Put a lock file there as another host would have left it."""
    lock = take(folder, ELSEWHERE)
    assert isinstance(lock, UnitLock)
    lock.close()
    content = msgspec.structs.replace(lock.content, **({"machine": "another"} | changes))
    Path(lock.path).write_bytes(msgspec.json.encode(content))
    return content


def test_a_killed_holder_is_noticed_at_once(folder: Folder) -> None:
    """While another process lives it is named; killed, its unit is free without waiting for a deadline."""
    with subprocess.Popen([sys.executable, "-c", TAKER, folder.root], stdout=subprocess.PIPE) as taker:
        assert taker.stdout is not None
        token = int(taker.stdout.readline())
        held = take(folder)
        assert isinstance(held, Held)
        assert str(held.owner) == "other@here (pid 0), destroy"
        assert [lease.token for lease in folder.locks()] == [token]
        taker.send_signal(signal.SIGKILL)
        taker.wait()
    assert folder.locks() == []
    lock = take(folder)
    assert isinstance(lock, UnitLock)
    assert lock.content.token == token + 1
    lock.release()


def test_a_child_does_not_keep_the_lock(folder: Folder) -> None:
    """Neither a started program nor a forked child holds the unit on when its holder is killed."""
    with subprocess.Popen([sys.executable, "-c", PARENT, folder.root], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        children = [int(parent.stdout.readline()) for _ in range(2)]
        assert isinstance(take(folder), Held)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        for child in children:
            os.kill(child, 0)  # they go on
        lock = take(folder)
        for child in children:
            os.kill(child, signal.SIGKILL)
    assert isinstance(lock, UnitLock)
    lock.release()


def test_a_holder_on_another_host_is_waited_for(folder: Folder) -> None:
    """Its deadline is trusted until its lock has not changed for a ttl by this host's own clock."""
    content = write_lock(folder, deadline=time.time() + 30)
    held = take(folder)
    assert isinstance(held, Held)
    assert [lease.owner for lease in folder.locks()] == [ELSEWHERE]
    recent = Sighting(content.token, content.deadline, time.monotonic() - 59)
    assert isinstance(take(folder, sighting=recent), Held)
    renewed = Sighting(content.token, content.deadline - 15, time.monotonic() - 61)
    assert isinstance(take(folder, sighting=renewed), Held)
    unchanged = Sighting(content.token, content.deadline, time.monotonic() - 61)
    lock = take(folder, sighting=unchanged)
    assert isinstance(lock, UnitLock)
    assert lock.content.token == content.token + 1
    lock.release()


def test_a_holder_on_another_host_that_is_long_overdue(folder: Folder) -> None:
    """A whole ttl past its deadline nobody waits any more, whatever the clocks' difference."""
    write_lock(folder, deadline=time.time() - 61)
    assert folder.locks() == []
    lock = take(folder)
    assert isinstance(lock, UnitLock)
    lock.release()


async def test_waiting_for_a_holder_on_another_host(folder: Folder) -> None:
    """An acquire that waits takes the unit when the lock has not changed for the holder's ttl."""
    write_lock(folder, deadline=time.time() + 30, ttl=0.2)
    store = FileStore(folder.root)
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=30)
    assert lease.owner == an_owner()
    await store.deinit()


def test_a_lost_lock_file_does_not_bring_tokens_back(folder: Folder, hold: Hold) -> None:
    """Without the lock file the next token is still larger than those of the journals and of the unit's record."""
    for _ in range(3):
        holder = hold(Path(folder.root))
        holder.write(a_resource(f"{UNIT}/a"))
        holder.leave()
    Path(holder.lock.path).unlink()
    assert hold(Path(folder.root)).lock.content.token == 4


def test_a_holder_whose_lock_file_is_gone_writes_nothing(folder: Folder, hold: Hold) -> None:
    """Removing the locks of a running deploy stops it."""
    holder = hold(Path(folder.root))
    Path(holder.lock.path).unlink()
    with pytest.raises(LeaseLost):
        holder.write(a_resource(f"{UNIT}/a"))
    assert holder.revs() == {}


def test_a_lock_file_that_is_not_one(folder: Folder) -> None:
    """Garbage in a lock file is an error naming it and the remedy, not a free unit."""
    lock = take(folder)
    assert isinstance(lock, UnitLock)
    lock.release()
    for garbage in (b"", b"{}", b"\xff\xfe"):
        Path(lock.path).write_bytes(garbage)
        with pytest.raises(StateDamaged, match=r"prod\.lock") as damaged:
            take(folder)
        assert damaged.value.hint


def test_a_paused_holder_cannot_write_after_a_takeover(folder: Folder, hold: Hold) -> None:
    """One that was broken while it slept is refused at its next commit and at its fold, for good."""
    old = hold(Path(folder.root))
    old.write(a_resource(f"{UNIT}/a", rev=1))
    folder.break_(UNIT)
    new = hold(Path(folder.root))
    new.write(a_resource(f"{UNIT}/a", rev=2))
    for attempt in (lambda: old.write(a_resource(f"{UNIT}/a", rev=3)), old.unit.fold, old.unit.load):
        with pytest.raises(LeaseLost, match="tester@here"):
            attempt()
    old.lock.release()
    new.unit.fold()
    assert new.revs() == {f"{UNIT}/a": 2}
    current = read_lock(new.lock.path)
    assert current is not None
    assert current.held


def test_a_process_stopped_while_it_guards_is_named(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for the guard in vain is told who holds the unit."""
    lock = take(folder)
    assert isinstance(lock, UnitLock)
    with (
        guard(lock.path, exclusive=True),
        pytest.raises(LockedError, match="stopped in the middle") as refused,
        guard(lock.path, exclusive=False, wait=0.01),
    ):
        pass
    assert "tester@here" in refused.value.owner
    monkeypatch.setattr(_guards, "GUARD_WAIT", 0.01)
    with guard(lock.path, exclusive=True), pytest.raises(LockedError):
        folder.read(UNIT)
    lock.release()


async def test_a_lease_is_renewed_by_itself(folder: Folder) -> None:
    """The deadline in the lock file moves on without anybody asking, and stops with the release."""
    store = FileStore(folder.root)
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0, ttl=0.2)
    for _ in range(3000):
        content = read_lock(folder.lock_path(UNIT))
        assert content is not None
        if content.deadline > lease.deadline:
            break
        await asyncio.sleep(0.01)
    assert content is not None
    assert content.deadline > lease.deadline
    await store.release(lease)
    released = read_lock(folder.lock_path(UNIT))
    assert released is not None
    assert not released.held
    assert released.token == lease.token
    await store.deinit()


def test_what_takes_long_renews_the_lease(hold: Hold) -> None:
    """Reading and folding keep everybody from renewing; when they end, the holder is sure again."""
    holder = hold()
    for work in (holder.unit.load, lambda: holder.write(a_resource(f"{UNIT}/a")) or holder.unit.fold()):
        holder.lock.renewed -= 61
        assert not holder.lock.is_sure()
        work()
        assert holder.lock.is_sure()


async def test_taking_again_what_was_lost(folder: Folder) -> None:
    """A store that lost a unit and takes it again keeps nothing of the old lease: neither its flock nor its thread."""
    store, other = FileStore(folder.root), FileStore(folder.root)
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    before = _open_files(folder.lock_path(UNIT))
    for _ in range(3):
        await other.break_(UNIT)
        lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    assert store.check(lease)
    assert _open_files(folder.lock_path(UNIT)) == before == 1
    await store.deinit()


def _open_files(path: str) -> int:
    """Count the open files of this process that are, or were, at a path."""
    links = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_link(fd)]
    return sum(link.removesuffix(" (deleted)") == path for link in links)


def _is_link(fd: str) -> bool:
    return Path(f"/proc/self/fd/{fd}").is_symlink()


async def test_a_cancelled_acquire_keeps_nothing(folder: Folder) -> None:
    """An acquire cut off while it was being given the unit gives it back."""
    store = FileStore(folder.root)
    with guard(_ready(folder), exclusive=True):
        task = asyncio.ensure_future(store.acquire(UNIT, owner=an_owner(), timeout=0))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    other = FileStore(folder.root)
    lease = await other.acquire(UNIT, owner=an_owner(), timeout=30)
    await other.release(lease)
    await store.deinit()
    await other.deinit()


def _ready(folder: Folder) -> str:
    path = folder.lock_path(UNIT)
    Path(path).parent.mkdir(parents=True, mode=0o700)
    return path
