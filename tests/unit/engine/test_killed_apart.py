"""Killed runs of programs whose nested scopes have stores of their own: nothing is forgotten, and the order holds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.unit.engine import world
from tests.unit.engine.world import Thing, deploy

from alchemy import alchemy, stores
from alchemy.opening import destroy_unit
from alchemy.ports import Lease, StateStore
from alchemy.stores import MemoryStore
from alchemy.stores._commits import Change
from alchemy.stores._memory import Memory
from alchemy.testing.faults import Faults
from alchemy.testing.store import FaultyStore


class Unhurried(MemoryStore):
    """Makes a write durable when somebody waits for it, and not before; those before it go along."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory)
        self.queued: list[tuple[Lease, Change]] = []

    def _add(self, lease: Lease, change: Change) -> Any:
        self.queued.append((lease, change))
        return Waited(self)

    async def fold(self, lease: Lease) -> None:
        await Waited(self)
        await super().fold(lease)


class Waited:
    """What a write gives."""

    def __init__(self, store: Unhurried) -> None:
        self.store = store

    def __await__(self) -> Generator[Any, None, None]:
        yield from asyncio.sleep(0).__await__()
        world.cloud.faults.check()
        queued, self.store.queued = self.store.queued, []
        for lease, change in queued:
            MemoryStore._add(self.store, lease, change)


def unhurried(place: str | Path, **_rest: Any) -> StateStore:
    """Open such a store at `memory:NAME`; it dies with the process."""
    return FaultyStore(Unhurried(Memory.named(str(place).partition(":")[2])), world.cloud.faults)


async def fleet(_app: Any) -> None:
    """Scopes with stores of their own, one in another, beside resources that are not waited for."""
    Thing("first")
    async with alchemy.run("outer", state_store="memory:outer"):
        async with alchemy.run("inner", state_store="memory:inner"):
            one = await Thing("one")
        Thing("two", needs=one)
    Thing("last", needs=one)


def test_nothing_is_made_before_the_way_to_it_is_durable() -> None:
    """Each store commits when it likes. Killed at any call of a provider: a destroy from what is durable then leaves
    nothing behind, and keeps to the order.
    """
    for instant in range(20):
        world.reset()
        kept = [Memory(name) for name in ("first", "outer", "inner")]
        world.cloud.faults.crash(at=instant, call="cloud.*")
        with patch.object(stores, "open_store", unhurried), contextlib.suppress(world.Killed, BaseExceptionGroup):
            asyncio.run(deploy(fleet, unhurried("memory:first")))
        died = world.cloud.died
        world.cloud.faults = Faults()
        asyncio.run(destroy_unit("app/dev", state_store=MemoryStore(kept[0]), enable_locking=False))
        assert (world.cloud.misplaced, world.cloud.objects) == ([], {}), f"killed at {instant}"
        if not died:
            return
    raise AssertionError("it never came to the end")
