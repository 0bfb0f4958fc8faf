"""Restoring brings back what is missing, drops nothing, and says what differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.engine.world import Cloud, Thing, deploy, things
from tests.unit.upkeep.conftest import another

from alchemy import alchemy
from alchemy.engine.ledger import forget, forgotten
from alchemy.errors import LockedError, StateError
from alchemy.history import encode_backup
from alchemy.opening import destroy_unit
from alchemy.owner import owner_of
from alchemy.ports import StateStore
from alchemy.state import Generation, Record, Status
from alchemy.stores import MemoryStore
from alchemy.upkeep.reset import reset
from alchemy.upkeep.restore import differences, merge, restore

pytestmark = pytest.mark.anyio
UNIT = "app/dev"
NAME = "state-2026-01-01T00-00-00-000Z.json"


async def back_up(store: StateStore, unit: str = UNIT, *, of: str | None = None) -> None:
    """Keep a backup of a unit as it is."""
    await store.init()
    lease = await store.acquire(unit, owner=owner_of("test"), timeout=0)
    records = (await store.load(unit, lease=lease)).records
    content = encode_backup(unit=of or unit, made_at="2026-01-01", operation="test", records=records.values())
    await store.save_backup(lease, NAME, content)
    await store.release(lease)


async def ids(store: StateStore) -> dict[str, bool]:
    """Say which resources are in state, and whether each is still to be verified."""
    await store.init()
    return {r.id: r.verify for r in (await store.all(UNIT)).values() if not r.is_scope}


async def test_what_is_missing_comes_back_to_be_verified(cloud: Cloud, kept: StateStore) -> None:
    """The record that was lost is back, the current one stays as it is; the next deploy believes both."""
    await deploy(things(a=1, b=1), kept)
    await back_up(kept)
    lease = await kept.acquire(UNIT, owner=owner_of("test"), timeout=0)
    await kept.load(UNIT, lease=lease)
    await kept.delete(lease, "app/dev/b")
    await kept.release(lease)
    cloud.calls.clear()
    done = await restore(UNIT, UNIT, NAME, state_store=kept)
    assert [record.fqn for record in done.restored] == ["app/dev/b"]
    assert (done.same, done.newer, dict(done.differing)) == (1, [], {})
    assert await ids(kept) == {"a": False, "b": True}
    await deploy(things(a=1, b=1), kept)
    assert cloud.ops("create", "update", "delete") == []
    assert await ids(kept) == {"a": False, "b": False}


async def test_nothing_current_is_dropped(kept: StateStore) -> None:
    """What is newer than the backup stays, what differs stays and is told; nothing missing, nothing written."""
    await deploy(things(a=1), kept)
    await back_up(kept)
    await deploy(things(a=2, b=1), kept)
    await kept.init()
    before = await kept.all(UNIT)
    done = await restore(UNIT, UNIT, NAME, state_store=kept)
    assert (done.restored, done.newer) == ([], ["app/dev/b"])
    assert "props.size" in done.differing["app/dev/a"]
    await kept.init()
    assert await kept.all(UNIT) == before


async def test_the_backups_version_is_taken_where_that_is_asked_for(cloud: Cloud, kept: StateStore) -> None:
    """Of what differs; after a backup, and to be verified. What is newer stays, and so do ticks and dependencies."""
    await deploy(things(a=1, b=1), kept)
    await back_up(kept)
    await deploy(things(a=1, b=1, c=1), kept)
    lease = await kept.acquire(UNIT, owner=owner_of("test"), timeout=0)
    before = (await kept.load(UNIT, lease=lease)).records["app/dev/a"]
    spoilt = msgspec.structs.replace(
        before,
        props={**before.props, "size": 99},
        output={**before.output, "object_id": "not-mine"},
        seq=50,
        deps=["app/dev/b"],
    )
    await kept.set(lease, spoilt)
    backups = len(await kept.backups(UNIT))
    await kept.release(lease)
    done = await restore(UNIT, UNIT, NAME, overwrite=True, state_store=kept)
    assert [record.fqn for record in done.overwritten] == ["app/dev/a"]
    assert done.differing == {"app/dev/a": ["deps", "props.size", "output.object_id"]}
    assert (done.same, done.newer, done.others, done.restored) == (1, ["app/dev/c"], [], [])
    await kept.init()
    assert len(await kept.backups(UNIT)) == backups + 1
    now = (await kept.all(UNIT))["app/dev/a"]
    assert (now.props, now.output, now.verify) == (before.props, before.output, True)
    assert (now.seq, now.deps) == (50, ["app/dev/b"])
    cloud.calls.clear()
    await deploy(things(a=1, b=1, c=1), kept)
    assert cloud.ops("read", "find", "create", "update", "delete") == ["find a"]
    assert await ids(kept) == {"a": False, "b": False, "c": False}
    again = await restore(UNIT, UNIT, NAME, overwrite=True, state_store=kept)
    assert again.overwritten == []


async def test_a_record_of_another_object_is_not_overwritten(cloud: Cloud, kept: StateStore) -> None:
    """What was replaced since, and what was destroyed and made again: its object would have no record any more."""
    await deploy(things(a=1), kept)
    await back_up(kept)

    async def replaced(_app: Any) -> None:
        await Thing("a", shape="flat")

    await deploy(replaced, kept)
    done = await restore(UNIT, UNIT, NAME, overwrite=True, state_store=kept)
    assert (done.overwritten, done.others) == ([], ["app/dev/a"])
    await deploy(replaced, kept)
    assert len(cloud.objects) == 1
    old, new = (record("a", created_at=at, output={"id": at}) for at in ("1", "2"))
    assert merge({new.fqn: new}, {old.fqn: old}, unit=UNIT, chain=UNIT, overwrite=True).others == [new.fqn]


def test_a_scope_keeps_its_options() -> None:
    """Where its state is, and how it is destroyed, is as it is now; its data are as they were."""
    now, old = (
        Record(kind="alchemy::Scope", id="s", fqn=f"{UNIT}/s", props={"state_store": where}, data={"n": where})
        for where in ("here", "there")
    )
    (taken,) = merge({now.fqn: now}, {old.fqn: old}, unit=UNIT, chain=UNIT, overwrite=True).overwritten
    assert (taken.props, taken.data, taken.verify) == (now.props, old.data, False)


async def test_what_was_destroyed_or_forgotten_comes_back(cloud: Cloud, kept: StateStore) -> None:
    """After a reset the records are back, and the ledger is empty; after a destroy the next deploy makes all anew."""
    await deploy(things(a=1), kept)
    await back_up(kept)
    await reset(UNIT, UNIT, state_store=kept)
    await restore(UNIT, UNIT, NAME, state_store=kept)
    assert await ids(kept) == {"a": True}
    assert dict(forgotten((await kept.all(UNIT))[UNIT])) == {}
    await destroy_unit(UNIT, state_store=kept)
    assert not cloud.objects
    await restore(UNIT, UNIT, NAME, state_store=kept)
    assert await ids(kept) == {"a": True}
    await deploy(things(a=1), kept)
    assert len(cloud.objects) == 1
    assert await ids(kept) == {"a": False}


async def test_only_the_scope_that_is_meant(kept: StateStore) -> None:
    """Of a nested scope only what lies in it comes back."""

    async def program(_app: Any) -> None:
        async with alchemy.run("inner"):
            Thing("a")
        Thing("b")

    await deploy(program, kept)
    await back_up(kept)
    await reset(UNIT, UNIT, state_store=kept)
    await restore(UNIT, f"{UNIT}/inner", NAME, state_store=kept)
    await kept.init()
    assert sorted(await kept.all(UNIT)) == ["app/dev", "app/dev/inner", "app/dev/inner/a"]


async def test_a_nested_store_has_backups_of_its_own(kept: StateStore, tmp_path: Path) -> None:
    """A scope that keeps its state elsewhere is restored from there."""
    from alchemy.stores import FileStore

    async def program(_app: Any) -> None:
        async with alchemy.run("inner", state_store=f"file:{tmp_path}/inner"):
            Thing("a")

    await deploy(program, kept)
    inner = FileStore(tmp_path / "inner")
    await back_up(inner)
    lease = await inner.acquire(UNIT, owner=owner_of("test"), timeout=0)
    await inner.load(UNIT, lease=lease)
    await inner.delete(lease, "app/dev/inner/a")
    await inner.release(lease)
    done = await restore(UNIT, f"{UNIT}/inner", NAME, state_store=kept)
    assert [record.fqn for record in done.restored] == ["app/dev/inner/a"]
    await inner.init()
    assert sorted(await inner.all(UNIT)) == ["app/dev/inner/a"]
    await inner.deinit()


async def test_mistakes_change_nothing(kept: StateStore) -> None:
    """An unknown backup, one of another unit, a damaged one, a unit that somebody else holds."""
    await deploy(things(a=1), kept)
    await back_up(kept, of="app/prod")
    with pytest.raises(StateError, match="has no backup other") as raised:
        await restore(UNIT, UNIT, "other", state_store=kept)
    assert NAME in (raised.value.hint or "")
    with pytest.raises(StateError, match="is a backup of app/prod"):
        await restore(UNIT, UNIT, NAME, state_store=kept)
    await kept.init()
    lease = await kept.acquire(UNIT, owner=owner_of("test"), timeout=0)
    await kept.save_backup(lease, NAME.replace("000Z", "001Z"), b"{")
    with pytest.raises(LockedError):
        await restore(UNIT, UNIT, NAME, state_store=another(kept), lock_timeout=0)
    await kept.init()
    if isinstance(kept, MemoryStore):
        await kept.release(lease)
    with pytest.raises(StateError):
        await restore(UNIT, UNIT, NAME.replace("000Z", "001Z"), state_store=kept)


def record(id: str, **rest: Any) -> Record:
    """Make a resource's record."""
    return Record(kind="t::Thing", id=id, fqn=f"{UNIT}/{id}", status=Status.CREATED, **rest)


def test_records_are_compared_field_by_field() -> None:
    """Inputs, outputs and data one by one; what only says when and how often it was written does not count."""
    old = record("a", props={"size": 1, "same": 1}, output={"id": "x"}, rev=1, updated_at="1", seq=1)
    new = record("a", props={"size": 2, "same": 1, "more": 1}, output={}, rev=9, updated_at="2", seq=5, retain=True)
    assert differences(new, old) == ["props.more", "props.size", "output.id", "retain"]
    assert differences(old, old) == []


def test_old_generations_are_verified_too() -> None:
    """What a restored record says of objects that were replaced may be out of date as well."""
    old = Generation(generation=1, kind="t::Thing", provider="", status=Status.CREATED)
    (back,) = merge({}, {f"{UNIT}/a": record("a", generations=[old])}, unit=UNIT, chain=UNIT).restored
    assert (back.verify, back.generations[0].verify, old.verify) == (True, True, False)


def test_the_units_own_record_is_put_together() -> None:
    """Salts, keys and ledger entries that only the backup has are taken over; current ones win."""
    from alchemy.engine.session import Session
    from alchemy.history import Backup
    from alchemy.stores import MemoryStore
    from alchemy.upkeep.restore import _own

    now = Record(kind="alchemy::Stage", id="dev", fqn=UNIT, output={"salts": {UNIT: "new"}, "keys": {UNIT: "k"}})
    old = Record(kind="alchemy::Stage", id="dev", fqn=UNIT, output={"salts": {UNIT: "old", f"{UNIT}/x": "s"}})
    forget(old, [record("lost")])
    backup = Backup(unit=UNIT, made_at="", operation="", records={UNIT: old})

    def own(records: dict[str, Record], backup: Backup) -> Record | None:
        return _own(Session(MemoryStore(), UNIT, None, records), backup)

    both = own({UNIT: now}, backup)
    assert both is not None
    assert both.output["salts"] == {UNIT: "new", f"{UNIT}/x": "s"}
    assert list(forgotten(both)) == [f"{UNIT}/lost"]
    alone = own({}, backup)
    assert alone is not None
    assert alone.output == old.output
    assert own({}, Backup(unit=UNIT, made_at="", operation="", records={})) is None
    assert now.output["salts"] == {UNIT: "new"}
