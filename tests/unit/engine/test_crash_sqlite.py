"""Killed at any instant with its state in a SQLite file: what holds for a folder holds for rows."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
from tests.amounts import amount
from tests.unit.engine import world
from tests.unit.engine.test_crash import two, two_changed, two_replaced
from tests.unit.engine.world import Cloud, Program, deploy, nothing

from alchemy.opening import destroy_unit
from alchemy.state import Record
from alchemy.stores import SQLiteStateStore
from alchemy.testing.checks import check_converged, check_destroyed, check_idle, check_owned, check_prefix
from alchemy.testing.faults import Faults
from alchemy.testing.store import FaultyStore

pytestmark = [pytest.mark.anyio, pytest.mark.torture]
UNIT = "app/dev"
STORIES = {
    "create": (nothing, two),
    "update": (two, two_changed),
    "replace": (two, two_replaced),
    "finalize": (two, nothing),
}
STRIDE = amount(3, 1)


class Place:
    """A file with state, and the cloud that goes with it."""

    def __init__(self, path: Path) -> None:
        world.reset()
        self.path = path

    def process(self, faults: Faults | None = None) -> FaultyStore:
        """Start a process; the cloud's calls are its own from now on."""
        world.cloud.faults = faults or Faults()
        return FaultyStore(SQLiteStateStore(self.path), world.cloud.faults)

    async def records(self) -> dict[str, Record]:
        """Give what a reader finds."""
        reader = SQLiteStateStore(self.path)
        await reader.init()
        try:
            return dict(await reader.all(""))
        finally:
            await reader.deinit()

    async def killed(self, store: FaultyStore, work: Any) -> bool:
        """Let a process run until it dies; say whether it did, having checked what it left."""
        with contextlib.suppress(BaseException):
            await work
        for _ in range(20):
            await asyncio.sleep(0)
        if not store.faults.crashed:
            return False
        inner = store.inner
        assert isinstance(inner, SQLiteStateStore)
        await asyncio.to_thread(inner.abandon, kept=False)
        found = await self.records()
        if UNIT in store.histories:
            reader = SQLiteStateStore(self.path)
            await reader.init()
            check_prefix(store.histories[UNIT], found, await reader.backups(UNIT))
            assert list(await reader.locks()) == []
            assert list(await reader.problems("")) == []
            await reader.deinit()
        check_owned(world.cloud, found)
        return True

    async def deploy(self, program: Program) -> None:
        """Run a program in a process that lives, and once more: then there is nothing to do."""
        await deploy(program, self.process())
        before = await self.records()
        check_converged(world.cloud, before)
        world.cloud.forget()
        again = self.process()
        await deploy(program, again)
        if program is not nothing:
            check_idle(world.cloud, again)
        assert await self.records() == before

    async def destroy(self) -> None:
        """Destroy everything in a process that lives."""
        await destroy_unit(UNIT, state_store=self.process(), retry_delay=0.001)
        check_destroyed(world.cloud, await self.records())


@pytest.mark.parametrize("story", STORIES)
async def test_killed_at_every_call(cloud: Cloud, tmp_path: Path, story: str) -> None:
    """What is found is an exact prefix of the commits; the dead holder's lock is free; the next run converges."""
    before, after = STORIES[story]
    for instant in range(0, 400, STRIDE):
        place = Place(tmp_path / f"{instant}.db")
        await deploy(before, place.process())
        store = place.process()
        store.faults.crash(at=instant)
        died = await place.killed(store, deploy(after, store))
        await (place.destroy() if instant % 2 else place.deploy((after, before)[instant % 4 // 2]))
        if not died:
            assert instant > 10
            return
    raise AssertionError("it never came to the end")
