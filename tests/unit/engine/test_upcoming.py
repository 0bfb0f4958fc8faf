"""Intents that are written ahead of the calls: how many, where not, and what becomes of those that never begin."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.engine.world import Cloud, Program, Store, Thing, alchemy, deploy, refused

from alchemy.engine.session import Session
from alchemy.errors import StateError
from alchemy.opening import destroy_unit
from alchemy.owner import owner_of
from alchemy.state import Record, Status
from alchemy.stores import FileStore

pytestmark = pytest.mark.anyio
UNIT = "app/dev"
MANY = 12


async def many(_app: Any) -> None:
    """Declare things that know nothing of each other."""
    for n in range(MANY):
        Thing(f"t{n}")


def shaped(shape: str) -> Program:
    """Give a program with one thing, which another shape replaces."""

    async def program(_app: Any) -> None:
        Thing("a", shape=shape)

    return program


def statuses(store: Store) -> Counter[str]:
    """Count what the store says of the resources."""
    return Counter(record.status for record in store.records().values())


async def until(what: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(60):
        while not what():
            await asyncio.sleep(0)


async def stopped_in_the_middle(cloud: Cloud, store: Store, **options: Any) -> None:
    """Destroy all, two at a time; ask it to stop while the first two calls run, and let these end."""
    gates = [cloud.hold("delete", f"t{n}") for n in range(MANY)]
    task = asyncio.ensure_future(destroy_unit(UNIT, state_store=store, parallelism=2, **options))
    await until(lambda: len(cloud.calls) == 2)
    task.cancel()
    await asyncio.sleep(0)
    for gate in gates:
        gate.open()
    with pytest.raises((asyncio.CancelledError, ExceptionGroup)):
        await task


async def test_a_few_intents_are_ahead(cloud: Cloud, store: Store) -> None:
    """More than there are calls, but not of everything; one commit says it of several."""
    await deploy(many, store)
    cloud.forget()
    gates = [cloud.hold("delete", f"t{n}") for n in range(MANY)]
    task = asyncio.ensure_future(destroy_unit(UNIT, state_store=store, parallelism=2, destroy_strategy="parallel"))
    await until(lambda: len(cloud.calls) == 2)
    ahead = statuses(store)[Status.DELETING] - 2
    assert 2 <= ahead <= 4
    for gate in gates:
        gate.open()
    await task
    assert (cloud.objects, store.records(), cloud.peak["delete"]) == ({}, {}, 2)
    commits = [commit for history in store.histories.values() for commit in history.commits]
    assert any(len(commit.written) > 1 for commit in commits)


@pytest.mark.parametrize("options", [{}, {"destroy_strategy": "batched", "batch_size": 2}])
async def test_other_strategies_write_none_ahead(cloud: Cloud, store: Store, options: dict[str, Any]) -> None:
    """State says `deleting` of what is being deleted, and of nothing else."""
    await deploy(many, store)
    cloud.forget()
    gates = [cloud.hold("delete", f"t{n}") for n in range(MANY)]
    task = asyncio.ensure_future(destroy_unit(UNIT, state_store=store, **options))
    width = options.get("batch_size", 1)
    await until(lambda: len(cloud.calls) == width)
    assert statuses(store)[Status.DELETING] == width
    for gate in gates:
        gate.open()
    await task


async def test_none_are_ahead_in_a_careful_scope(cloud: Cloud, store: Store) -> None:
    """One that says `sequential`, in a run that destroys side by side."""

    async def program(_app: Any) -> None:
        async with alchemy.run("s", destroy_strategy="sequential"):
            for n in range(4):
                Thing(f"t{n}")

    await deploy(program, store)
    cloud.forget()
    gates = [cloud.hold("delete", f"t{n}") for n in range(4)]
    task = asyncio.ensure_future(destroy_unit(UNIT, state_store=store, destroy_strategy="parallel"))
    await until(lambda: len(cloud.calls) == 1)
    assert statuses(store)[Status.DELETING] == 1
    for gate in gates:
        gate.open()
    await task
    assert cloud.objects == {}


async def test_what_never_began_is_as_before(cloud: Cloud, store: Store) -> None:
    """A run that is stopped takes back the intents of what it has not begun: the next deploy leaves those alone."""
    await deploy(many, store)
    cloud.forget()
    await stopped_in_the_middle(cloud, store, destroy_strategy="parallel")
    assert len(cloud.ops("delete")) == 2
    assert statuses(store) == {Status.CREATED: MANY - 2}
    cloud.forget()
    await deploy(many, store)
    assert len(cloud.ops("create")) == 2
    assert cloud.ops("update", "delete") == []


async def test_what_never_began_is_as_before_in_files(cloud: Cloud, tmp_path: Any) -> None:
    """The same with the default store, and read back from it."""
    store = FileStore(tmp_path / ".alchemy")
    await deploy(many, store)
    cloud.forget()
    await stopped_in_the_middle(cloud, store, destroy_strategy="parallel")  # type: ignore[arg-type]
    found = [record for record in (await store.all(UNIT)).values() if not record.is_scope]
    assert [record.status for record in found] == [Status.CREATED] * (MANY - 2)


async def test_a_failure_that_ends_it_leaves_the_others_as_before(cloud: Cloud, store: Store) -> None:
    """`continue_on_error=False`."""
    await deploy(many, store)
    for n in range(MANY):
        cloud.fail("delete", f"t{n}", refused())
    with pytest.raises(ExceptionGroup) as raised:
        await destroy_unit(UNIT, state_store=store, parallelism=2, destroy_strategy="parallel", continue_on_error=False)
    failed = len(raised.value.exceptions)
    assert failed <= 2
    assert statuses(store) == {Status.DELETING: failed, Status.CREATED: MANY - failed}


async def test_intents_that_cannot_be_written_fail(cloud: Cloud, store: Store) -> None:
    """Nothing is called for any record of a commit that was refused, and each is reported."""
    await deploy(many, store)
    cloud.forget()
    store.faults.fail("store.set *", StateError("the disk is full"), times=100)
    with pytest.raises((StateError, ExceptionGroup)):
        await destroy_unit(UNIT, state_store=store, parallelism=2, destroy_strategy="parallel")
    assert cloud.ops("delete") == []
    assert set(cloud.outcomes().values()) == {"failed"}
    assert len(cloud.outcomes()) == MANY


async def test_intents_that_are_refused_at_once_fail(
    cloud: Cloud, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same with a store that raises at the call, and not when it is awaited."""
    await deploy(many, store)
    cloud.forget()

    def refuse(*_: object, **__: object) -> None:
        raise StateError("the disk is full")

    monkeypatch.setattr(store, "set", refuse)
    with pytest.raises(ExceptionGroup):
        await destroy_unit(UNIT, state_store=store, parallelism=2, destroy_strategy="parallel")
    assert cloud.ops("delete") == []
    assert list(cloud.outcomes().values()) == ["failed"] * MANY
    assert statuses(store) == {Status.CREATED: MANY}


@pytest.mark.parametrize("strategy", ["parallel", "sequential"])
async def test_an_intent_knows_what_was_deleted_before(cloud: Cloud, store: Store, strategy: str) -> None:
    """An old generation that has just gone is not in the record again, should the resource's own delete fail."""
    await deploy(shaped("round"), store)
    cloud.fail("delete", "a", refused())
    with pytest.raises(ExceptionGroup):
        await deploy(shaped("square"), store)
    assert len(store.records()["a"].generations) == 1
    store.faults.fail("cloud.delete app/dev/a", refused(), nth=2)
    with pytest.raises(ExceptionGroup):
        await destroy_unit(UNIT, state_store=store, destroy_strategy=strategy)
    assert store.records()["a"].generations == []
    assert len(cloud.objects) == 1


@pytest.mark.parametrize("again", [False, True])
async def test_what_is_dropped_soon_goes_along(store: Store, again: bool) -> None:
    """With the next commit, unless that writes one of the same name: then before it."""
    lease = await store.acquire(UNIT, owner=owner_of("destroy"), timeout=0)
    records = {f"{UNIT}/{id}": Record(kind="t", id=id, fqn=f"{UNIT}/{id}") for id in "abc"}
    session = Session(store, UNIT, lease, {})
    await session.put_all(list(records.values()))
    session.drop_soon(f"{UNIT}/a")
    session.drop_soon(f"{UNIT}/b")
    assert session.records.keys() == {f"{UNIT}/c"}
    await session.put(records[f"{UNIT}/a" if again else f"{UNIT}/c"])
    last = store.histories[UNIT].commits[-1]
    assert bool(last.dropped) != again
    assert store.records().keys() == ({"a", "c"} if again else {"c"})
    await session.fold()
    await session.release()


async def test_what_is_dropped_soon_needs_no_other(store: Store) -> None:
    """It goes at the end of the turn of the loop, in one commit; who waits hears what went wrong."""
    lease = await store.acquire(UNIT, owner=owner_of("destroy"), timeout=0)
    session = Session(store, UNIT, lease, {})
    await session.put_all([Record(kind="t", id=id, fqn=f"{UNIT}/{id}") for id in "abc"])
    session.drop_soon(f"{UNIT}/a")
    session.drop_soon(f"{UNIT}/b")
    await asyncio.sleep(0)
    assert store.records().keys() == {"c"}
    await session.until_dropped()
    store.faults.fail("store.delete *", StateError("the disk is full"))
    session.drop_soon(f"{UNIT}/c")
    with pytest.raises(StateError, match="full"):
        await session.until_dropped()
    with pytest.raises(StateError, match="full"):
        await session.fold()
    await session.release()
