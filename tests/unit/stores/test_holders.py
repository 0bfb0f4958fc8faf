"""Holders as processes: stopped and continued, racing each other up and down a chain, dying in the middle."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.stopping import stop

from alchemy.errors import LeaseLost, LockedError, StateError
from alchemy.ports import Owner
from alchemy.stores import FileStore, _chains, _locks
from alchemy.stores._chains import HeldChain
from alchemy.stores._clocks import machine
from alchemy.stores._commits import Written
from alchemy.stores._disk import Disk
from alchemy.stores._folder import Folder
from alchemy.stores._guards import guard
from alchemy.stores._leases import UnitLock
from alchemy.stores._lockfile import Held, read_lock
from alchemy.testing.contract import UNIT, a_resource, an_owner

pytestmark = pytest.mark.anyio
DATABASE = f"{UNIT}/database"
ELSEWHERE = Owner(user="ci", host="elsewhere", pid=os.getpid(), operation="deploy")

STOPPED = """
import asyncio, json, sys
from alchemy.errors import LeaseLost
from alchemy.ports import Owner
from alchemy.stores import FileStore
from alchemy.testing.contract import a_resource

async def main():
    store = FileStore(sys.argv[1])
    lease = await store.acquire("notes/prod", owner=Owner(user="slow", host="here", pid=1, operation="deploy"),
                                timeout=0, ttl=0.5)
    await store.set(lease, a_resource("notes/prod/a", rev=1))
    print("held", flush=True)
    sys.stdin.readline()
    told = {}
    try:
        told["sure"] = store.check(lease)
    except LeaseLost:
        told["sure"] = False
    late = a_resource("notes/prod/a")
    calls = {"renew": store.renew, "set": lambda lease: store.set(lease, late), "fold": store.fold}
    for what, call in calls.items():
        try:
            await call(lease)
        except LeaseLost as error:
            told[what] = error.message
    print(json.dumps(told), flush=True)

asyncio.run(main())
"""

RACER = """
import os, random, sys
from pathlib import Path
from alchemy.errors import LockedError
from alchemy.ports import Owner
from alchemy.stores._disk import Disk
from alchemy.stores._folder import Folder
from alchemy.stores._leases import UnitLock

root, marks, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
chains = ["notes", "notes/prod", "notes/prod/database", "notes/prod/database/x", "notes/prod/compute", "notes/dev"]
choice = random.Random(seed)
folder = Folder(root, Disk())
folder.make()
owner = Owner(user="racer", host="here", pid=os.getpid(), operation="deploy")
held = 0
while held < 25:
    chain = choice.choice(chains)
    try:
        lock = folder.take(chain, owner, 60.0)
    except LockedError:
        continue  # on a slow disk the others may keep its guard among them for long
    if not isinstance(lock, UnitLock):
        continue
    held += 1
    mark = marks / chain.replace("/", "+")
    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    for other in os.listdir(marks):
        other = other.replace("+", "/")
        assert other == chain or not (other + "/").startswith(chain + "/"), (chain, other)
        assert other == chain or not (chain + "/").startswith(other + "/"), (chain, other)
    mark.unlink()
    lock.release()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder for state."""
    made = Folder(str(tmp_path / ".alchemy"), Disk())
    made.make()
    return made


@pytest.fixture
def take(folder: Folder) -> Iterator[Callable[..., UnitLock]]:
    """Take chains, and let go of their flocks after the test."""
    locks: list[UnitLock] = []

    def taken(chain: str, *, brief: bool = False, owner: Owner | None = None) -> UnitLock:
        whom = owner or an_owner("destroy")
        lock = folder.take_briefly(chain, whom, 60.0) if brief else folder.take(chain, whom, 60.0)
        assert isinstance(lock, UnitLock), lock
        locks.append(lock)
        return lock

    yield taken
    for lock in locks:
        lock.close()


def rewrite(lock: UnitLock, **changes: Any) -> Held:
    """Change what a lock file says, in place."""
    content = msgspec.structs.replace(lock.content, **changes)
    Path(lock.path).write_bytes(msgspec.json.encode(content))
    return content


async def test_a_stopped_holder_is_overtaken_and_notices(folder: Folder) -> None:
    """One stopped for longer than its lease loses the unit to whoever waits, and can do nothing when it goes on."""
    root = folder.root
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", STOPPED, root], **pipes) as holder:  # type: ignore[call-overload]
        assert holder.stdout.readline() == "held\n"
        with guard(folder.lock_path(UNIT), exclusive=True):
            stop(holder)
        try:
            store = FileStore(root)
            lease = await store.acquire(UNIT, owner=an_owner("destroy"), timeout=60)
            assert set((await store.load(UNIT, lease=lease)).records) == {f"{UNIT}/a"}
            await store.set(lease, a_resource(f"{UNIT}/a", rev=2), a_resource(f"{UNIT}/b"))
        finally:
            holder.send_signal(signal.SIGCONT)
        told, _ = await asyncio.to_thread(holder.communicate, "\n")
    said = json.loads(told)
    assert said.pop("sure") is False
    assert set(said) == {"renew", "set", "fold"}
    assert all("tester@here" in message and "destroy" in message for message in said.values())
    await store.fold(lease)
    await store.release(lease)
    assert {fqn: record.rev for fqn, record in (await store.all(UNIT)).items()} == {f"{UNIT}/a": 2, f"{UNIT}/b": 0}
    await store.deinit()


def test_racing_processes_never_hold_what_lies_in_one_another(tmp_path: Path) -> None:
    """Of processes that take chains above and below one another at once, never two hold at the same time."""
    marks = tmp_path / "marks"
    marks.mkdir()
    command = [sys.executable, "-c", RACER, str(tmp_path / ".alchemy"), str(marks)]
    racers = [subprocess.Popen([*command, str(seed)]) for seed in range(4)]
    for racer in racers:
        racer.wait(300)
    assert [racer.returncode for racer in racers] == [0] * 4


def test_a_dead_holder_above_is_recognised_at_once(folder: Folder, take: Callable[..., UnitLock]) -> None:
    """One on this machine that died is not waited for, also by those below; its token is used up."""
    dead = take("notes")
    dead.close()
    lock = take(DATABASE)
    content = read_lock(dead.path)
    assert content is not None
    assert not content.held
    assert content.token == dead.content.token + 1
    assert [lease.unit for lease in folder.locks()] == [lock.content.unit]


@pytest.mark.parametrize(("above", "below"), [("notes", DATABASE), (DATABASE, "notes")])
def test_a_holder_elsewhere_that_comes_back_is_refused(
    folder: Folder, take: Callable[..., UnitLock], above: str, below: str
) -> None:
    """One on another host whose time is over finds its lock broken, though nobody took the same chain."""
    old = take(above, owner=ELSEWHERE)
    rewrite(old, machine="another")
    held = folder.take(below, an_owner(), 60.0)
    assert isinstance(held, Held)
    assert held.owner == ELSEWHERE
    rewrite(old, machine="another", deadline=time.time() - 61)
    still = folder.take(below, an_owner(), 60.0)
    assert isinstance(still, Held), "its flock says that it lives"
    old.close()
    take(below)
    content = read_lock(old.path)
    assert content is not None
    assert (content.held, content.token) == (False, old.content.token + 1)
    assert f"tester@here (pid {os.getpid()}), destroy, at " in content.broken


def test_one_host_name_twice(folder: Folder, take: Callable[..., UnitLock]) -> None:
    """Of two containers with the same host name and a shared folder the flock decides, not the process's number."""
    owner = msgspec.structs.replace(an_owner(), host=socket.gethostname(), pid=os.getpid())
    lock = take(UNIT, owner=owner)
    rewrite(lock, machine="another", deadline=time.time() - 3600)
    assert isinstance(folder.take(UNIT, an_owner(), 60.0), Held)
    lock.close()
    assert folder.locks() == []
    assert take(UNIT).content.token == lock.content.token + 1


def test_containers_of_one_machine(folder: Folder, take: Callable[..., UnitLock]) -> None:
    """A dead holder of another host name is recognised at once when it ran under the same kernel."""
    assert machine(), "Linux can tell"
    take(UNIT, owner=ELSEWHERE).close()
    assert folder.locks() == []
    take(UNIT)


def test_a_lock_file_that_began_anew(take: Callable[..., UnitLock]) -> None:
    """After somebody deleted the locks by hand, a new holder with the same token is not taken for the old one."""
    old = take("notes")
    Path(old.path).unlink()
    new = take("notes")
    assert new.content.token == old.content.token
    rewrite(new, since="2026-11-21T09:00:00.000Z")
    with pytest.raises(LeaseLost):
        old.check()


# -- the moment of a commit under a lease that is none on a unit


async def test_nobody_is_refused_because_of_a_commit(folder: Folder, take: Callable[..., UnitLock]) -> None:
    """Whoever asks for a scope while another's commit is written waits for that moment, even with no patience."""
    brief = take(UNIT, brief=True)
    assert folder.locks() == []
    store = FileStore(folder.root)
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(store.acquire(DATABASE, owner=an_owner(), timeout=0))
        await asyncio.sleep(0.1)
        assert not asked.done()
        brief.release()
    assert asked.result().unit == DATABASE
    await store.deinit()


def test_a_holder_that_died_in_a_commit(folder: Folder, take: Callable[..., UnitLock]) -> None:
    """Its unit, and scopes beside its own, are free at once."""
    take(UNIT, brief=True).close()
    take(f"{UNIT}/compute").release()
    take(UNIT)


def test_a_commit_that_never_ends(
    folder: Folder, take: Callable[..., UnitLock], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for one in vain is told whose it is; breaking a lock does not wait for ever."""
    monkeypatch.setattr(_chains, "GUARD_WAIT", 0.02)
    monkeypatch.setattr(_locks, "GUARD_WAIT", 0.02)
    held = HeldChain(folder, take(DATABASE))
    take(UNIT, brief=True, owner=ELSEWHERE)
    with pytest.raises(LockedError, match="in the middle of a commit") as refused:
        held.commit([Written([])])
    assert "ci@elsewhere" in refused.value.owner
    folder.break_(DATABASE)
    content = read_lock(held.lock.path)
    assert content is not None
    assert not content.held


def test_a_commit_under_a_lost_lease(folder: Folder, take: Callable[..., UnitLock]) -> None:
    """Who was broken finds the unit held by somebody else, says so, and writes nothing from then on."""
    held = HeldChain(folder, take(DATABASE))
    folder.break_(DATABASE)
    taken = take(UNIT)
    with pytest.raises(LeaseLost, match="broken by"):
        held.commit([Written([])])
    taken.release()
    with pytest.raises(LeaseLost):
        held.commit([Written([])])
    assert folder.read(UNIT).records == {}


async def test_a_commit_that_fails_is_the_last(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under any lease: what was called later must not be there without what was called before."""
    store = FileStore(folder.root)
    lease = await store.acquire(DATABASE, owner=an_owner(), timeout=0)
    await store.set(lease, a_resource(f"{DATABASE}/a"))

    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(folder.disk.__class__, "fdatasync", refuse)
        with pytest.raises(StateError, match="Input/output"):
            await store.set(lease, a_resource(f"{DATABASE}/b"))
    with pytest.raises(StateError, match="Input/output"):
        await store.set(lease, a_resource(f"{DATABASE}/c"))
    await store.release(lease)
    assert "c" not in await store.list(DATABASE)
    await store.deinit()
