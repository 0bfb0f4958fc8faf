"""A place with state that processes die in, whatever the storage, and the cloud that goes with it."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Any, Protocol

from tests.unit.engine import world
from tests.unit.engine.world import Program, deploy, nothing

from alchemy.opening import destroy_unit
from alchemy.ports import StateStore
from alchemy.state import Record
from alchemy.testing.checks import check_converged, check_destroyed, check_idle, check_owned, check_prefix
from alchemy.testing.faults import Faults
from alchemy.testing.store import FaultyStore

UNIT = "app/dev"


class Mortal(StateStore, Protocol):
    """A store that can be left as the end of its process would leave it."""

    def abandon(self, *, kept: bool) -> None: ...


class Place(ABC):
    """State in one place, for several processes one after the other."""

    def __init__(self) -> None:
        world.reset()

    @abstractmethod
    def store(self) -> Mortal:
        """Open what is there, as another process would."""

    def process(self, faults: Faults | None = None) -> FaultyStore:
        """Start a process; the cloud's calls are its own from now on."""
        return self._started(self.store(), faults or Faults())

    def _started(self, store: Mortal, faults: Faults) -> FaultyStore:
        world.cloud.faults = faults
        return FaultyStore(store, faults)

    async def records(self) -> dict[str, Record]:
        """Give what a reader finds."""
        async with self._reader() as reader:
            return dict(await reader.all(""))

    async def traces(self) -> object:
        """Give what a run that changes nothing leaves as it is."""
        return await self.records()

    async def check(self, reader: Mortal) -> None:
        """Check what must hold, in this storage, when a process has died: its lock is free."""
        assert list(await reader.locks()) == []

    async def killed(self, store: FaultyStore, work: Any) -> bool:
        """Let a process run until it dies; say whether it did, having checked what it left."""
        with contextlib.suppress(BaseException):
            await work
        for _ in range(20):
            await asyncio.sleep(0)
        if not store.faults.crashed:
            return False
        inner: Any = store.inner
        await asyncio.to_thread(inner.abandon, kept=False)
        found = await self.records()
        if UNIT in store.histories:
            async with self._reader() as reader:
                check_prefix(store.histories[UNIT], found, await reader.backups(UNIT))
                await self.check(reader)
        check_owned(world.cloud, found)
        return True

    async def deploy(self, program: Program) -> None:
        """Run a program in a process that lives, and once more: then there is nothing to do."""
        await deploy(program, self.process())
        check_converged(world.cloud, await self.records())
        before = await self.traces()
        world.cloud.forget()
        again = self.process()
        await deploy(program, again)
        if program is not nothing:
            check_idle(world.cloud, again)
        assert await self.traces() == before

    async def destroy(self) -> None:
        """Destroy everything in a process that lives."""
        await destroy_unit(UNIT, state_store=self.process(), retry_delay=0.001)
        check_destroyed(world.cloud, await self.records())

    @contextlib.asynccontextmanager
    async def _reader(self) -> AsyncIterator[Mortal]:
        reader = self.store()
        await reader.init()
        try:
            yield reader
        finally:
            await reader.deinit()
