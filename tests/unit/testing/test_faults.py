"""A process dies, waits and hears nothing exactly where its script says so."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from alchemy import alchemy
from alchemy.errors import StateError
from alchemy.ports import Lease
from alchemy.stores import FileStore, MemoryStore
from alchemy.stores._memory import Memory
from alchemy.testing.checks import check_prefix, check_serial
from alchemy.testing.cloud import Cloud, use
from alchemy.testing.contract import UNIT, a_resource, an_owner
from alchemy.testing.faults import Crashed, Faults, lost
from alchemy.testing.kinds import Listed, Named, Thing
from alchemy.testing.store import FaultyStore

pytestmark = pytest.mark.anyio


@pytest.fixture
def memory() -> Memory:
    """Give what several stores share."""
    return Memory()


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, memory: Memory) -> Any:
    """Give what opens a store at one place: a folder or a memory."""
    return lambda: FileStore(tmp_path / ".alchemy") if request.param == "file" else MemoryStore(memory)


BOTH = pytest.mark.parametrize("place", ["memory", "file"], indirect=True)


async def held(store: FaultyStore) -> Lease:
    """Take the unit."""
    await store.init()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.load(UNIT, lease=lease)
    return lease


@BOTH
@pytest.mark.parametrize("after", [False, True])
async def test_a_crash_leaves_what_a_dead_process_leaves(place: Any, after: bool) -> None:
    """Before the call nothing of it is there, after it all; the unit is free at once; the dead do nothing more."""
    faults = Faults()
    store = FaultyStore(place(), faults)
    lease = await held(store)
    await store.set(lease, a_resource(f"{UNIT}/a"))
    faults.crash(at=1 if after else 0)
    with pytest.raises(Crashed):
        store.set(lease, a_resource(f"{UNIT}/b"))
    for dead in (store.renew(lease), store.release(lease), store.deinit(), store.get(f"{UNIT}/a")):
        with pytest.raises(Crashed):
            await dead
    with pytest.raises(Crashed):
        store.delete(lease, f"{UNIT}/a")
    heir = FaultyStore(place())
    taken = await held(heir)
    assert taken.token > lease.token
    found = (await heir.load(UNIT)).records
    assert sorted(found) == [f"{UNIT}/a", f"{UNIT}/b"] if after else [f"{UNIT}/a"]
    check_prefix(store.histories[UNIT], found)
    await heir.set(taken, a_resource(f"{UNIT}/c"))
    check_serial(UNIT, store, heir)
    await heir.release(taken)
    await heir.deinit()


@BOTH
async def test_a_failed_write_is_told_and_no_later_one_is_made(place: Any) -> None:
    """As every store promises: raised where it is awaited, or by the release; nothing is written after it."""
    store = FaultyStore(place())
    lease = await held(store)
    store.faults.fail("store.set */b", StateError("the disk is full"))
    await store.set(lease, a_resource(f"{UNIT}/a"))
    store.set(lease, a_resource(f"{UNIT}/b"))
    with pytest.raises(StateError, match="full"):
        await store.set(lease, a_resource(f"{UNIT}/c"))
    with pytest.raises(StateError, match="full"):
        await store.fold(lease)
    assert list((await store.load(UNIT)).records) == [f"{UNIT}/a"]
    await store.release(lease)
    await store.deinit()


async def test_a_failed_write_that_nobody_awaits_is_told_at_the_release(memory: Memory) -> None:
    """Once."""
    store = FaultyStore(MemoryStore(memory))
    lease = await held(store)
    store.faults.fail("store.set *", StateError("no"))
    store.set(lease, a_resource(f"{UNIT}/b"))
    with pytest.raises(StateError, match="no"):
        await store.release(lease)
    await store.release(lease)


async def test_a_lost_acknowledgement(memory: Memory) -> None:
    """The commit is there, and its caller hears an error: it counts as not acknowledged."""
    store = FaultyStore(MemoryStore(memory))
    lease = await held(store)
    store.faults.fail("store.set *", StateError("lost"), after=True)
    with pytest.raises(StateError, match="lost"):
        await store.set(lease, a_resource(f"{UNIT}/a"))
    assert list(memory.records(UNIT)) == [f"{UNIT}/a"]
    assert store.histories[UNIT].acknowledged == 0


async def test_a_write_that_waits(memory: Memory) -> None:
    """A gate keeps the answer; the next write is made all the same, and awaiting it acknowledges both."""
    store = FaultyStore(MemoryStore(memory))
    lease = await held(store)
    gate = store.faults.hold("store.set */a")
    store.faults.delay("store.set */b", 0.001)
    first = asyncio.ensure_future(_wait(store.set(lease, a_resource(f"{UNIT}/a"))))
    await gate.entered.wait()
    await store.set(lease, a_resource(f"{UNIT}/b"))
    assert not first.done()
    assert store.histories[UNIT].acknowledged == 2
    gate.open()
    await first


async def test_a_gate_that_lets_some_pass(memory: Memory) -> None:
    """Those that it is told of are neither held nor counted."""
    store = FaultyStore(MemoryStore(memory))
    lease = await held(store)
    gate = store.faults.hold("store.set *", nth=2, passing="store.set */a")
    for _ in range(3):
        await store.set(lease, a_resource(f"{UNIT}/a"))
    await store.set(lease, a_resource(f"{UNIT}/b"))
    assert not gate.entered.is_set()
    second = asyncio.ensure_future(_wait(store.set(lease, a_resource(f"{UNIT}/b"))))
    await gate.entered.wait()
    gate.open()
    await second


async def _wait(ack: Any) -> None:
    await ack


async def test_the_nth_call(memory: Memory) -> None:
    """Counted among those that match; the others pass."""
    store = FaultyStore(MemoryStore(memory))
    store.faults.fail("store.get *", StateError("third"), nth=3)
    for _ in range(2):
        await store.get(f"{UNIT}/a")
    await store.list(UNIT)
    with pytest.raises(StateError, match="third"):
        await store.get(f"{UNIT}/a")
    await store.get(f"{UNIT}/a")


def deploying(*resources: Any, faults: Faults | None = None, memory: Memory | None = None) -> Any:
    """Deploy a program that declares what these functions declare."""

    async def run() -> None:
        store = FaultyStore(MemoryStore(memory), faults)
        async with alchemy("app", stage="dev", state_store=store, retry_delay=0.001):
            for declare in resources:
                await declare()

    return run()


async def test_the_clouds_answers_can_be_lost_and_come_twice(memory: Memory) -> None:
    """Lost: the engine looks before it creates again. Twice: it made one object, whatever answer it heard."""
    cloud = use(Cloud())
    cloud.fail("create", "a", lost(retryable=True), after=True)
    cloud.faults.duplicate("cloud.create */b", answer="second")
    cloud.faults.duplicate("cloud.create */c")
    await deploying(*(lambda id=id: Thing(id) for id in "abc"), memory=memory)
    assert cloud.ops() == ["create a", "find a", "create b", "find b", "update b", "create c"] or cloud.ops() == [
        "create a",
        "find a",
        "update a",
        "create b",
        "find b",
        "update b",
        "create c",
    ]
    assert len(cloud.objects) == 3


async def test_a_request_that_comes_late(memory: Memory) -> None:
    """Its caller gave up, looked, and created again; then the first one arrives: there is still one object."""
    cloud = use(Cloud())
    cloud.faults.postpone("cloud.create */a", lost(retryable=True), calls=2)
    await deploying(lambda: Thing("a"), memory=memory)
    assert cloud.ops("create") == ["create a", "create a"]
    assert len(cloud.objects) == 1


async def test_a_request_that_is_still_on_its_way_can_be_delivered(memory: Memory) -> None:
    """It arrives when it is told to, however many others it would have waited for."""
    cloud = use(Cloud())
    cloud.faults.postpone("cloud.create */a", lost(), calls=9)
    with pytest.raises(ExceptionGroup):
        await deploying(lambda: Thing("a"), memory=memory)
    assert not cloud.ours
    cloud.deliver()
    assert [made.fqn for made in cloud.ours] == ["app/dev/a"]


async def test_a_cloud_that_lags(memory: Memory) -> None:
    """What was just made is not found at once, also not in a list."""
    cloud = use(Cloud(lag=1))
    cloud.fail("create", "a", lost(), after=True)
    with pytest.raises(ExceptionGroup):
        await deploying(lambda: Listed("a", label="l"), memory=memory)
    (made,) = cloud.objects.values()
    assert cloud.look("l", "testing::Listed") is None
    assert cloud.look("l", "testing::Listed") is made


async def test_an_object_deleted_before_what_needs_it_is_noted() -> None:
    """The cloud knows which objects an input names."""
    cloud = use(Cloud())
    base = cloud.make("a", "testing::Thing", {}, "app/dev/a")
    above = cloud.make("b", "testing::Named", {"needs": {"ids": [base.id]}}, "app/dev/b")
    cloud.remove(base.id)
    (misplaced,) = cloud.misplaced
    assert (misplaced.gone, misplaced.by) == (base, [above])


async def test_two_processes_at_one_cloud(memory: Memory) -> None:
    """Each meets its own script, and its calls bear its name."""
    cloud = use(Cloud())
    first, second = Faults("first"), Faults("second")
    first.fail("cloud.create */a", lost())
    with first.running(), pytest.raises(ExceptionGroup):
        await deploying(lambda: Thing("a"), faults=first, memory=memory)
    with second.running():
        await deploying(lambda: Thing("a"), lambda: Named("n"), faults=second, memory=memory)
    assert {(call.process, str(call)) for call in cloud.calls} >= {("first", "create a"), ("second", "create a")}
    assert first.calls
    assert second.calls
