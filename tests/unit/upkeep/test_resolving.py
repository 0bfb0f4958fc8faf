"""A person says what became of an object that nobody can look for; the next run goes on from there."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.engine.test_lifecycle import errors_of
from tests.unit.engine.test_restored import reset
from tests.unit.engine.world import (
    Cloud,
    Manual,
    Pair,
    Slow,
    Store,
    Thing,
    Vault,
    alchemy,
    consistent,
    deploy,
    lost,
    nothing,
)

from alchemy.errors import ConfigurationError, LockedError
from alchemy.history import decode_backup
from alchemy.owner import owner_of
from alchemy.state import Status, encode
from alchemy.upkeep.resolving import resolve

pytestmark = pytest.mark.anyio
UNIT = "app/dev"
FQN = "app/dev/a"


def one(kind: Any, **given: Any) -> Any:
    """Give a program of one resource called `a`."""

    async def program(_app: Any) -> Any:
        return await kind("a", **given)

    return program


async def cut_short(store: Store, cloud: Cloud, kind: Any, *, after: bool = True, **given: Any) -> None:
    """Leave a create of `a` half-way."""
    cloud.fail("create", "a", lost(), after=after)
    with pytest.raises(ExceptionGroup):
        await deploy(one(kind, **given), store)


@pytest.mark.parametrize("how", ["id-1", "object_id=id-1"])
async def test_it_exists(cloud: Cloud, store: Store, how: str) -> None:
    """With its id it is ours, as it was to be created; not made twice, and destroyed in the end."""
    await cut_short(store, cloud, Manual)
    said = await resolve(FQN, [how], state_store=store)
    assert "object_id=id-1" in said
    made = await deploy(one(Manual), store)
    assert made.object_id == "id-1"
    assert cloud.changes() == ["create a"]
    consistent(store)
    await deploy(nothing, store)
    assert cloud.objects == {}


async def test_it_is_gone(cloud: Cloud, store: Store) -> None:
    """Then it is created as if for the first time; the record was kept in a backup."""
    await cut_short(store, cloud, Manual, after=False)
    await resolve(FQN, [], state_store=store)
    assert store.records() == {}
    (name,) = await store.backups(UNIT)
    assert FQN in decode_backup(await store.read_backup(UNIT, name), where=name).records
    await deploy(one(Manual), store)
    consistent(store)


async def test_what_can_be_read_is_read_by_the_next_run(cloud: Cloud, store: Store) -> None:
    """With an id alone: the provider tells the rest; an id that is not there is none."""
    cloud.fail("create", "a", lost(), after=True)
    with pytest.raises(ExceptionGroup):
        await deploy(one(Slow), store)
    await resolve(FQN, ["id-1"], state_store=store)
    made = await deploy(one(Slow), store)
    assert (made.object_id, made.ready) == ("id-1", False)
    assert cloud.ops("create") == ["create a"]
    consistent(store)


async def test_a_replacement_that_was_cut_short(cloud: Cloud, store: Store) -> None:
    """Gone is the new object; the old generation stays in the record until it is deleted."""
    await deploy(one(Manual), store)
    cloud.fail("create", "a", lost())
    with pytest.raises(ExceptionGroup):
        await deploy(one(Manual, shape="square"), store)
    await resolve(FQN, [], state_store=store)
    record = store.records()["a"]
    assert (record.status, len(record.generations)) == (Status.DELETED, 1)
    await deploy(one(Manual, shape="square"), store)
    assert [made.props["shape"] for made in cloud.objects.values()] == ["square"]
    consistent(store)


@pytest.mark.parametrize("exists", [True, False])
async def test_an_old_generation_that_may_exist(cloud: Cloud, store: Store, exists: bool) -> None:
    """Begun, then superseded: only its deletion is open."""
    await cut_short(store, cloud, Manual, after=exists)
    await resolve(FQN, ["id-1"] if exists else [], state_store=store)
    await deploy(one(Manual, shape="square"), store)
    assert [made.props["shape"] for made in cloud.objects.values()] == ["square"]
    consistent(store)


async def test_a_restored_record_that_nobody_can_read(cloud: Cloud, store: Store) -> None:
    """It is believed, or dropped."""
    await deploy(one(Manual), store)
    record = store.records()["a"]
    record.verify = True
    store.memory.units[UNIT].records[FQN] = encode(record)
    await resolve(FQN, ["id-1"], state_store=store)
    await deploy(one(Manual), store)
    assert cloud.changes() == ["create a"]
    consistent(store)


@pytest.mark.parametrize("exists", [True, False])
async def test_what_a_reset_has_forgotten(cloud: Cloud, store: Store, exists: bool) -> None:
    """An entry of the ledger becomes a record again, or is struck out."""
    await deploy(one(Manual), store)
    reset(store)
    if not exists:
        cloud.objects.clear()
    await resolve(FQN, ["id-1"] if exists else [], state_store=store)
    await deploy(one(Manual), store)
    assert len(cloud.objects) == 1
    consistent(store)


async def test_nothing_is_open(cloud: Cloud, store: Store) -> None:
    """A record that is whole is refused, and so is a name that is not in state, and a scope; nothing is written."""

    async def program(_app: Any) -> None:
        await Thing("a")
        async with alchemy.run("s"):
            await Pair("p")

    await deploy(program, store)
    store.writes.clear()
    for fqn, words in ((FQN, "nothing about it is open"), (f"{UNIT}/zz", "there is no"), (f"{UNIT}/s", "is a scope")):
        with pytest.raises(ConfigurationError, match=words):
            await resolve(fqn, [], state_store=store)
    assert (store.writes, await store.backups(UNIT)) == ([], [])


async def test_ids_that_cannot_be_used(cloud: Cloud, store: Store) -> None:
    """Another type, a secret, or one that may be meant for several outputs: said, and nothing is written."""
    cloud.fail("create", "a", lost(), after=True)
    with pytest.raises(ExceptionGroup):
        await deploy(one(Vault), store, password="a-password")
    store.writes.clear()
    for ids, words in ((["key=x"], "is a secret"), (["x"], "an id alone must mean")):
        with pytest.raises(ConfigurationError, match=words):
            await resolve(FQN, ids, state_store=store)
    await resolve(FQN, [], state_store=store)
    await cut_short(store, cloud, Slow)
    with pytest.raises(ConfigurationError, match="must be"):
        await resolve(FQN, ["ready=perhaps"], state_store=store)
    assert store.records()["a"].status is Status.CREATING


async def test_somebody_else_is_at_work(cloud: Cloud, store: Store) -> None:
    """It waits for the unit as a deploy does."""
    await cut_short(store, cloud, Manual)
    lease = await store.acquire(UNIT, owner=owner_of("deploy"), timeout=0)
    with pytest.raises(LockedError):
        await resolve(FQN, ["id-1"], state_store=store, lock_timeout=0)
    await store.release(lease)


async def test_the_hint_is_what_to_type(cloud: Cloud, store: Store) -> None:
    """The error that asks names the command."""
    await cut_short(store, cloud, Manual)
    with pytest.raises(ExceptionGroup) as caught:
        await deploy(one(Manual), store)
    assert f"alchemy state resolve {FQN} --id ID" in errors_of(caught.value)[0]
