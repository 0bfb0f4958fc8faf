"""Checking state reaches everything a unit has, whichever stores it lies in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine.world import Thing, deploy, things

from alchemy import alchemy
from alchemy.owner import owner_of
from alchemy.ports import StateStore
from alchemy.upkeep.stores import Stores
from alchemy.upkeep.validate import problems_in

pytestmark = pytest.mark.anyio
UNIT = "app/dev"


async def write(store: StateStore, **changes: Any) -> None:
    """Change the unit's records as no run would."""
    await store.init()
    lease = await store.acquire(UNIT, owner=owner_of("test"), timeout=0)
    records = (await store.load(UNIT, lease=lease)).records
    for id, values in changes.items():
        record = records[f"{UNIT}/{id}" if id != "own" else UNIT]
        for name, value in values.items():
            setattr(record, name, value)
        await store.set(lease, record)
    await store.fold(lease)
    await store.release(lease)


async def told(store: StateStore, chain: str = "app") -> list[tuple[str | None, str, str]]:
    """Give what is wrong: of which record, what, and the remedy."""
    stores = Stores(store)
    found = await problems_in(stores, [UNIT], chain)
    await stores.close()
    return [(problem.fqn, problem.what, problem.remedy) for problem in found]


async def test_what_a_run_leaves_is_whole(kept: StateStore) -> None:
    """After a deploy there is nothing to find, at any chain."""
    await deploy(things(a=1, b=2), kept)
    await kept.init()
    for chain in ("", "app", UNIT, f"{UNIT}/a"):
        assert await told(kept, chain) == []


async def test_what_a_record_refers_to_is_checked(kept: StateStore) -> None:
    """A dependency that is not in state is told with the command that helps; another record's chain shows nothing."""
    await deploy(things(a=1, b=2), kept)
    await write(kept, a={"deps": [f"{UNIT}/gone"]})
    ((fqn, what, remedy),) = await told(kept)
    assert (fqn, "app/dev/gone, which is not in state" in what) == (f"{UNIT}/a", True)
    assert "alchemy scope restore" in remedy
    assert await told(kept, f"{UNIT}/b") == []


async def test_the_ledger_is_checked(kept: StateStore) -> None:
    """What the next deploy could not read of what was forgotten is told now."""
    await deploy(things(a=1), kept)
    await write(kept, own={"output": {"ledger": {f"{UNIT}/x": {"version": 1}}}})
    ((fqn, what, remedy),) = await told(kept)
    assert (fqn, f"{UNIT}/x in the ledger" in what) == (UNIT, True)
    assert "alchemy scope restore app/dev --list" in remedy


async def test_stores_of_nested_scopes_are_checked(kept: StateStore, tmp_path: Path) -> None:
    """Damage in one is found from the first, and only when it is asked for."""

    async def program(_app: Any) -> None:
        async with alchemy.run("inner", state_store=f"file:{tmp_path}/inner"):
            Thing("a")
        Thing("b")

    await deploy(program, kept)
    await kept.init()
    assert await told(kept) == []
    (tmp_path / "inner/app/dev/inner/resources/a/state.json").write_text("{")
    for chain in ("", "app", UNIT, f"{UNIT}/inner", f"{UNIT}/inner/a"):
        assert [fqn for fqn, _, _ in await told(kept, chain)] == [f"{UNIT}/inner/a"], chain
    assert await told(kept, f"{UNIT}/b") == []
    (tmp_path / "inner").rename(tmp_path / "moved")
    ((fqn, what, _),) = await told(kept)
    assert (fqn, what.startswith("the store of app/dev/inner cannot be used")) == (f"{UNIT}/inner", True)
