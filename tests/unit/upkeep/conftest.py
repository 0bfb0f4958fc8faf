"""Stores that what puts state in order has to do with, and an empty cloud."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.unit.engine.world import Cloud

from alchemy.ports import StateStore
from alchemy.state import Record
from alchemy.stores import FileStore, MemoryStore, SQLiteStateStore


@pytest.fixture(autouse=True)
def _empty(cloud: Cloud) -> None:
    """Empty the cloud also for tests that do not look at it."""


def another(store: StateStore) -> StateStore:
    """Give a store at the same place, as another process has it."""
    return MemoryStore(store.memory) if isinstance(store, MemoryStore) else store


@pytest.fixture(params=["file", "memory"])
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StateStore]:
    """A store of each sort."""
    store: StateStore = MemoryStore() if request.param == "memory" else FileStore(tmp_path / "state")
    yield store
    await store.deinit()


Open = Callable[[], StateStore]


def place_of(sort: str, folder: Path) -> Open:
    """Give what opens handles to one place of a sort."""
    memory = MemoryStore().memory
    opens: dict[str, Open] = {
        "file": lambda: FileStore(folder / "state"),
        "memory": lambda: MemoryStore(memory),
        "sqlite": lambda: SQLiteStateStore(folder / "state.db"),
    }
    return opens[sort]


async def stored(place: Open, chain: str) -> dict[str, Record]:
    """Give the records as they are stored."""
    store = place()
    await store.init()
    try:
        return dict(await store.all(chain))
    finally:
        await store.deinit()


@pytest.fixture(params=["file", "memory", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """A place of each sort, to be opened as often as is needed."""
    return place_of(request.param, tmp_path)
