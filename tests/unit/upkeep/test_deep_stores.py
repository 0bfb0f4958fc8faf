"""Stores within stores: what puts state in order, and destroys it, reaches all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine.world import Cloud, Thing, deploy

from alchemy import alchemy
from alchemy.engine.ledger import forgotten
from alchemy.opening import destroy_unit
from alchemy.stores import MemoryStore
from alchemy.upkeep.reset import reset

pytestmark = pytest.mark.anyio


async def test_all_of_them_are_reached(cloud: Cloud, tmp_path: Path) -> None:
    """A scope in a scope, each with a store of its own: forgotten, found again, and destroyed from outside."""

    async def program(_app: Any) -> None:
        async with alchemy.run("one", state_store=f"file:{tmp_path}/one"):
            Thing("a")
            async with alchemy.run("two", state_store=f"file:{tmp_path}/two"):
                Thing("b")

    store = MemoryStore()
    await deploy(program, store)
    before = dict(cloud.objects)
    await reset("app/dev", "app/dev", state_store=store)
    own = (await store.all("app/dev"))["app/dev"]
    assert sorted(forgotten(own)) == ["app/dev/one/a", "app/dev/one/two/b"]
    await deploy(program, store)
    assert cloud.objects == before
    await destroy_unit("app/dev", state_store=store)
    assert not cloud.objects
