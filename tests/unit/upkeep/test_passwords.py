"""Another password for what is there, and whether a password is the right one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine.world import Cloud, Thing, Vault, deploy, things
from tests.unit.upkeep.conftest import Open, stored

from alchemy import alchemy
from alchemy.crypto import Cipher
from alchemy.errors import ConfigurationError, SecretError
from alchemy.state import Generation, Record, Status, encode
from alchemy.stores import MemoryStore
from alchemy.stores._sealed import SealedStore
from alchemy.testing.faults import Crashed, Faults
from alchemy.testing.store import FaultyStore
from alchemy.upkeep import passwords
from alchemy.upkeep.passwords import Verdict, check, envelopes_in, rekey, with_envelopes
from alchemy.upkeep.reset import reset
from alchemy.upkeep.stores import Stores

pytestmark = pytest.mark.anyio
UNIT = "app/dev"
WAYS = [{}, {"encrypt_state": True}]


@pytest.fixture(autouse=True)
def _cheap_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "Cipher", partial(Cipher, n=2))


async def program(_app: Any) -> None:
    """Declare secrets wherever they can be."""
    async with alchemy.run("inner") as inner:
        await inner.set("token", alchemy.secret("marmalade"))
        await inner.set("list", [alchemy.secret({"deep": 1})])
        await Vault("v", password="hunter2")
    await Thing("a", size=1)


async def verdict(place: Open, password: str) -> Verdict:
    """Ask what a password opens."""
    store = SealedStore(place(), password)
    await store.init()
    stores = Stores(store)
    try:
        return await check(stores, UNIT, password)
    finally:
        await stores.close()
        await store.deinit()


@pytest.mark.parametrize("way", WAYS)
async def test_everything_is_under_the_new_password(place: Open, cloud: Cloud, way: dict[str, Any]) -> None:
    """The old one opens nothing any more, the new one all; the next deploy changes nothing, and backups are named."""
    await deploy(program, place(), password="old", **way)
    times = {fqn: record.updated_at for fqn, record in (await stored(place, UNIT)).items()}
    assert (await verdict(place, "old")).refused == []
    done = await rekey(UNIT, "new", state_store=place(), password="old")
    assert done.records > 0
    assert len(done.backups) == 1
    assert (await verdict(place, "old")).refused
    good = await verdict(place, "new")
    assert good.refused == []
    assert good.opened >= 5
    assert {fqn: record.updated_at for fqn, record in (await stored(place, UNIT)).items()} == times
    assert (await rekey(UNIT, "new", state_store=place(), password="old")).records == 0
    cloud.calls.clear()
    await deploy(program, place(), password="new", **way)
    assert cloud.ops() == []
    with pytest.raises(SecretError):
        await deploy(program, place(), password="old", force=True, **way)


@pytest.mark.parametrize("way", WAYS)
async def test_it_goes_on_after_it_was_cut_short(cloud: Cloud, way: dict[str, Any], tmp_path: Path) -> None:
    """Wherever it died, every secret opens with one of the two; said again, all open with the new one."""

    async def nested(_app: Any) -> None:
        await Vault("v", password="hunter2")
        async with alchemy.run("inner", state_store=f"file:{folder}"):
            await Vault("w", password="hunter3")

    for instant in range(200):
        folder = tmp_path / f"inner-{instant}"
        memory, faults = MemoryStore(), Faults()
        await deploy(nested, MemoryStore(memory.memory), password="old", **way)
        faults.crash(at=instant)
        dying = FaultyStore(MemoryStore(memory.memory), faults)
        try:
            await rekey(UNIT, "new", state_store=dying, password="old")
        except (Crashed, BaseExceptionGroup):
            assert faults.crashed
        await rekey(UNIT, "new", state_store=MemoryStore(memory.memory), password="old", enable_locking=False)
        assert (await verdict(lambda: MemoryStore(memory.memory), "new")).refused == []  # noqa: B023
        if not faults.crashed:
            break
        cloud.faults = Faults()
    else:
        pytest.fail("it never ended")


async def test_a_wrong_password_changes_nothing(place: Open) -> None:
    """Nor does none, or the same one again."""
    await deploy(program, place(), password="old")
    before = {fqn: encode(record) for fqn, record in (await stored(place, UNIT)).items()}
    with pytest.raises(SecretError):
        await rekey(UNIT, "new", state_store=place(), password="other")
    with pytest.raises(ConfigurationError, match="no password to begin with"):
        await rekey(UNIT, "new", state_store=place())
    with pytest.raises(ConfigurationError, match="is the old one"):
        await rekey(UNIT, "old", state_store=place(), password="old")
    assert {fqn: encode(record) for fqn, record in (await stored(place, UNIT)).items()} == before


async def test_a_scope_with_a_password_of_its_own_keeps_it(cloud: Cloud) -> None:
    """It is named, and its secrets are left alone."""

    async def apart(_app: Any) -> None:
        await Vault("v", password="hunter2")
        async with alchemy.run("inner", password="mine"):
            await Vault("w", password="hunter3")

    store = MemoryStore()
    await deploy(apart, store, password="old")
    before = encode((await store.all(UNIT))[f"{UNIT}/inner/w"])
    done = await rekey(UNIT, "new", state_store=store, password="old")
    assert done.apart == [f"{UNIT}/inner"]
    assert encode((await store.all(UNIT))[f"{UNIT}/inner/w"]) == before
    assert (await verdict(lambda: store, "new")).apart == [f"{UNIT}/inner"]
    cloud.calls.clear()
    await deploy(apart, store, password="new")
    assert cloud.ops() == []


async def test_what_a_reset_has_forgotten_is_rekeyed_too(cloud: Cloud) -> None:
    """The next deploy takes it back with the new password."""
    store = MemoryStore()
    await deploy(program, store, password="old")
    await reset(UNIT, UNIT, state_store=store)
    await rekey(UNIT, "new", state_store=store, password="old")
    assert (await verdict(lambda: store, "new")).refused == []
    cloud.calls.clear()
    await deploy(program, store, password="new")
    assert cloud.ops("create", "delete") == []


async def test_state_without_secrets_needs_nothing() -> None:
    """Nothing is written."""
    store = MemoryStore()
    await deploy(things(a=1), store, password="old")
    assert (await rekey(UNIT, "new", state_store=store, password="old")).records == 0
    assert (await verdict(lambda: store, "any")).opened == 0


def test_every_place_of_an_envelope_is_known() -> None:
    """Inputs, what was attempted, outputs, data, old generations and the ledger, each bound to its own name."""
    secret = {"@secret": {"version": "v2"}}
    old = Generation(generation=1, kind="k", provider="", status=Status.CREATED, props={"x": [secret]}, output=secret)
    record = Record(kind="k", id="a", fqn="app/dev/a", props={"x": secret}, attempted={"x": secret})
    record.data = {"x": {"@secret": {"data": {"version": "v2"}}}}
    record.output = {"ledger": {"app/dev/b": {"props": {"x": secret}}}, "ref": {"@resource": {"values": {"x": secret}}}}
    record.generations = [old]
    contexts = [context for _, context in envelopes_in(record)]
    assert contexts.count("app/dev/a") == 6
    assert contexts.count("app/dev/b") == 1
    assert with_envelopes(record, lambda envelope, _: envelope) is record
    changed = with_envelopes(record, lambda _envelope, context: {"to": context})
    assert b"v2" not in encode(changed)
    assert b"v2" in encode(record)
