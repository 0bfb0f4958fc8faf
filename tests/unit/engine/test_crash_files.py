"""Killed at any instant with its state in a folder: at every call of the store and of the cloud, and of the disk."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from tests.amounts import amount
from tests.unit.engine.place import UNIT, Place
from tests.unit.engine.test_crash import (
    fixed_name,
    fixed_name_replaced,
    two,
    two_changed,
    two_replaced,
)
from tests.unit.engine.world import Cloud, deploy, nothing

from alchemy.opening import destroy_unit
from alchemy.stores import FileStore
from alchemy.stores._disk import Disk
from alchemy.testing.checks import files
from alchemy.testing.faults import Faults
from alchemy.testing.store import FaultyStore

pytestmark = [pytest.mark.anyio, pytest.mark.torture]
STORIES = {
    "create": (nothing, two),
    "update": (two, two_changed),
    "replace": (two, two_replaced),
    "replace under one name": (fixed_name, fixed_name_replaced),
    "finalize": (two, nothing),
}


class QuickDisk(Disk):
    """Waits for no disk: what a process wrote outlives it, synced or not."""

    def fdatasync(self, fd: int) -> None:
        """Do nothing."""

    def sync_folder(self, path: str) -> None:
        """Do nothing."""

    def sync_all(self, path: str) -> None:
        """Do nothing."""


class MortalDisk(QuickDisk):
    """Stops at one of its calls, half-way through what it was to append; from then on nothing reaches it.

    Args:
        at: which call, 0 the first.
        faults: of the process that dies with it.
    """

    def __init__(self, at: int, faults: Faults) -> None:
        super().__init__()
        self.left = at
        self.faults = faults
        self.dead = False
        self._mutex = threading.Lock()

    def step(self) -> None:
        """Count a call; refuse it in a dead process."""
        with self._mutex:
            self.left -= 1
            if self.left < 0:
                self.dead = self.faults.crashed = True
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    def append(self, fd: int, data: bytes) -> None:
        """Write half of it when the process dies here."""
        was_dead = self.dead
        try:
            self.step()
        except OSError:
            if not was_dead:
                super().append(fd, data[: len(data) // 2])
            raise
        super().append(fd, data)

    def fdatasync(self, fd: int) -> None:
        """Die before or after it is the same here."""
        self.step()

    def truncate(self, fd: int, size: int) -> None:
        """Cut a file, or die."""
        self.step()
        super().truncate(fd, size)

    def replace(self, source: str, target: str) -> None:
        """Rename, or die."""
        self.step()
        super().replace(source, target)

    def link(self, source: str, target: str) -> None:
        """Link, or die."""
        self.step()
        super().link(source, target)

    def mkdir(self, path: str) -> None:
        """Make a folder, or die."""
        self.step()
        super().mkdir(path)

    def unlink(self, path: str) -> None:
        """Remove a file, or die."""
        self.step()
        super().unlink(path)

    def rmdir(self, path: str) -> None:
        """Remove a folder, or die."""
        self.step()
        super().rmdir(path)


class Folder(Place):
    """A folder with state."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def store(self) -> FileStore:
        """Open it on a disk that nobody waits for."""
        return FileStore(self.root, disk=QuickDisk())

    def on(self, disk: Disk, faults: Faults | None = None) -> FaultyStore:
        """Start a process on a disk of its own."""
        return self._started(FileStore(self.root, disk=disk), faults or Faults())

    async def traces(self) -> object:
        """Give every file."""
        return files(self.root)


@pytest.mark.parametrize("story", STORIES)
async def test_killed_at_every_call(cloud: Cloud, tmp_path: Path, story: str) -> None:
    """What is found is an exact prefix of the commits; the next run converges, whatever it is."""
    before, after = STORIES[story]
    for instant in range(400):
        place = Folder(tmp_path / str(instant))
        await deploy(before, place.process())
        store = place.process()
        store.faults.crash(at=instant)
        died = await place.killed(store, deploy(after, store))
        await (place.destroy() if instant % 3 == 2 else place.deploy((after, before)[instant % 3]))
        if not died:
            return
    raise AssertionError("it never came to the end")


async def test_a_destroy_killed_at_every_call(cloud: Cloud, tmp_path: Path) -> None:
    """It is finished by the next destroy, or everything is made anew by the next deploy."""
    for instant in range(400):
        place = Folder(tmp_path / str(instant))
        await deploy(two, place.process())
        store = place.process()
        store.faults.crash(at=instant)
        died = await place.killed(store, destroy_unit(UNIT, state_store=store))
        await (place.deploy(two) if instant % 2 else place.destroy())
        if not died:
            assert instant > 20
            return
    raise AssertionError("it never came to the end")


@pytest.mark.parametrize("story", ["create", "replace", "finalize"])
async def test_killed_at_every_call_of_the_disk(cloud: Cloud, tmp_path: Path, story: str) -> None:
    """In the middle of a group of commits, of a fold, of a backup: what was acknowledged is there, all is whole."""
    before, after = STORIES[story]
    for at in range(600):
        place = Folder(tmp_path / str(at))
        await deploy(before, place.process())
        faults = Faults()
        store = place.on(MortalDisk(at, faults), faults)
        died = await place.killed(store, deploy(after, store))
        await place.deploy(after)
        if not died:
            assert at > 20
            return
    raise AssertionError("it never came to the end")


async def test_killed_again_while_it_recovers(cloud: Cloud, tmp_path: Path) -> None:
    """Two crashes, at every pair of instants: recovery is idempotent."""
    number = 0
    for first in range(2, 400, amount(9, 1)):
        for second in range(first % 2, 400, amount(9, 1)):
            number += 1
            place = Folder(tmp_path / str(number))
            await deploy(two, place.process())
            store = place.process()
            store.faults.crash(at=first)
            if not await place.killed(store, deploy(two_replaced, store)):
                return
            heir = place.process()
            heir.faults.crash(at=second)
            died = await place.killed(heir, deploy(two_replaced, heir))
            await place.deploy(two_replaced)
            if not died:
                break
    raise AssertionError("it never came to the end")
