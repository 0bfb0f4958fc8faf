"""The lock between processes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from alchemy.local._flock import FileLock, is_locked

pytestmark = pytest.mark.anyio


async def test_one_holds_it_at_a_time(tmp_path: Path) -> None:
    """The second waits, says so once, and gets it when the first is done."""
    first, said = FileLock(tmp_path / "lock"), list[str]()
    second = FileLock(tmp_path / "lock", waiting=lambda: said.append("waiting"))
    assert first.try_acquire()
    assert not await second.acquire(seconds=0.05)
    first.release()
    first.release()
    assert await second.acquire(seconds=5)
    assert said == ["waiting"]
    second.release()


async def test_an_inherited_descriptor_holds_it_too(tmp_path: Path) -> None:
    """It is free only when every copy of the descriptor is closed: so a child can hold it beyond its parent."""
    path = tmp_path / "lock"
    lock = FileLock(path)
    assert lock.try_acquire()
    copy = os.dup(lock.fileno())
    lock.release()
    assert is_locked(path)
    os.close(copy)
    assert not is_locked(path)


async def test_asking_makes_no_file(tmp_path: Path) -> None:
    """A lock that nobody ever took is not locked, and stays without a file."""
    assert not is_locked(tmp_path / "lock")
    assert not (tmp_path / "lock").exists()


async def test_a_cancelled_wait_holds_nothing(tmp_path: Path) -> None:
    """Whoever gives up waiting does not get the lock later."""
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.try_acquire()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await second.acquire()
    first.release()
    assert not is_locked(tmp_path / "lock")


async def test_the_file_is_private(tmp_path: Path) -> None:
    """Only its owner can open it; a lock that is not held has no descriptor."""
    lock = FileLock(tmp_path / "lock")
    with pytest.raises(ValueError, match="not locked"):
        lock.fileno()
    async with lock:
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
