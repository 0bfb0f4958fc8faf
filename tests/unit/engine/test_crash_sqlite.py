"""Killed at any instant with its state in a SQLite file: what holds for a folder holds for rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.amounts import amount
from tests.unit.engine.place import Mortal, Place
from tests.unit.engine.test_crash import two, two_changed, two_replaced
from tests.unit.engine.world import Cloud, deploy, nothing

from alchemy.stores import SQLiteStateStore

pytestmark = [pytest.mark.anyio, pytest.mark.torture]
STORIES = {
    "create": (nothing, two),
    "update": (two, two_changed),
    "replace": (two, two_replaced),
    "finalize": (two, nothing),
}
STRIDE = amount(3, 1)


class Database(Place):
    """A SQLite file with state."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def store(self) -> SQLiteStateStore:
        """Open it."""
        return SQLiteStateStore(self.path)

    async def check(self, reader: Mortal) -> None:
        """Nothing half-written is there either: a transaction is all or nothing."""
        await super().check(reader)
        assert list(await reader.problems("")) == []


@pytest.mark.parametrize("story", STORIES)
async def test_killed_at_every_call(cloud: Cloud, tmp_path: Path, story: str) -> None:
    """What is found is an exact prefix of the commits; the dead holder's lock is free; the next run converges."""
    before, after = STORIES[story]
    for instant in range(0, 400, STRIDE):
        place = Database(tmp_path / f"{instant}.db")
        await deploy(before, place.process())
        store = place.process()
        store.faults.crash(at=instant)
        died = await place.killed(store, deploy(after, store))
        await (place.destroy() if instant % 2 else place.deploy((after, before)[instant % 4 // 2]))
        if not died:
            assert instant > 10
            return
    raise AssertionError("it never came to the end")
