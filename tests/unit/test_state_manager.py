"""State and locks by hand, over both stores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import alchemy as package
from alchemy import StateManager, alchemy
from alchemy.errors import ConfigurationError, DeclarationError, LeaseLost, LockedError, StateError
from alchemy.ports import Lease, StateStore
from alchemy.secret import Secret
from alchemy.state import Record
from alchemy.stores import FileStore, MemoryStore
from alchemy.stores._memory import Memory
from alchemy.testing.contract import UNIT, a_resource, an_owner

pytestmark = pytest.mark.anyio
Open = Callable[[], StateStore]
DATABASE = f"{UNIT}/database"


@pytest.fixture(params=["file", "memory"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Handles to one place of either kind."""
    memory = Memory()
    return (lambda: FileStore(tmp_path / ".alchemy")) if request.param == "file" else (lambda: MemoryStore(memory))


def managed(store: StateStore, monkeypatch: pytest.MonkeyPatch, milliseconds: int = 20) -> StateManager:
    """Manage a store, with little patience."""
    monkeypatch.setenv("ALCHEMY_LOCK_TIMEOUT", str(milliseconds))
    return StateManager(store)


@pytest.mark.parametrize("path", [UNIT, DATABASE, "notes/test/t1", f"{DATABASE}/tables"])
async def test_saved_data_is_what_a_scope_keeps(opened: Open, path: str) -> None:
    """A mapping becomes the scope's data, whole, and its record is made; the lock is given back."""
    async with StateManager(opened()) as manager:
        await manager.save_state(path, {"by": "ci", "at": 1})
        await manager.save_state(path, {"by": "me", "list": (1, 2)})
        record = await manager.store.get(path)
        assert record is not None
        assert record.is_scope
        assert (record.data, record.rev, record.id) == ({"by": "me", "list": [1, 2]}, 2, path.rpartition("/")[2])
        assert list(await manager.store.locks()) == []


async def test_a_program_finds_what_was_saved(opened: Open) -> None:
    """What was saved by hand is what the program's scope gets, and the other way round."""
    async with StateManager(opened()) as manager:
        await manager.save_state(UNIT, {"by": "ci"})
    async with alchemy("notes", stage="prod", state_store=opened()) as app:
        assert await app.get("by") == "ci"
        await app.set("seen", True)
    async with StateManager(opened()) as manager:
        record = await manager.store.get(UNIT)
        assert record is not None
        assert record.data == {"by": "ci", "seen": True}


async def test_records_are_saved_together(opened: Open) -> None:
    """They are written as they are, in one commit; what the caller holds is not changed."""
    record = a_resource(f"{DATABASE}/main", rev=4)
    async with StateManager(opened()) as manager:
        await manager.save_state(UNIT, [record, a_resource(f"{UNIT}/api")])
        await manager.save_state(UNIT, [])
        assert await manager.get_resources(UNIT) == ["api"]
        assert await manager.get_resources(DATABASE) == ["main"]
        assert await manager.get_resources("notes") == []
        stored = await manager.store.get(record.fqn)
        assert stored is not None
        assert (stored.rev, record.rev) == (5, 4)
        assert stored.fence > 0


@pytest.mark.parametrize(
    ("path", "state", "error", "words"),
    [
        ("notes", {"a": 1}, StateError, "is an application"),
        ("notes//x", {"a": 1}, StateError, "not a chain"),
        (f"{UNIT}/api", {"a": 1}, StateError, "is a resource"),
        (DATABASE, [a_resource(f"{UNIT}/x")], StateError, "does not lie in"),
        ("notes", [a_resource(f"{UNIT}/x"), a_resource("notes/dev/x")], StateError, "one commit"),
        (UNIT, {"password": Secret("x")}, DeclarationError, "secret"),
        (UNIT, {"file": object()}, DeclarationError, "object"),
        (UNIT, {1: "one"}, DeclarationError, "cannot be a key"),
    ],
)
async def test_what_cannot_be_saved(opened: Open, path: str, state: Any, error: type[Exception], words: str) -> None:
    """It is an error that names it, nothing is written, and the lock is given back."""
    store = opened()
    async with StateManager(store) as manager:
        await manager.save_state(UNIT, [a_resource(f"{UNIT}/api")])
        with pytest.raises(error, match=words):
            await manager.save_state(path, state)
        assert set(await store.all("")) == {f"{UNIT}/api"}
        assert list(await store.locks()) == []


async def test_locks_exclude_others(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """One manager's lock keeps others, and deploys, from the path and what lies around it, until it is released."""
    one, two = managed(opened(), monkeypatch), managed(opened(), monkeypatch)
    assert await one.acquire_lock(UNIT, 0)
    for path in (UNIT, "notes", DATABASE):
        assert not await two.acquire_lock(path, 1)
    assert not await two.acquire_lock(UNIT)
    assert not await one.acquire_lock(UNIT, 0)
    assert await two.acquire_lock("notes/dev", 0)
    with pytest.raises(LockedError, match="manage"):
        await two.save_state(DATABASE, {})
    with pytest.raises(LockedError, match=r"waited 0\.01 s"):
        async with alchemy("notes", stage="prod", state_store=opened(), lock_timeout=0.01):
            pytest.fail("entered")
    assert await one.release_lock(UNIT)
    assert not await one.release_lock(UNIT)
    assert await two.acquire_lock(UNIT, 0)
    await one.close()
    await two.close()
    assert list(await opened().locks()) == []


async def test_the_timeout_is_in_milliseconds(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like that of `ALCHEMY_LOCK_TIMEOUT`; one that is no time is refused."""
    waited: list[float] = []
    store = opened()
    acquire = store.acquire

    async def listen(chain: str, *, owner: Any, timeout: float, ttl: float = 60.0) -> Lease:
        waited.append(timeout)
        return await acquire(chain, owner=owner, timeout=timeout, ttl=ttl)

    monkeypatch.setattr(store, "acquire", listen)
    async with managed(store, monkeypatch, milliseconds=1500) as manager:
        await manager.acquire_lock(UNIT, 30_000)
        await manager.acquire_lock("notes/dev")
        assert waited == [30.0, 1.5]
        for wrong in (-1, float("inf"), float("nan")):
            with pytest.raises(ConfigurationError, match="timeout"):
                await manager.acquire_lock("notes/x", wrong)


@pytest.mark.parametrize("held", ["notes", UNIT, DATABASE])
async def test_saving_within_a_lock(opened: Open, held: str) -> None:
    """Under a lock on the path, or above it, nothing else is taken, and the lock is still held afterwards."""
    async with StateManager(opened()) as manager:
        assert await manager.acquire_lock(held, 0)
        await manager.save_state(DATABASE, {"a": 1})
        await manager.save_state(DATABASE, [a_resource(f"{DATABASE}/x")])
        assert [lease.unit for lease in await manager.store.locks()] == [held]
        assert await manager.release_lock(held)
    assert set(await opened().all(UNIT)) == {DATABASE, f"{DATABASE}/x"}


async def test_a_lock_that_was_taken_away(opened: Open) -> None:
    """Saving under it says who took it, writes nothing, and releasing it says that it was not held any more."""
    store = opened()
    async with StateManager(opened()) as manager:
        assert await manager.acquire_lock(UNIT, 0)
        await store.break_(UNIT)
        lease = await store.acquire(UNIT, owner=an_owner("destroy"), timeout=0)
        with pytest.raises(LeaseLost, match="tester@here"):
            await manager.save_state(UNIT, {"a": 1})
        assert not await manager.release_lock(UNIT)
        assert await manager.acquire_lock("notes/dev", 0)
        await store.break_("notes/dev")
        assert not await manager.release_lock("notes/dev")
    await store.release(lease)
    assert await store.all("notes") == {}


class Slow(MemoryStore):
    """A store whose writes take until they are let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()

    async def get(self, fqn: str) -> Record | None:
        """Take for ever."""
        self.begun.set()
        await asyncio.Event().wait()
        return None


async def test_a_cancelled_save_gives_its_lock_back() -> None:
    """Also when it is cut off in the middle."""
    store = Slow()
    manager = StateManager(store)
    task = asyncio.ensure_future(manager.save_state(UNIT, {"a": 1}))
    await store.begun.wait()
    assert len(await store.locks()) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(await store.locks()) == []


async def test_a_body_that_fails_gives_its_locks_back(opened: Open) -> None:
    """Leaving the `async with` releases what is held; a store that was given stays open."""
    store = opened()

    async def fail() -> None:
        async with StateManager(store) as manager:
            assert await manager.acquire_lock("notes", 0)
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await fail()
    assert list(await store.locks()) == []


async def test_where_it_works_when_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's store, a URL, a folder, or `.alchemy` in the current folder."""
    monkeypatch.chdir(tmp_path)
    assert StateManager().store.url == f"file://{tmp_path}/.alchemy"
    assert StateManager(tmp_path / "kept").store.url == f"file://{tmp_path}/kept"
    assert StateManager("memory:here").store.url == "memory:here"
    monkeypatch.setenv("ALCHEMY_STATE_STORE", f"file://{tmp_path}/other")
    manager = StateManager()
    assert manager.store.url == f"file://{tmp_path}/other"
    await manager.save_state(UNIT, {"a": 1})
    await manager.close()
    await manager.close()
    assert await FileStore(tmp_path / "other").get(UNIT) is not None


def test_it_is_public() -> None:
    """It can be imported from the package."""
    assert "StateManager" in package.__all__
