"""How a holder stays one: renewal in a thread of its own, blocked event loops, clocks that jump."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alchemy.errors import LeaseLost, LockedError, StateError
from alchemy.ports import Lease, StateStore
from alchemy.stores import FileStore, MemoryStore, _holding, _leases, _memory, _renewal
from alchemy.stores._clocks import elapsed
from alchemy.stores._memory import Memory
from alchemy.stores._renewal import Renewal
from alchemy.testing.contract import UNIT, a_resource, an_owner

pytestmark = pytest.mark.anyio
Open = Callable[[], StateStore]


@pytest.fixture(params=["file", "memory"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Handles to one place of either kind."""
    memory = Memory()
    return (lambda: FileStore(tmp_path / ".alchemy")) if request.param == "file" else (lambda: MemoryStore(memory))


async def test_a_blocked_loop_keeps_its_lease(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the loop is blocked the lease is renewed all the same, again and again."""
    renewed = threading.Semaphore(0)

    def often(loop: asyncio.AbstractEventLoop, *, ttl: float, renew: Callable[[], object], **more: Any) -> Renewal:
        def told() -> None:
            renew()
            renewed.release()

        return Renewal(loop, ttl=0.02, renew=told, **more)

    for module in (_holding, _memory):
        monkeypatch.setattr(module, "Renewal", often)
    one, two = opened(), opened()
    lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
    for _ in range(3):
        assert renewed.acquire(timeout=30)  # this blocks the loop
    with pytest.raises(LockedError):
        await two.acquire(UNIT, owner=an_owner(), timeout=0)
    (listed,) = await two.locks()
    assert listed.deadline > lease.deadline
    assert one.check(lease)
    await one.set(lease, a_resource(f"{UNIT}/a"))
    await one.release(lease)


async def test_a_loop_that_is_blocked_for_too_long_loses_its_lease(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is not renewed any more: others get the unit, and the holder may neither write nor call a provider."""
    monkeypatch.setattr(_renewal, "LOOP_PATIENCE", 0.2)
    one, two = opened(), opened()
    lease = await one.acquire(UNIT, owner=an_owner(), timeout=0, ttl=0.2)
    with pytest.raises(LeaseLost, match="event loop was blocked"):
        check_until(one, lease, seconds=30)
    taken = await two.acquire(UNIT, owner=an_owner(), timeout=30)
    for attempt in (lambda: one.renew(lease), lambda: one.set(lease, a_resource(f"{UNIT}/a"))):
        with pytest.raises(LeaseLost, match="event loop was blocked"):
            await attempt()
    await two.set(taken, a_resource(f"{UNIT}/b"))
    assert await two.list(UNIT) == ["b"]
    await two.release(taken)
    await one.release(lease)
    assert one.check(await one.acquire(UNIT, owner=an_owner(), timeout=0))  # a new lease is a new beginning
    await one.deinit()


async def test_after_a_pause_a_holder_asks(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once more than a ttl has passed on a clock that counts sleep, it is not sure; renewing tells."""
    store = opened()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    assert store.check(lease)
    later = 61.0
    monkeypatch.setattr(_leases, "elapsed", lambda: elapsed() + later)
    if isinstance(store, MemoryStore):
        store.memory.clock = lambda: elapsed() + later
    assert not store.check(lease)
    assert store.check(await store.renew(lease))
    await store.release(lease)


async def test_memory_that_was_not_renewed_is_free() -> None:
    """A holder in memory whose ttl has passed is no longer in the way, and finds out."""
    now = 0.0
    memory = Memory(clock=lambda: now)
    one, two = MemoryStore(memory), MemoryStore(memory)
    lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
    now = 61.0
    assert list(await two.locks()) == []
    new = await two.acquire("notes", owner=an_owner("destroy"), timeout=0)
    with pytest.raises(LeaseLost, match="destroy has taken notes"):
        one.check(lease)
    await two.release(new)
    await one.release(lease)


def check_until(store: StateStore, lease: Lease, *, seconds: float) -> None:
    """Ask whether a lease is lost, until it is; this blocks the loop."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        store.check(lease)
        time.sleep(0.01)


class Thread:
    """What a `Renewal` reported."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0
        self.given_up: list[str] = []

    def renew(self) -> None:
        """Fail as was said, then succeed."""
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)

    def start(self, loop: asyncio.AbstractEventLoop) -> Renewal:
        """Renew often."""
        return Renewal(loop, ttl=0.02, renew=self.renew, give_up=self.given_up.append, name=UNIT)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what a thread does."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_renewal_that_fails_is_tried_again() -> None:
    """A full disk or a guard that is kept for long costs no lease; having lost it ends the renewal."""
    thread = Thread(OSError("no"), StateError("no"), LockedError("no", unit=UNIT, owner="x"), LeaseLost("gone"))
    renewal = thread.start(asyncio.get_running_loop())
    await until(lambda: not thread.errors)
    await until(lambda: not renewal.is_running)
    assert thread.calls == 4


def test_a_closed_loop_is_renewed_for_no_more() -> None:
    """When the loop is closed without a release, nobody can write any more, and others may have the unit soon."""
    thread = Thread()
    renewals: list[Renewal] = []

    async def begin() -> None:
        renewals.append(thread.start(asyncio.get_running_loop()))

    asyncio.run(begin())
    renewals[0].join(30)
    assert not renewals[0].is_running
    assert thread.given_up == []
