"""Stores that what puts state in order has to do with, and an empty cloud."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.engine.world import Cloud

from alchemy.ports import StateStore
from alchemy.stores import FileStore, MemoryStore


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
