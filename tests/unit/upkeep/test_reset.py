"""Resetting forgets, and the next deploy knows its own objects again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine.test_lifecycle import errors_of
from tests.unit.engine.world import Cloud, Store, Thing, ThingProvider, deploy, things
from tests.unit.upkeep.conftest import another

from alchemy import alchemy
from alchemy.engine.ledger import forgotten
from alchemy.errors import LockedError
from alchemy.history import decode_backup
from alchemy.owner import owner_of
from alchemy.ports import StateStore
from alchemy.state import Generation, Record, Status
from alchemy.upkeep.reset import objects_of, reset

pytestmark = pytest.mark.anyio
UNIT = "app/dev"


async def test_what_is_forgotten_is_found_again(cloud: Cloud, kept: StateStore) -> None:
    """Nothing is destroyed; the next deploy has the same objects, and makes none."""
    await deploy(things(a=1, b=2), kept)
    before = dict(cloud.objects)
    cloud.calls.clear()
    left = await reset(UNIT, UNIT, state_store=kept)
    assert sorted(record.id for record in left) == ["a", "b"]
    assert cloud.ops() == []
    await kept.init()
    records = await kept.all(UNIT)
    assert list(records) == [UNIT]
    assert sorted(forgotten(records[UNIT])) == ["app/dev/a", "app/dev/b"]
    await deploy(things(a=1, b=2), kept)
    assert cloud.objects == before
    assert cloud.ops("create", "delete") == []
    await kept.init()
    records = await kept.all(UNIT)
    assert (len(records), dict(forgotten(records[UNIT]))) == (3, {})


async def test_what_went_with_its_data_set_is_made_anew(
    cloud: Cloud, kept: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data set that was thrown away: the error says what to do, and that is enough; elsewhere it stays an error."""
    await deploy(things(a=1, b=2), kept)
    cloud.objects.clear()
    cloud.account = "acct-2"
    await reset(UNIT, UNIT, state_store=kept)
    with pytest.raises(ExceptionGroup) as caught:
        await deploy(things(a=1, b=2), kept)
    assert "lives in acct-1, and this run is set up for acct-2" in errors_of(caught.value)[0]
    monkeypatch.setattr(ThingProvider, "is_remade", lambda _self, stored, target: stored != target)
    cloud.calls.clear()
    await deploy(things(a=1, b=2), kept)
    assert (sorted(cloud.ops()), len(cloud.objects)) == (["create a", "create b"], 2)
    await kept.init()
    records = await kept.all(UNIT)
    assert (records["app/dev/a"].target, dict(forgotten(records[UNIT]))) == ("acct-2", {})
    cloud.account = "acct-3"
    with pytest.raises(ExceptionGroup) as caught:
        await deploy(things(a=2, b=2), kept)
    assert "alchemy scope reset app/dev, then deploy again" in errors_of(caught.value)[0]


async def test_what_was_forgotten_elsewhere_is_an_error_before_any_call(
    cloud: Cloud, kept: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that knows by configuration alone that it is another account asks nobody."""
    await deploy(things(a=1), kept)
    await reset(UNIT, UNIT, state_store=kept)

    async def asked(_self: object, _ctx: object) -> str:
        raise AssertionError("the provider was asked where it is")

    monkeypatch.setattr(ThingProvider, "target", asked)
    monkeypatch.setattr(ThingProvider, "configured_target", lambda _self: "acct-2", raising=False)
    cloud.calls.clear()
    with pytest.raises(ExceptionGroup) as caught:
        await deploy(things(a=1), kept)
    assert "lives in acct-1, and this run is set up for acct-2" in errors_of(caught.value)[0]
    assert cloud.calls == []


async def test_a_backup_is_made_before(kept: StateStore) -> None:
    """What is forgotten can be brought back."""
    await deploy(things(a=1), kept)
    await reset(UNIT, UNIT, state_store=kept)
    await kept.init()
    name = (await kept.backups(UNIT))[-1]
    backup = decode_backup(await kept.read_backup(UNIT, name), where=name)
    assert sorted(backup.records) == ["app/dev", "app/dev/a"]


async def test_no_other_scope_is_touched(cloud: Cloud, kept: StateStore) -> None:
    """Of a stage only the scope that was named, and no other stage."""

    async def program(_app: Any) -> None:
        async with alchemy.run("one"):
            Thing("a")
        async with alchemy.run("two"):
            Thing("b")

    await deploy(program, kept)
    await deploy(program, kept, stage="prod")
    other = {fqn: record.rev for fqn, record in (await _all(kept, "app/prod")).items()}
    await reset(UNIT, f"{UNIT}/one", state_store=kept)
    assert sorted(await _all(kept, UNIT)) == ["app/dev", "app/dev/two", "app/dev/two/b"]
    assert {fqn: record.rev for fqn, record in (await _all(kept, "app/prod")).items()} == other
    assert await reset(UNIT, f"{UNIT}/one", state_store=kept) == []
    await deploy(program, kept)
    assert len(cloud.objects) == 4


async def _all(store: StateStore, chain: str) -> dict[str, Record]:
    await store.init()
    return dict(await store.all(chain))


async def test_what_nested_scopes_keep_elsewhere_is_forgotten_too(
    cloud: Cloud, kept: StateStore, tmp_path: Path
) -> None:
    """It goes from its store into the ledger of the unit, and comes back from there."""

    async def program(_app: Any) -> None:
        async with alchemy.run("inner", state_store=f"file:{tmp_path}/inner"):
            Thing("a")

    await deploy(program, kept)
    before = dict(cloud.objects)
    await reset(UNIT, UNIT, state_store=kept)
    assert sorted(forgotten((await _all(kept, UNIT))[UNIT])) == ["app/dev/inner/a"]
    await deploy(program, kept)
    assert cloud.objects == before


async def test_it_is_one_commit(cloud: Cloud) -> None:
    """The records go, and the ledger that keeps them comes, in one clearing of the scope."""
    store = Store()

    async def program(_app: Any) -> None:
        async with alchemy.run("inner"):
            Thing("a")

    await deploy(program, store)
    for chain in (f"{UNIT}/inner", UNIT):
        store.writes.clear()
        await reset(UNIT, chain, state_store=store)
        assert store.writes == [f"clear {chain}", f"created {UNIT}"]
        await deploy(program, store)
    assert len(cloud.objects) == 1


async def test_somebody_elses_unit_is_left_alone(kept: StateStore) -> None:
    """While another run holds it, nothing is forgotten."""
    await deploy(things(a=1), kept)
    await kept.init()
    await kept.acquire(UNIT, owner=owner_of("deploy"), timeout=0)
    with pytest.raises(LockedError):
        await reset(UNIT, UNIT, state_store=another(kept), lock_timeout=0)


def test_objects_are_named_as_their_provider_knows_them() -> None:
    """By physical name, the name or path the program chose, or an id; old generations too."""
    record = Record(kind="t::T", id="a", fqn="app/dev/a", physical_name="app-dev-a-1", target="acct")
    record.generations = [Generation(generation=1, kind="t::T", provider="", status=Status.CREATED, output={"id": "7"})]
    assert objects_of(record) == ["t::T app-dev-a-1 in acct", "t::T 7"]
    assert objects_of(Record(kind="t::T", id="a", fqn="app/dev/a", props={"path": "a.txt"})) == ["t::T a.txt"]
    assert objects_of(Record(kind="t::T", id="a", fqn="app/dev/a")) == ["t::T a"]
