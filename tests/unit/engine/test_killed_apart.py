"""Killed runs of programs whose nested scopes have stores of their own: nothing is forgotten, and the order holds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings
from tests.unit.engine import world
from tests.unit.engine.world import Program, Thing, deploy
from tests.unit.test_order_programs import STRATEGIES, Interpreter, Statement, bodies, edits

from alchemy import alchemy, stores
from alchemy.opening import destroy_unit
from alchemy.ports import Lease, StateStore
from alchemy.stores import MemoryStore
from alchemy.stores._commits import Change
from alchemy.stores._memory import Memory
from alchemy.testing.faults import Faults
from alchemy.testing.store import FaultyStore

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


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


class Process:
    """Programs that run one after the other, over memories that outlive them: `memory:NAME`, the unit's is `memory:`.

    Each run, also one that is killed, begins with what was durable, and takes over what the one before it held.

    Args:
        kind: of the stores.
    """

    def __init__(self, kind: type[MemoryStore] = MemoryStore) -> None:
        world.reset()
        self.kind = kind
        self.memories: dict[str, Memory] = {}

    def open(self, place: str | Path, **_rest: Any) -> StateStore:
        """Open a store that dies with the process."""
        memory = self.memories.setdefault(str(place).partition(":")[2], Memory())
        return FaultyStore(self.kind(memory), world.cloud.faults)

    @contextlib.contextmanager
    def _opening(self) -> Iterator[None]:
        # Stores call themselves otherwise than the program did; the records of scopes keep those names.
        self.memories |= {memory.name: memory for memory in self.memories.values()}
        with patch.object(stores, "open_store", self.open):
            yield

    def deploy(self, program: Program) -> None:
        with self._opening():
            asyncio.run(deploy(program, self.open("memory:"), enable_locking=False))

    def killed(self, program: Program, *, at: int, call: str = "*") -> bool:
        """Run a program that is killed at an instant; say whether it was, before it ended."""
        world.cloud.faults.crash(at=at, call=call)
        with contextlib.suppress(world.Killed, BaseExceptionGroup):
            self.deploy(program)
        died = world.cloud.died
        world.cloud.faults = Faults()
        return died

    def destroy(self, **options: Any) -> None:
        """Destroy everything, and see whether anything was left, or went before what was made from it."""
        world.cloud.misplaced.clear()
        with self._opening():
            unit = destroy_unit("app/dev", state_store=self.open("memory:"), enable_locking=False, **options)
            asyncio.run(unit)
        assert (world.cloud.misplaced, world.cloud.objects) == ([], {})


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
        process = Process(Unhurried)
        died = process.killed(fleet, at=instant, call="cloud.*")
        process.destroy()
        if not died:
            return
    raise AssertionError("it never came to the end")


class Apart(Interpreter):
    """Runs a program of which every other scope has a store of its own."""

    def options(self, scope: str) -> dict[str, Any]:
        number = int(scope.lstrip("n"))
        return {} if number % 2 else {"state_store": f"memory:{number}"}


@SETTINGS
@given(st.data(), st.lists(st.integers(0, 60), min_size=1, max_size=3), st.booleans(), STRATEGIES)
def test_killed_edits_destroyed_at_once_miss_no_dependency(
    data: st.DataObject, instants: list[int], replaces: bool, strategy: str
) -> None:
    """Edited and killed, once or again and again, then destroyed: nothing is left, and no object goes while another
    one is made from it, whichever stores know of them.
    """
    process = Process()
    body = data.draw(bodies())
    if data.draw(st.booleans()):
        process.deploy(partial(play, body, "round"))
    for edit, instant in enumerate(instants):
        body = data.draw(edits(body, fresh=[100 * (edit + 1)]))
        shape = "square" if replaces and edit % 2 == 0 else "round"
        process.killed(partial(play, body, shape), at=instant)
    process.destroy(destroy_strategy=strategy, batch_size=3)


async def play(body: tuple[Statement, ...], shape: str, _app: Any) -> None:
    """Run a body in which every other scope has a store of its own."""
    await Apart(by_value=True, shape=shape).run(body, {}, [])
