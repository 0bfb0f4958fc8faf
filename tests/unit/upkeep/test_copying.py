"""State copied from any store to any other, and out into a file and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine.world import Cloud, Thing, Vault, deploy, things
from tests.unit.upkeep.conftest import Open, place_of, stored

from alchemy import alchemy
from alchemy.config import Settings
from alchemy.errors import ConfigurationError, LockedError, StateDamaged, StateError, StateTooNew
from alchemy.owner import owner_of
from alchemy.ports import StateStore
from alchemy.state import encode, seal, unseal
from alchemy.stores import MemoryStore
from alchemy.testing.faults import Crashed, Faults
from alchemy.testing.store import FaultyStore
from alchemy.upkeep.copying import Copied, copy
from alchemy.upkeep.exporting import export, import_export, is_export, read_export

pytestmark = pytest.mark.anyio
UNIT, PROD = "app/dev", "app/prod"
SETTINGS = Settings(stage="dev", lock_timeout=0)


async def program(_app: Any) -> None:
    """Declare a scope, a secret and a dependence."""
    async with alchemy.run("inner"):
        thing = await Thing("a", size=1)
    await Vault("v", password="hunter2")
    Thing("b", needs=thing)


async def copied(source: Open, target: Open, *units: str) -> list[Copied]:
    """Copy with handles that are closed after it."""
    one, two = source(), target()
    await one.init()
    await two.init()
    try:
        return await copy(one, two, units or (UNIT,), SETTINGS)
    finally:
        await two.deinit()
        await one.deinit()


@pytest.mark.parametrize(("source", "target"), [("file", "sqlite"), ("sqlite", "memory"), ("memory", "file")])
@pytest.mark.parametrize("options", [{"password": "pw"}, {"password": "pw", "encrypt_state": True}])
async def test_a_copy_is_as_good_as_what_it_was_made_from(
    cloud: Cloud, tmp_path: Path, source: str, target: str, options: dict[str, Any]
) -> None:
    """Records, backups and lineage: the next deploy changes nothing. To copy, no password is needed."""
    here, there = place_of(source, tmp_path / "one"), place_of(target, tmp_path / "two")
    await deploy(things(a=1), here(), **options)
    await deploy(program, here(), **options)
    await deploy(things(x=1), here(), stage="prod")
    before = {fqn: encode(record) for fqn, record in (await stored(here, "")).items()}
    done = await copied(here, there, UNIT, PROD)
    assert [(one.unit, one.already) for one in done] == [(UNIT, False), (PROD, False)]
    assert [one.backups for one in done] == [1, 0]
    assert done[0].left_out == ["its 2 logs"]
    assert {fqn: encode(record) for fqn, record in (await stored(there, "")).items()} == before
    assert {fqn: encode(record) for fqn, record in (await stored(here, "")).items()} == before
    assert [one.already for one in await copied(here, there, UNIT, PROD)] == [True, True]
    cloud.calls.clear()
    await deploy(program, there(), **options)
    assert cloud.ops() == []
    await deploy(things(), there(), **options)
    assert len(cloud.objects) == 1  # that of prod


async def test_a_target_with_something_else_is_refused(place: Open, tmp_path: Path) -> None:
    """Another application of the name, or another record; nothing is written."""
    here = place_of("file", tmp_path / "one")
    await deploy(things(a=1), here())
    await deploy(things(b=1), place())
    before = await stored(place, "")
    with pytest.raises(StateError, match="has another application called app"):
        await copied(here, place)
    there = place_of("memory", tmp_path)
    await copied(here, there)
    await deploy(things(a=2), there())
    with pytest.raises(StateError, match="has other state in app/dev: app/dev/a"):
        await copied(here, there)
    assert await stored(place, "") == before
    with pytest.raises(ConfigurationError, match="cannot be copied to itself"):
        await copied(here, here)


async def test_what_somebody_works_on_is_not_copied(tmp_path: Path) -> None:
    """Neither from where it is held, nor to where it is."""
    here, there = place_of("memory", tmp_path), place_of("memory", tmp_path)
    await deploy(things(a=1), here())
    for busy in (here(), there()):
        lease = await busy.acquire(UNIT, owner=owner_of("deploy"), timeout=0)
        with pytest.raises(LockedError):
            await copied(here, there)
        await busy.release(lease)
    assert await stored(there, "") == {}


async def test_a_copy_that_was_cut_short_goes_on(cloud: Cloud) -> None:
    """Wherever it died: each stage is there whole or not at all, and the same command ends it."""
    source = MemoryStore()
    await deploy(things(a=1, b=2), source)
    await deploy(things(a=2, b=2), source)
    await deploy(things(c=1), source, stage="prod")
    whole = {fqn: encode(record) for fqn, record in (await source.all("")).items()}
    for instant in range(200):
        memory, faults = MemoryStore(), Faults()
        faults.crash(at=instant)
        target: StateStore = FaultyStore(memory, faults)
        try:
            await copy(source, target, [UNIT, PROD], SETTINGS)
        except Crashed:
            for lease in [*await source.locks()]:
                await source.break_(lease.unit)
        found = {fqn: encode(record) for fqn, record in (await memory.all("")).items()}
        for unit in (UNIT, PROD):
            there = {fqn for fqn in found if fqn.startswith(unit)}
            assert there in (set(), {fqn for fqn in whole if fqn.startswith(unit)})
        await copy(source, MemoryStore(memory.memory), [UNIT, PROD], SETTINGS)
        assert {fqn: encode(record) for fqn, record in (await memory.all("")).items()} == whole
        assert await memory.backups(UNIT) == await source.backups(UNIT)
        if not faults.crashed:
            break
    else:
        pytest.fail("it never ended")


async def test_what_is_read_back_wrong_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that gives back something else than was written is not called a copy."""

    class Forgetful(MemoryStore):
        """Forgets an input."""

        async def load(self, unit: str, **options: Any) -> Any:
            snapshot = await super().load(unit, **options)
            for record in snapshot.records.values():
                record.props.pop("size", None)
            return snapshot

    source = MemoryStore()
    await deploy(things(a=1), source)
    with pytest.raises(StateError, match=r"app/dev/a is not in memory:.* as it was written"):
        await copy(source, Forgetful(), [UNIT], SETTINGS)


async def test_a_nested_scopes_own_store_stays_where_it_is(tmp_path: Path) -> None:
    """And is said to."""

    async def nested(_app: Any) -> None:
        async with alchemy.run("inner", state_store=f"file:{tmp_path}/inner"):
            Thing("a")

    source = MemoryStore()
    await deploy(nested, source)
    (done,) = await copy(source, MemoryStore(), [UNIT], SETTINGS)
    assert f"what app/dev/inner keeps in file://{tmp_path}/inner, where it stays" in done.left_out


# --- a file


async def test_an_export_is_taken_back(place: Open, cloud: Cloud, tmp_path: Path) -> None:
    """Into any store, where the next deploy changes nothing; a second time nothing is to be done."""
    here = MemoryStore()
    await deploy(program, here, password="pw")
    await deploy(things(x=1), here, stage="prod")
    path = tmp_path / "export.json"
    path.write_bytes(await export(here, [UNIT, PROD]))
    assert is_export(path)
    assert b"hunter2" not in path.read_bytes()
    contents = read_export(path)
    for already in (False, True):
        store = place()
        await store.init()
        done = await import_export(store, contents, SETTINGS)
        assert [(one.unit, one.already) for one in done] == [(UNIT, already), (PROD, already)]
        await store.deinit()
    cloud.calls.clear()
    await deploy(program, place(), password="pw")
    assert cloud.ops() == []
    store = place()
    await store.init()
    await deploy(things(a=3), place())
    with pytest.raises(StateError, match="has other state in app/dev"):
        await import_export(store, contents, SETTINGS)
    await store.deinit()


async def test_an_export_that_was_changed_is_refused(tmp_path: Path) -> None:
    """By its checksum, its version, or because something is missing."""
    store = MemoryStore()
    await deploy(things(a=1), store)
    content = await export(store, [UNIT])
    path = tmp_path / "export.json"
    path.write_bytes(content.replace(b'"created"', b'"updated"'))
    with pytest.raises(StateDamaged, match="was changed since"):
        read_export(path)
    body = unseal(content, where="x")
    path.write_bytes(seal({**body, "version": 99}))
    with pytest.raises(StateTooNew, match="form 99"):
        read_export(path)
    for broken in ({"records": None}, {"applications": [{"app": 5}]}):
        path.write_bytes(seal({**body, **broken}))
        with pytest.raises(StateDamaged):
            read_export(path)
    path.write_text("not JSON")
    assert not is_export(path)
    assert not is_export(tmp_path / "nowhere.json")
