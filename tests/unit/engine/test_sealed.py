"""Whole records encrypted: what a store then holds, turning it on and off, and what works without the password."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine.world import Cloud, Thing, Vault, deploy, nothing, things
from tests.unit.engine.world import reset as reset_cloud

from alchemy import alchemy
from alchemy.errors import ConfigurationError, SecretError
from alchemy.history import decode_backup, is_sealed_backup
from alchemy.opening import destroy_unit
from alchemy.ports import StateStore
from alchemy.state import Record, encode
from alchemy.state_manager import StateManager
from alchemy.stores import FileStore, MemoryStore, SQLiteStateStore
from alchemy.stores._sealed import SealedStore
from alchemy.testing.faults import Crashed, Faults
from alchemy.testing.store import FaultyStore
from alchemy.upkeep.reset import reset
from alchemy.upkeep.restore import restore

pytestmark = pytest.mark.anyio
UNIT = "app/dev"
SEALED = {"password": "pw", "encrypt_state": True}
Open = Callable[[], StateStore]


@pytest.fixture(params=["file", "memory", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path, cloud: Cloud) -> Open:
    """Open handles to one place, of each sort."""
    memory = MemoryStore()
    made: dict[str, Open] = {
        "file": lambda: FileStore(tmp_path / "state"),
        "memory": lambda: MemoryStore(memory.memory),
        "sqlite": lambda: SQLiteStateStore(tmp_path / "state.db"),
    }
    return made[request.param]


async def raw(place: Open) -> dict[str, Record]:
    """Give the records as they are stored."""
    store = place()
    await store.init()
    found = dict(await store.all(UNIT))
    await store.deinit()
    return found


async def backups(place: Open) -> list[bytes]:
    """Give the backups as they are stored."""
    store = place()
    await store.init()
    found = [await store.read_backup(UNIT, name) for name in await store.backups(UNIT)]
    await store.deinit()
    return found


async def program(app: Any) -> None:
    """Declare what leaves something in every part of a record, and in a scope's."""
    async with alchemy.run("inner") as scope:
        await scope.set("favourite", "marmalade")
        thing = await Thing("a", size=77)
    await Vault("v", password="hunter2")
    await Thing("b", needs=thing)
    app.export(size=thing.size)


async def test_nothing_but_names_is_in_the_store(place: Open, cloud: Cloud) -> None:
    """No input, output or data and none of their names, in no record, backup or log; a second run writes nothing."""
    await deploy(program, place(), **SEALED)
    await deploy(nothing_but_a, place(), **SEALED)
    records = await raw(place)
    assert all(record.is_sealed for record in records.values())
    store = place()
    await store.init()
    logs = [await store.read_log(UNIT, name) for name in await store.logs(UNIT)]
    await store.deinit()
    kept = b"\n".join([*map(encode, records.values()), *await backups(place), *logs])
    object_ids = [id.encode() for id in cloud.objects]
    for word in (b"marmalade", b"favourite", b"hunter2", b'"size"', b"object_id", b"s3cret", *object_ids):
        assert word not in kept
    before = {fqn: record.rev for fqn, record in records.items()}
    cloud.calls.clear()
    await deploy(nothing_but_a, place(), **SEALED)
    assert cloud.ops() == []
    assert {fqn: record.rev for fqn, record in (await raw(place)).items()} == before


async def nothing_but_a(_app: Any) -> None:
    """Declare less than `program`."""
    async with alchemy.run("inner") as scope:
        await Thing("a", size=77)
        assert await scope.get("favourite") == "marmalade"


async def test_turning_it_on_encrypts_what_is_there(place: Open, cloud: Cloud) -> None:
    """All records at the next deploy, and the backups made before; nothing is called for it, no time is changed."""
    await deploy(things(a=1), place())
    await deploy(things(a=1, b=2), place())
    before = await raw(place)
    cloud.calls.clear()
    await deploy(things(a=1, b=2), place(), **SEALED)
    assert cloud.ops() == []
    after = await raw(place)
    assert all(record.is_sealed for record in after.values())
    assert {fqn: record.updated_at for fqn, record in after.items()} == {
        fqn: record.updated_at for fqn, record in before.items()
    }
    kept = await backups(place)
    assert len(kept) == 2
    assert all(map(is_sealed_backup, kept))
    opened = SealedStore(place(), "pw")
    await opened.init()
    names = [*await opened.backups(UNIT)]
    assert names == sorted(names)
    assert "app/dev/a" in decode_backup(await opened.read_backup(UNIT, names[0]), where=names[0]).records
    await opened.deinit()


async def test_turning_it_off_writes_it_in_clear(place: Open, cloud: Cloud) -> None:
    """At the next deploy; for that the password is needed still."""
    await deploy(things(a=1, b=2), place(), **SEALED)
    with pytest.raises(SecretError, match="app/dev is encrypted, and there is no password"):
        await deploy(things(a=1, b=2), place())
    await deploy(things(a=1, b=2), place(), password="pw")
    records = await raw(place)
    assert not any(record.is_sealed for record in records.values())
    assert records["app/dev/a"].props["size"] == 1
    cloud.calls.clear()
    await deploy(things(a=1, b=2), place())
    assert cloud.ops() == []


async def test_without_a_password_nothing_begins(place: Open, cloud: Cloud) -> None:
    """To encrypt, a password is needed before anything is created."""
    with pytest.raises(ConfigurationError, match="to be encrypted, and there is no password"):
        await deploy(things(a=1), place(), encrypt_state=True)
    assert cloud.objects == {}
    assert await raw(place) == {}


async def test_another_password_changes_nothing(place: Open, cloud: Cloud) -> None:
    """Neither a deploy nor a destroy begins; what is stored stays as it is."""
    await deploy(things(a=1), place(), **SEALED)
    before = await raw(place)
    for password in ("other", None):
        with pytest.raises(SecretError):
            await deploy(things(a=2), place(), password=password, encrypt_state=password is not None or None)
        with pytest.raises(SecretError):
            await destroy_unit(UNIT, state_store=place(), password=password)
    assert await raw(place) == before
    assert len(cloud.objects) == 1
    await destroy_unit(UNIT, state_store=place(), password="pw")
    assert cloud.objects == {}


async def test_upkeep_leaves_the_form_as_it_is(place: Open, cloud: Cloud) -> None:
    """Who does not know what the program wants writes as is written already; a restored record is encrypted."""
    await deploy(things(a=1), place(), **SEALED)
    await deploy(things(a=1, b=2), place(), **SEALED)
    await reset(UNIT, UNIT, state_store=place(), password="pw")
    records = await raw(place)
    assert list(records) == [UNIT]
    assert b"ledger" not in encode(records[UNIT])
    store = place()
    await store.init()
    newest = (await store.backups(UNIT))[-1]
    assert list(await store.problems("")) == []
    await store.deinit()
    done = await restore(UNIT, UNIT, newest, state_store=place(), password="pw")
    assert sorted(record.id for record in done.restored) == ["a", "b"]
    assert all(record.is_sealed for record in (await raw(place)).values())
    manager = place()
    async with StateManager(manager) as by_hand:
        with pytest.raises(ConfigurationError, match="no password"):
            await by_hand.save_state(UNIT, {"by": "hand"})
    await manager.deinit()
    cloud.calls.clear()
    await deploy(things(a=1, b=2), place(), **SEALED)
    assert cloud.ops("create", "delete") == []


async def test_a_nested_scopes_own_store_is_encrypted_too(place: Open, cloud: Cloud, tmp_path: Path) -> None:
    """Where it is stays in clear, so that what lies there is found."""

    async def nested(_app: Any) -> None:
        async with alchemy.run("inner", state_store=f"file:{tmp_path}/inner"):
            Thing("a", size=77)

    await deploy(nested, place(), **SEALED)
    inner = FileStore(tmp_path / "inner")
    records = await inner.all(UNIT)
    assert list(records) == ["app/dev/inner/a"]
    assert records["app/dev/inner/a"].is_sealed
    await inner.deinit()
    assert (await raw(place))["app/dev/inner"].props["state_store"].endswith("/inner")
    await deploy(nothing, place(), **SEALED)
    assert cloud.objects == {}


async def test_an_envelope_belongs_to_its_record(cloud: Cloud) -> None:
    """One that was moved to another record is noticed."""
    store = MemoryStore()
    await deploy(things(a=1, b=2), store, **SEALED)
    lease = await store.acquire(UNIT, owner=(await _owner()), timeout=0)
    records = dict(await store.all(UNIT))
    one, two = records["app/dev/a"], records["app/dev/b"]
    one.extra, two.extra = two.extra, one.extra
    await store.set(lease, one, two)
    await store.release(lease)
    with pytest.raises(SecretError, match="was changed since it was encrypted, or moved"):
        await deploy(things(a=1, b=2), store, **SEALED)


async def _owner() -> Any:
    from alchemy.owner import owner_of

    return owner_of("test")


async def test_turning_it_on_may_be_cut_short_anywhere(cloud: Cloud) -> None:
    """Wherever the process died, the next deploy ends it: every record and every backup is encrypted, none is lost."""
    for instant in range(200):
        reset_cloud()
        memory = MemoryStore().memory
        await deploy(things(a=1), MemoryStore(memory))
        await deploy(things(a=1, b=2), MemoryStore(memory))
        faults = Faults()
        faults.crash(at=instant)
        with contextlib.suppress(Crashed, BaseExceptionGroup):
            await deploy(things(a=1, b=2), FaultyStore(MemoryStore(memory), faults), **SEALED)
        cloud.faults = Faults()
        await deploy(things(a=1, b=2), MemoryStore(memory), enable_locking=False, **SEALED)
        after = MemoryStore(memory)
        records = await after.all(UNIT)
        assert sorted(records) == [UNIT, "app/dev/a", "app/dev/b"]
        assert all(record.is_sealed for record in records.values())
        kept = [await after.read_backup(UNIT, name) for name in await after.backups(UNIT)]
        assert len(kept) >= 2
        assert all(map(is_sealed_backup, kept))
        assert len(cloud.objects) == 2
        if not faults.crashed:
            break
    else:
        pytest.fail("it never ended")
