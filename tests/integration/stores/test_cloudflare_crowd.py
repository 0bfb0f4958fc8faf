"""Fifty clients of one state service that is killed while they write."""

from __future__ import annotations

import asyncio
import os
import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.integration.stores.servers.service import TOKEN, ServiceServer

from alchemy.ports import StateStore
from alchemy.stores import CloudflareStateStore
from alchemy.testing.contract import a_resource, an_owner

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]
CLIENTS, WRITES, APPLICATIONS = 50, 100, 5
RACED = "race/prod"
PATIENCE = 120.0


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceServer]:
    """A service, as a process of its own."""
    server = ServiceServer(tmp_path)
    monkeypatch.setenv("ALCHEMY_STATE_TOKEN", TOKEN)
    server.start()
    try:
        yield server
    finally:
        server.kill()


class Crowd:
    """What the clients have done, and what they were told.

    Attributes:
        acknowledged: by unit, the size that each record had in the last write that was acknowledged.
        written: how many writes were acknowledged in all.
        tokens: of the lease that all race for, in the order in which it was held.
        holding: how many believe to hold it now.
    """

    def __init__(self) -> None:
        self.acknowledged: dict[str, dict[str, int]] = defaultdict(dict)
        self.written = 0
        self.tokens: list[int] = []
        self.holding = 0

    async def write(self, store: StateStore, unit: str) -> None:
        """Write a unit of one's own, every record twice, each when the one before was acknowledged."""
        lease = await store.acquire(unit, owner=an_owner(), timeout=PATIENCE)
        for number in range(WRITES):
            fqn, size = f"{unit}/r{number % (WRITES // 2)}", number
            await store.set(lease, a_resource(fqn, props={"size": size}))
            self.acknowledged[unit][fqn] = size
            self.written += 1
        await store.release(lease)

    async def race(self, store: StateStore) -> None:
        """Hold what all want to hold, once, and count with it."""
        lease = await store.acquire(RACED, owner=an_owner(), timeout=PATIENCE)
        assert self.holding == 0, "somebody else holds it too"
        self.holding += 1
        self.tokens.append(lease.token)
        before = (await store.load(RACED, lease=lease)).records.get(f"{RACED}/count")
        assert (before.props["size"] if before else 0) == len(self.tokens) - 1
        await store.set(lease, a_resource(f"{RACED}/count", props={"size": len(self.tokens)}))
        self.holding -= 1
        await store.release(lease)

    async def until(self, written: int) -> None:
        """Return when so many writes were acknowledged."""
        while self.written < written:
            await asyncio.sleep(0.001)


async def test_nothing_is_lost_and_nothing_is_held_twice(server: ServiceServer) -> None:
    """5,000 writes to 50 units, 50 racers for one lease, three kills: all is there, and one holder at a time."""
    seed = int(os.environ.get("SEED", random.randrange(10**9)))
    print(f"SEED={seed}")
    instants = sorted(random.Random(seed).sample(range(CLIENTS * WRITES * 9 // 10), 3))
    crowd = Crowd()
    async with AsyncExitStack() as stack:
        address = f"http://127.0.0.1:{server.port}"
        stores = [CloudflareStateStore(address, patience=PATIENCE) for _ in range(CLIENTS)]
        for store in stores:
            await store.init()
            stack.push_async_callback(store.deinit)
        async with asyncio.TaskGroup() as group:
            for number, store in enumerate(stores):
                group.create_task(crowd.write(store, f"app-{number % APPLICATIONS}/stage-{number}"))
                group.create_task(crowd.race(store))
            for number, instant in enumerate(instants):
                await crowd.until(instant)
                if number == 1:
                    await asyncio.to_thread(server.kill_workerd)
                else:
                    await asyncio.to_thread(server.kill)
                    await asyncio.to_thread(server.start)
        apps = {unit.partition("/")[0] for unit in crowd.acknowledged}
        found = {app: await stores[0].all(app) for app in sorted(apps)}
        sizes = {fqn: record.props["size"] for records in found.values() for fqn, record in records.items()}
        assert sizes == {fqn: size for unit in crowd.acknowledged.values() for fqn, size in unit.items()}
        assert crowd.written == CLIENTS * WRITES
        assert len(crowd.tokens) == CLIENTS
        assert crowd.tokens == sorted(set(crowd.tokens))
        assert set(await stores[0].all("race")) == {f"{RACED}/count"}
        assert list(await stores[0].locks()) == []
