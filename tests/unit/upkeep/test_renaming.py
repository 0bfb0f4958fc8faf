"""Renaming in state, and forgetting for good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine.world import Cloud, Thing, Vault, deploy, things
from tests.unit.upkeep.conftest import Open, stored

from alchemy import alchemy
from alchemy.engine.ledger import forgotten
from alchemy.errors import ConfigurationError, SecretError
from alchemy.events import ResourceFinished
from alchemy.stores import MemoryStore
from alchemy.upkeep.forgetting import forget
from alchemy.upkeep.renaming import rename
from alchemy.upkeep.reset import reset

pytestmark = pytest.mark.anyio
UNIT = "app/dev"


def scoped(scope: str, id: str = "a") -> Any:
    """Give a program with a scope that holds a secret, data and a resource that another depends on."""

    async def program(_app: Any) -> None:
        async with alchemy.run(scope) as inner:
            thing = await Thing(id, size=1)
            await Vault("v", password="hunter2")
            await inner.set("token", alchemy.secret("marmalade"))
            assert (await inner.get("token")).reveal() == "marmalade"
        await Thing("b", needs=thing)

    return program


async def test_a_scope_is_renamed_with_all_that_is_in_it(place: Open, cloud: Cloud) -> None:
    """Secrets, data and what depends on it follow; there is a backup, and the changed program finds everything."""
    await deploy(scoped("one"), place(), password="pw")
    objects = dict(cloud.objects)
    moved = await rename(f"{UNIT}/one", f"{UNIT}/two", state_store=place(), password="pw")
    assert moved == [(f"{UNIT}/one/a", f"{UNIT}/two/a"), (f"{UNIT}/one/v", f"{UNIT}/two/v")]
    records = await stored(place, UNIT)
    assert sorted(records) == [UNIT, f"{UNIT}/b", f"{UNIT}/two", f"{UNIT}/two/a", f"{UNIT}/two/v"]
    assert records[f"{UNIT}/b"].deps == [f"{UNIT}/two/a"]
    store = place()
    await store.init()
    assert len(await store.backups(UNIT)) == 1
    assert list(await store.problems("")) == []
    await store.deinit()
    cloud.calls.clear()
    await deploy(scoped("two"), place(), password="pw")
    assert cloud.ops() == []
    assert cloud.objects == objects


async def test_what_was_forgotten_in_a_scope_is_renamed_with_it(place: Open, cloud: Cloud) -> None:
    """Its secrets too, and what it depends on: the next deploy finds its own objects, and makes none."""
    await deploy(scoped("one"), place(), password="pw")
    objects = dict(cloud.objects)
    for chain in (f"{UNIT}/one/a", f"{UNIT}/one/v", f"{UNIT}/b"):
        await reset(UNIT, chain, state_store=place())
    moved = await rename(f"{UNIT}/one", f"{UNIT}/two", state_store=place(), password="pw")
    assert moved == [(f"{UNIT}/one/a", f"{UNIT}/two/a"), (f"{UNIT}/one/v", f"{UNIT}/two/v")]
    left = forgotten((await stored(place, UNIT))[UNIT])
    assert sorted(left) == [f"{UNIT}/b", f"{UNIT}/two/a", f"{UNIT}/two/v"]
    assert left[f"{UNIT}/b"].deps == [f"{UNIT}/two/a"]
    cloud.calls.clear()
    await deploy(scoped("two"), place(), password="pw")
    assert cloud.ops("create", "delete") == []
    assert cloud.objects.keys() == objects.keys()
    assert forgotten((await stored(place, UNIT))[UNIT]) == {}


async def test_a_scope_that_was_forgotten_whole_can_be_renamed(cloud: Cloud) -> None:
    """Nothing of it has a record any more; what may exist follows all the same."""
    store = MemoryStore()
    await deploy(scoped("one"), store, password="pw")
    await reset(UNIT, f"{UNIT}/one", state_store=MemoryStore(store.memory))
    await rename(f"{UNIT}/one", f"{UNIT}/two", state_store=MemoryStore(store.memory), password="pw")
    cloud.calls.clear()
    await deploy(scoped("two"), MemoryStore(store.memory), password="pw")
    assert cloud.ops("create", "delete") == []
    with pytest.raises(ConfigurationError, match=f"there is no {UNIT}/one in state"):
        await rename(f"{UNIT}/one", f"{UNIT}/three", state_store=MemoryStore(store.memory), password="pw")


async def test_a_resource_moves_into_another_scope(cloud: Cloud) -> None:
    """Of the same stage, when that scope is there."""
    store = MemoryStore()
    await deploy(scoped("one"), store, password="pw")
    await rename(f"{UNIT}/one/a", f"{UNIT}/a", state_store=store, password="pw")

    async def changed(_app: Any) -> None:
        async with alchemy.run("one"):
            await Vault("v", password="hunter2")
        await Thing("b", needs=await Thing("a", size=1))

    cloud.calls.clear()
    await deploy(changed, store, password="pw")
    assert cloud.ops("create", "delete") == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("app/dev/nothing", "app/dev/x", "there is no app/dev/nothing"),
        ("app/dev/b", "app/dev/one", "app/dev/one is there already"),
        ("app/dev/b", "app/dev/one/a", "app/dev/one/a is there already"),
        ("app/dev/b", "app/prod/b", "stays in its stage"),
        ("app/dev", "app/dev/x", "stays in its stage"),
        ("app/dev/one", "app/dev/one/two", "one lies in the other"),
        ("app/dev/b", "app/dev/nowhere/b", "there is no scope app/dev/nowhere"),
        ("app/dev/b", "app/dev/one/a/b", "there is no scope app/dev/one/a"),
    ],
)
async def test_what_cannot_be_renamed(old: str, new: str, said: str) -> None:
    """Is refused by name, and nothing is written."""
    store = MemoryStore()
    await deploy(scoped("one"), store, password="pw")
    before = await store.all("")
    with pytest.raises(ConfigurationError, match=said):
        await rename(old, new, state_store=store, password="pw")
    assert await store.all("") == before


async def test_a_secret_needs_its_password_to_be_renamed() -> None:
    """It is bound to its record's name; without the password nothing is renamed."""
    store = MemoryStore()
    await deploy(scoped("one"), store, password="pw")
    before = await store.all("")
    for password in (None, "other"):
        with pytest.raises((SecretError, ConfigurationError), match="password"):
            await rename(f"{UNIT}/one", f"{UNIT}/two", state_store=store, password=password)
    assert await store.all("") == before
    await rename(f"{UNIT}/b", f"{UNIT}/c", state_store=store)


async def test_a_scope_with_a_store_of_its_own_keeps_its_name(tmp_path: Path) -> None:
    """What lies there could not change in the same commit."""

    async def program(_app: Any) -> None:
        async with alchemy.run("inner", state_store=f"file:{tmp_path}/inner"):
            Thing("a")

    store = MemoryStore()
    await deploy(program, store)
    for old in ("inner", "inner/a"):
        with pytest.raises(ConfigurationError, match="keeps its state in a store of its own"):
            await rename(f"{UNIT}/{old}", f"{UNIT}/outer", state_store=store)


async def test_what_is_forgotten_is_left_behind(place: Open, cloud: Cloud) -> None:
    """Nothing is destroyed; it is said what stays, and what depended on it does no more. There is a backup."""
    await deploy(scoped("one"), place(), password="pw")
    objects = dict(cloud.objects)
    cloud.events.clear()
    left = await forget(f"{UNIT}/one", state_store=place())
    assert sorted(record.id for record in left) == ["a", "v"]
    assert cloud.objects == objects
    records = await stored(place, UNIT)
    assert sorted(records) == [UNIT, f"{UNIT}/b"]
    assert records[f"{UNIT}/b"].deps == []
    assert forgotten(records[UNIT]) == {}
    store = place()
    await store.init()
    assert len(await store.backups(UNIT)) == 1
    assert list(await store.problems("")) == []
    await store.deinit()
    assert {event.outcome for event in cloud.events if isinstance(event, ResourceFinished)} == {"forgotten"}


async def test_what_a_reset_remembers_can_be_forgotten_too(cloud: Cloud) -> None:
    """And nothing of it is left."""
    store = MemoryStore()
    await deploy(things(a=1, b=1), store)
    await reset(UNIT, f"{UNIT}/a", state_store=store)
    (left,) = await forget(f"{UNIT}/a", state_store=store)
    assert left.fqn == f"{UNIT}/a"
    records = await store.all(UNIT)
    assert sorted(records) == [UNIT, f"{UNIT}/b"]
    assert forgotten(records[UNIT]) == {}
    with pytest.raises(ConfigurationError, match="there is no app/dev/a"):
        await forget(f"{UNIT}/a", state_store=store)
    with pytest.raises(ConfigurationError, match="is a stage"):
        await forget(UNIT, state_store=store)


async def test_what_lies_in_a_store_of_its_own_is_forgotten_there(tmp_path: Path) -> None:
    """Both its records and the scope's."""

    async def program(_app: Any) -> None:
        async with alchemy.run("inner", state_store=f"file:{tmp_path}/inner"):
            Thing("a")

    store = MemoryStore()
    await deploy(program, store)
    (left,) = await forget(f"{UNIT}/inner", state_store=store)
    assert left.fqn == f"{UNIT}/inner/a"
    assert list(await store.all(UNIT)) == [UNIT]
    assert not list((tmp_path / "inner").rglob("resources"))
