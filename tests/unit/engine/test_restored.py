"""Restored and forgotten records: read from the provider before they are believed, and never another one's object."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine import world
from tests.unit.engine.test_lifecycle import errors_of
from tests.unit.engine.world import (
    Again,
    Cloud,
    Manual,
    Named,
    Options,
    Pair,
    Slow,
    Store,
    Thing,
    consistent,
    deploy,
    lost,
    nothing,
    things,
)

from alchemy import alchemy
from alchemy.engine.ledger import forget, forgotten
from alchemy.events import Notice
from alchemy.opening import destroy_unit
from alchemy.state import Record, Status, decode, encode
from alchemy.upkeep.reset import reset as forget_in_state

pytestmark = pytest.mark.anyio
UNIT = "app/dev"


def restore(store: Store, *records: Record) -> None:
    """Put records back as a restore does."""
    for record in records:
        record.verify = True
        store.memory.units[UNIT].records[record.fqn] = encode(record)


def reset(store: Store) -> None:
    """Forget every resource, as a reset does."""
    kept = store.memory.units[UNIT].records
    own = decode(kept[UNIT], where=UNIT)
    records = [decode(raw, where=fqn) for fqn, raw in kept.items() if fqn != UNIT]
    forget(own, records)
    for record in records:
        del kept[record.fqn]
    kept[UNIT] = encode(own)


def ledger(store: Store) -> list[str]:
    """Name what is in the ledger."""
    return list(forgotten(store.memory.records("").get(UNIT)))


def one(kind: Any, **given: Any) -> Any:
    """Give a program of one resource called `a`."""

    async def program(_app: Any) -> Any:
        return await kind("a", **given)

    return program


async def test_a_restored_record_is_read_before_it_is_skipped(cloud: Cloud, store: Store) -> None:
    """There as it says: one read, nothing changed, and from then on it is believed."""
    await deploy(things(a=1), store)
    restore(store, store.records()["a"])
    cloud.forget()
    await deploy(things(a=1), store)
    assert cloud.ops() == ["find a"]
    assert cloud.outcomes() == {"a": "unchanged"}
    assert not store.records()["a"].verify
    cloud.forget()
    store.writes.clear()
    await deploy(things(a=1), store)
    assert (cloud.ops(), store.writes) == ([], [])


async def test_what_was_read_counts_and_not_what_was_restored(cloud: Cloud, store: Store) -> None:
    """An old backup says size 1, which the program wants again; the object has 2: it is updated."""
    await deploy(things(a=1), store)
    old = store.records()["a"]
    await deploy(things(a=2), store)
    restore(store, old)
    cloud.forget()
    await deploy(things(a=1), store)
    assert cloud.ops() == ["find a", "update a"]
    assert cloud.objects["id-1"].props["size"] == 1
    consistent(store)


async def test_a_restored_record_whose_object_is_gone_is_created_anew(cloud: Cloud, store: Store) -> None:
    """Gone: created; nothing of the old object's outputs stays."""
    await deploy(things(a=1), store)
    cloud.objects.clear()
    restore(store, store.records()["a"])
    await deploy(things(a=1), store)
    assert store.records()["a"].output["object_id"] == "id-2"
    consistent(store)


async def test_an_unknown_read_of_a_restored_record_changes_nothing(cloud: Cloud, store: Store) -> None:
    """Only `None` means gone."""
    await deploy(things(a=1), store)
    restore(store, store.records()["a"])
    cloud.forget()
    cloud.fail("find", "a", lost())
    with pytest.raises(ExceptionGroup):
        await deploy(things(a=1), store)
    assert cloud.changes() == []
    assert store.records()["a"].verify
    consistent_but_for_verify(store)


def consistent_but_for_verify(store: Store) -> None:
    """Check that the record still names the one object."""
    assert [record.output["object_id"] for record in store.records().values()] == list(world.cloud.objects)


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("how", ["orphan", "destroy"])
async def test_a_restored_record_is_read_before_it_is_destroyed(
    cloud: Cloud, store: Store, gone: bool, how: str
) -> None:
    """There: deleted. Gone: dropped, without a call to delete it."""
    await deploy(things(a=1), store)
    restore(store, store.records()["a"])
    if gone:
        cloud.objects.clear()
    cloud.forget()
    if how == "orphan":
        await deploy(nothing, store)
    else:
        await destroy_unit(UNIT, state_store=store)
    assert cloud.ops() == (["find a"] if gone else ["find a", "delete a"])
    assert cloud.objects == {}
    assert store.records() == {}


async def test_a_restored_record_of_something_renamed_takes_nothing_away(cloud: Cloud, store: Store) -> None:
    """A backup from before a rename: the old name is dropped, and the object stays with the new one."""
    await deploy(things(a=1), store)
    old = store.records()["a"]

    async def renamed(_app: Any) -> None:
        await Thing("z", options=Options(aliases=["a"]))

    await deploy(renamed, store)
    restore(store, old)
    cloud.forget()
    await deploy(renamed, store)
    assert cloud.changes() == []
    assert list(store.records()) == ["z"]
    consistent(store)


@pytest.mark.parametrize("kind", [Thing, Slow])
async def test_both_names_of_something_renamed_get_an_object_each(cloud: Cloud, store: Store, kind: Any) -> None:
    """The same when the program declares the old name as well: it gets another object."""
    await deploy(one(kind), store)
    old = store.records()["a"]

    async def renamed(_app: Any) -> None:
        await kind("z", options=Options(aliases=["a"]))

    async def both(_app: Any) -> None:
        await kind("z")
        await kind("a")

    await deploy(renamed, store)
    restore(store, old)
    await deploy(both, store)
    assert len(cloud.objects) == 2
    consistent(store)


@pytest.mark.parametrize("program", ["same", "gone"])
async def test_a_restored_record_that_nobody_can_read_asks(cloud: Cloud, store: Store, program: str) -> None:
    """No way to look: a person says; neither skipped, nor deleted."""
    await deploy(one(Manual), store)
    restore(store, store.records()["a"])
    cloud.forget()
    with pytest.raises(ExceptionGroup) as caught:
        await deploy(one(Manual) if program == "same" else nothing, store)
    assert "alchemy state resolve app/dev/a --id ID, or --gone" in errors_of(caught.value)[0]
    assert cloud.ops() == []
    assert store.records()["a"].verify


async def test_a_restored_record_that_may_be_made_again_is(cloud: Cloud, store: Store) -> None:
    """`again`: created once more, which does no harm; at another path the old one goes."""
    await deploy(one(Again, path="p"), store)
    restore(store, store.records()["a"])
    cloud.forget()
    await deploy(one(Again, path="p"), store)
    assert cloud.ops() == ["create a"]
    restore(store, store.records()["a"])
    await deploy(one(Again, path="q"), store)
    assert [made.name for made in cloud.objects.values()] == ["q"]
    restore(store, store.records()["a"])
    await deploy(nothing, store)
    assert cloud.objects == {}


async def test_a_restored_composite_is_believed_with_its_parts(cloud: Cloud, store: Store) -> None:
    """It has no object of its own; its parts are read."""

    async def pair(_app: Any) -> None:
        await Pair("p")

    await deploy(pair, store)
    restore(store, *store.records().values())
    cloud.forget()
    await deploy(pair, store)
    assert sorted(cloud.ops()) == ["find p/left", "find p/right"]
    consistent(store)


async def test_a_reset_and_a_deploy_find_everything_again(cloud: Cloud, store: Store) -> None:
    """Every kind that can be found is adopted as its own, chosen names too; then the ledger is empty."""

    async def program(_app: Any) -> None:
        thing = await Thing("a")
        Named("b", name="chosen", needs=thing)
        Slow("s")
        Pair("p")

    await deploy(program, store)
    reset(store)
    assert len(ledger(store)) == 6
    cloud.forget()
    await deploy(program, store)
    assert cloud.changes() == []
    assert ledger(store) == []
    consistent(store)
    cloud.forget()
    store.writes.clear()
    await deploy(program, store)
    assert (cloud.ops(), store.writes) == ([], [])


async def test_what_was_forgotten_and_is_not_declared_stays_in_the_ledger(cloud: Cloud, store: Store) -> None:
    """It is no orphan: neither destroyed at the end of a run, nor by a destroy."""
    await deploy(things(a=1, b=1), store)
    reset(store)
    await deploy(things(b=1), store)
    assert ledger(store) == ["app/dev/a"]
    assert len(cloud.objects) == 2
    await deploy(things(a=1, b=1), store)
    consistent(store)


async def test_what_was_forgotten_and_cannot_be_looked_for_asks(cloud: Cloud, store: Store) -> None:
    """`recover = "none"` without a way to read: it is not made twice."""
    await deploy(one(Manual), store)
    reset(store)
    with pytest.raises(ExceptionGroup) as caught:
        await deploy(one(Manual), store)
    assert "alchemy state resolve app/dev/a" in errors_of(caught.value)[0]
    assert len(cloud.objects) == 1
    assert ledger(store) == ["app/dev/a"]


async def test_what_was_forgotten_half_way_is_recovered(cloud: Cloud, store: Store) -> None:
    """An entry that says `creating` is what it was: a create that may have taken effect."""
    cloud.fail("create", "a", lost(), after=True)
    with pytest.raises(ExceptionGroup):
        await deploy(things(a=1), store)
    assert store.records()["a"].status is Status.CREATING
    reset(store)
    await deploy(things(a=1), store)
    assert len(cloud.objects) == 1
    consistent(store)


async def test_killed_while_it_takes_back_what_was_forgotten(cloud: Cloud, store: Store) -> None:
    """At whatever instant: the next run has each object once, and the ledger ends empty."""
    for instant in range(60):
        world.reset()
        store = Store()
        await deploy(things(a=1, b=2), store)
        reset(store)
        cloud.faults.crash(at=instant)
        with contextlib.suppress(world.Killed, BaseExceptionGroup):
            await deploy(things(a=1, b=3), store)
        died = cloud.died
        store = store.after_death()
        await deploy(things(a=1, b=3), store)
        assert len(cloud.objects) == 2
        assert ledger(store) == []
        consistent(store)
        if not died:
            break
    else:
        raise AssertionError("it never came to the end")


@pytest.mark.parametrize("kind", [Manual, Slow])
async def test_an_ambiguous_create_that_cannot_be_looked_for_is_not_repeated(
    cloud: Cloud, store: Store, kind: Any
) -> None:
    """A lost answer that says it may be tried again: not when a second object could come of it."""
    cloud.fail("create", "a", lost(retryable=True), after=True)
    with pytest.raises(ExceptionGroup):
        await deploy(one(kind), store)
    assert cloud.ops("create") == ["create a"]
    assert store.records()["a"].status is Status.CREATING


async def test_a_destroy_does_not_forget_what_a_reset_forgot(cloud: Cloud, store: Store) -> None:
    """Its objects stay, and so does the ledger that names them: the next deploy finds them."""
    await deploy(things(a=1), store)
    reset(store)
    cloud.forget()
    await destroy_unit(UNIT, state_store=store)
    assert cloud.calls == []
    assert ledger(store) == ["app/dev/a"]
    assert any("a reset has forgotten app/dev/a" in e.message for e in cloud.events if isinstance(e, Notice))
    await deploy(things(a=1), store)
    assert len(cloud.objects) == 1
    await destroy_unit(UNIT, state_store=store)
    assert cloud.objects == {}
    assert store.memory.records("") == {}


@pytest.mark.parametrize("both", [True, False], ids=["both forgotten", "one forgotten"])
async def test_a_rename_to_an_id_that_a_reset_has_forgotten(cloud: Cloud, store: Store, both: bool) -> None:
    """It is not followed, as when that id has a record: no object is without an owner afterwards."""
    await deploy(things(a=1), store)
    reset(store)
    await deploy(things(b=1), store)
    if both:
        reset(store)

    async def program(_app: Any) -> None:
        await Thing("a", size=2, options=Options(aliases=["b"]))

    await deploy(program, store)
    assert store.records()["a"].output["object_id"] == "id-1"
    assert ledger(store) == (["app/dev/b"] if both else [])
    assert {made.id for made in cloud.ours} == ({"id-1", "id-2"} if both else {"id-1"})


async def test_what_was_forgotten_follows_its_resource_to_another_name(cloud: Cloud, store: Store) -> None:
    """An alias holds for the ledger too: the object is found under what it was called, and is not a stranger's."""
    await deploy(one(Named, name="mine"), store)
    reset(store)

    async def renamed(_app: Any) -> None:
        await Named("b", name="mine", options=Options(aliases=["a"]))

    await deploy(renamed, store)
    assert len(cloud.objects) == 1
    assert ledger(store) == []
    assert list(store.records()) == ["b"]
    consistent(store)


async def test_what_is_replaced_has_no_claim_to_the_object_of_another(cloud: Cloud, store: Store) -> None:
    """A forgotten record comes back as another kind: what it was is not deleted where it is another one's now."""
    await deploy(one(Again, path="p"), store)
    reset(store)

    async def elsewhere(_app: Any) -> None:
        await Again("b", path="p")

    async def both(_app: Any) -> None:
        await elsewhere(_app)
        await Thing("a")

    await deploy(elsewhere, store)
    await deploy(both, store)
    assert cloud.ops("delete") == []
    consistent(store)


@pytest.mark.parametrize("forgets", ["one/left", "one"])
@pytest.mark.parametrize("apart", [False, True], ids=["in the unit's store", "in a store of its own"])
async def test_what_was_forgotten_in_a_composite_is_renamed_with_it(
    cloud: Cloud, store: Store, tmp_path: Path, forgets: str, apart: bool
) -> None:
    """A part, or all of it: the changed program makes nothing, and nothing is left in the ledger."""
    place = str(tmp_path / "apart") if apart else None

    def program(id: str, **options: Any) -> Any:
        async def body(_app: Any) -> None:
            async with alchemy.run("s", state_store=place):
                pair = await Pair(id, size=1, options=Options(**options))
            await Thing("outside", needs=pair)

        return body

    await deploy(program("one"), store)
    await forget_in_state(UNIT, f"{UNIT}/s/{forgets}", state_store=store)
    made = cloud.ops("create", "delete")
    await deploy(program("two", aliases=["one"]), store)
    assert cloud.ops("create", "delete") == made
    assert ledger(store) == []
    assert store.records()["outside"].deps == [f"{UNIT}/s/two"]
    cloud.calls.clear()
    await deploy(program("two", aliases=["one"]), store)
    assert cloud.calls == []
    await deploy(nothing, store)
    assert cloud.objects == {}


async def test_killed_while_what_was_forgotten_is_renamed(cloud: Cloud, store: Store) -> None:
    """In two stores, which cannot be written at once, at whatever instant: the next run finds its own objects."""

    def program(apart: Store, id: str, **options: Any) -> Any:
        async def body(_app: Any) -> None:
            async with alchemy.run("s", state_store=apart):
                await Pair(id, size=1, options=Options(**options))

        return body

    for instant in range(60):
        world.reset()
        store, apart = Store(), Store()
        await deploy(program(apart, "one"), store)
        await forget_in_state(UNIT, f"{UNIT}/s/one/left", state_store=store)
        made = cloud.ops("create", "delete")
        cloud.faults.crash(at=instant)
        with contextlib.suppress(world.Killed, BaseExceptionGroup):
            await deploy(program(apart, "two", aliases=["one"]), store)
        died = cloud.died
        store, apart = store.after_death(), Store(apart.memory)
        # what the dead one held in the other store is known to be free only after its time
        await deploy(program(apart, "two", aliases=["one"]), store, enable_locking=False)
        assert cloud.ops("create", "delete") == made
        assert ledger(store) == []
        if not died:
            break
    else:
        raise AssertionError("it never came to the end")
