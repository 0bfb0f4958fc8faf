"""Cleaning up: what earlier runs left behind goes, what is in use stays, and the program is not needed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.engine.world import Cloud, Thing, deploy, refused, things
from tests.unit.upkeep.conftest import another

from alchemy import alchemy
from alchemy.errors import LockedError
from alchemy.opening import destroy_unit
from alchemy.owner import owner_of
from alchemy.ports import StateStore
from alchemy.state import Generation, Record, Status
from alchemy.upkeep.cleanup import clean_up, leftovers_in

pytestmark = pytest.mark.anyio
UNIT = "app/dev"


async def ids(store: StateStore) -> dict[str, str]:
    """Give the statuses in state by id."""
    records = await store.all(UNIT)
    return {fqn.removeprefix("app/dev/"): record.status for fqn, record in records.items() if not record.is_scope}


def record(id: str, status: Status = Status.CREATED, **rest: Any) -> Record:
    """Make a resource's record."""
    return Record(kind="t::Thing", id=id.rpartition("/")[2], fqn=f"{UNIT}/{id}", status=status, **rest)


def told(*records: Record, orphans: tuple[str, ...] = ()) -> tuple[dict[str, str], dict[str, str]]:
    """Tell what would go, and what would stay although it was left behind, by id."""
    own = Record(kind="alchemy::Stage", id="dev", fqn=UNIT, status=Status.CREATED)
    own.output = {"orphans": [f"{UNIT}/{id}" for id in orphans]}
    left = leftovers_in({record.fqn: record for record in (own, *records)}, UNIT)
    start = len(UNIT) + 1
    doomed = {fqn[start:]: item.why for fqn, item in left.doomed.items()}
    return doomed, {fqn[start:]: why for fqn, why in left.kept.items()}


async def test_what_could_not_be_destroyed_goes(cloud: Cloud, kept: StateStore) -> None:
    """A delete that failed is tried again, without the program; what the program still has stays."""
    await deploy(things(a=1, b=1), kept)
    cloud.fail("delete", "b", refused())
    with pytest.raises(ExceptionGroup):
        await deploy(things(a=1), kept, max_retries=0)
    assert await ids(kept) == {"a": "created", "b": "deleting"}
    await kept.init()
    await clean_up(UNIT, UNIT, state_store=kept)
    assert await ids(kept) == {"a": "created"}
    assert len(cloud.objects) == 1


async def test_what_cannot_go_is_raised_and_stays(cloud: Cloud, kept: StateStore) -> None:
    """A leftover that the provider still refuses to delete remains in state."""
    await deploy(things(a=1, b=1), kept)
    cloud.fail("delete", "b", refused(), times=99)
    with pytest.raises(ExceptionGroup):
        await deploy(things(a=1), kept, max_retries=0)
    with pytest.raises(ExceptionGroup):
        await clean_up(UNIT, UNIT, state_store=kept, max_retries=0)
    await kept.init()
    assert await ids(kept) == {"a": "created", "b": "deleting"}


async def test_only_what_was_asked_about_goes(cloud: Cloud, kept: StateStore) -> None:
    """A leftover in another scope, or one that nobody was asked about, stays."""

    async def program(_app: Any) -> None:
        async with alchemy.run("inner"):
            Thing("deep")
        Thing("top")

    await deploy(program, kept)
    await leave(kept, "inner/deep", "top")
    await clean_up(UNIT, UNIT, only=[], state_store=kept)
    await clean_up(UNIT, f"{UNIT}/inner", state_store=kept)
    await kept.init()
    assert await ids(kept) == {"top": "deleting"}


async def leave(store: StateStore, *ids: str) -> None:
    """Let records say that their objects could not be destroyed."""
    await store.init()
    lease = await store.acquire(UNIT, owner=owner_of("test"), timeout=0)
    records = (await store.load(UNIT, lease=lease)).records
    for id in ids:
        records[f"{UNIT}/{id}"].status = Status.DELETING
        await store.set(lease, records[f"{UNIT}/{id}"])
    await store.fold(lease)
    await store.release(lease)


async def test_somebody_elses_unit_is_left_alone(kept: StateStore) -> None:
    """While another run holds it, nothing is done."""
    await deploy(things(a=1), kept)
    await leave(kept, "a")
    await kept.acquire(UNIT, owner=owner_of("deploy"), timeout=0)
    with pytest.raises(LockedError):
        await clean_up(UNIT, UNIT, state_store=another(kept), lock_timeout=0)


async def test_orphans_are_struck_from_the_list(cloud: Cloud, kept: StateStore) -> None:
    """What had left the program when a run failed goes, and is not listed as left any more."""
    await deploy(things(a=1, b=1), kept)
    await kept.init()
    lease = await kept.acquire(UNIT, owner=owner_of("test"), timeout=0)
    own = (await kept.load(UNIT, lease=lease)).records[UNIT]
    own.output = {**own.output, "orphans": [f"{UNIT}/b"]}
    await kept.set(lease, own)
    await kept.fold(lease)
    await kept.release(lease)
    await clean_up(UNIT, UNIT, state_store=kept)
    await kept.init()
    assert await ids(kept) == {"a": "created"}
    left = (await kept.all(UNIT))[UNIT]
    assert left.output.get("orphans", []) == []
    await destroy_unit(UNIT, state_store=kept)
    assert not cloud.objects


async def test_what_a_replacement_left_goes(cloud: Cloud, kept: StateStore) -> None:
    """The object that was replaced is destroyed; the one that replaced it stays."""

    def program(shape: str) -> Any:
        async def declare(_app: Any) -> None:
            await Thing("a", shape=shape)

        return declare

    await deploy(program("x"), kept)
    cloud.fail("delete", "a", refused(), times=1)
    with pytest.raises(ExceptionGroup):
        await deploy(program("y"), kept, max_retries=0)
    assert len(cloud.objects) == 2
    await clean_up(UNIT, UNIT, state_store=kept)
    assert len(cloud.objects) == 1
    await kept.init()
    assert [record.generations for record in (await kept.all(UNIT)).values()] == [[], []]


async def test_a_request_to_stop_is_heard_between_two(cloud: Cloud, kept: StateStore) -> None:
    """What has begun ends and is recorded, nothing new begins, and the unit is given back."""
    await deploy(things(a=1, b=1), kept)
    await leave(kept, "a", "b")
    gate = cloud.hold("delete", "b")
    task = asyncio.create_task(clean_up(UNIT, UNIT, state_store=kept))
    await gate.entered.wait()
    task.cancel()
    await asyncio.sleep(0)
    gate.open()
    with pytest.raises(asyncio.CancelledError):
        await task
    await kept.init()
    assert await kept.locks() == []
    assert await ids(kept) == {"a": "deleting"}


def test_which_things_are_left_behind() -> None:
    """Deleting, half-made, orphaned with all in it; not what is being updated or replaced, which is in use."""
    doomed, held = told(
        record("failed", Status.DELETING),
        record("failed/child"),
        record("begun", Status.CREATING),
        record("updating", Status.UPDATING),
        record("replacing", Status.CREATING, generations=[generation()]),
        record("orphan"),
        record("orphan/child"),
        record("fine"),
        orphans=("orphan", "gone-already"),
    )
    assert doomed == {
        "failed": "could not be destroyed",
        "failed/child": "belongs to something that could not be destroyed",
        "begun": "was never made to its end",
        "orphan": "is not in the program any more",
        "orphan/child": "is not in the program any more",
    }
    assert held == {}


def generation() -> Generation:
    """Make an old object."""
    return Generation(generation=1, kind="t::Thing", provider="m:P", status=Status.CREATED)


def test_what_is_still_needed_stays() -> None:
    """What something that stays was made from, or lies in, is named with the reason; through any number of steps."""
    doomed, held = told(
        record("a", Status.DELETING),
        record("b", Status.DELETING, deps=[f"{UNIT}/a"]),
        record("c", deps=[f"{UNIT}/b"]),
        record("begun", Status.CREATING),
        record("begun/child"),
    )
    assert doomed == {}
    assert held == {
        "a": "app/dev/b depends on it",
        "b": "app/dev/c depends on it",
        "begun": "app/dev/begun/child belongs to it",
    }


def test_what_was_replaced_stays_while_it_may_be_in_use() -> None:
    """Something that was last written before the replacement may still use the old object."""
    replaced = record("a", generations=[generation()], updated_at="2026-01-02")
    before = record("b", deps=[f"{UNIT}/a"], updated_at="2026-01-01")
    assert told(replaced, before) == ({}, {"a": "what it replaced may still be in use by app/dev/b"})
    after = record("b", deps=[f"{UNIT}/a"], updated_at="2026-01-03")
    assert told(replaced, after) == ({"a": "was replaced"}, {})
