"""A cloud that answers badly, a disk that is slow or refuses, readers in the middle: no run is led astray by them."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine import world
from tests.unit.engine.place import UNIT
from tests.unit.engine.test_crash import fixed_name, fixed_name_replaced, two, two_changed, two_replaced
from tests.unit.engine.test_crash_files import Folder, QuickDisk
from tests.unit.engine.world import Cloud, Program, Store, Thing, deploy, nothing

from alchemy.errors import AlchemyError
from alchemy.state import encode
from alchemy.stores import FileStore
from alchemy.testing.checks import check_converged, check_idle, check_order, check_owned
from alchemy.testing.faults import Faults, busy, lost, refused

pytestmark = pytest.mark.anyio
STORIES = {
    "create": (nothing, two),
    "update": (two, two_changed),
    "replace": (two, two_replaced),
    "replace under one name": (fixed_name, fixed_name_replaced),
    "finalize": (two, nothing),
}


def plan(faults: Faults, quirk: str, nth: int) -> None:
    """Let the n-th call of the cloud go wrong."""
    match quirk:
        case "refused":
            faults.fail("cloud.*", refused(), nth=nth)
        case "busy":
            faults.fail("cloud.*", busy(), nth=nth, times=2)
        case "lost":
            faults.fail("cloud.*", lost(), nth=nth)
        case "made and lost":
            faults.fail("cloud.*", lost(retryable=True), nth=nth, after=True)
        case "twice":
            faults.duplicate("cloud.*", nth=nth)
        case "delayed":
            faults.delay("cloud.*", 0.001, nth=nth, after=True)
        case _:
            faults.postpone("cloud.*", lost(retryable=True), nth=nth, calls=1)


@pytest.mark.parametrize("quirk", ["refused", "busy", "lost", "made and lost", "twice", "delayed", "late"])
@pytest.mark.parametrize("story", STORIES)
async def test_every_call_answered_badly(cloud: Cloud, story: str, quirk: str) -> None:
    """Refused, lost before or after its effect, repeated, delayed, late: the next run has each object once."""
    before, after = STORIES[story]
    for nth in range(1, 60):
        world.reset()
        store = Store()
        await deploy(before, store)
        cloud.forget()
        plan(cloud.faults, quirk, nth)
        await _tried(after, store)
        met = len(cloud.calls) >= nth
        check_owned(cloud, store.memory.records(""))
        await deploy(after, store)
        check_converged(cloud, store.memory.records(""))
        check_order(cloud)
        cloud.forget()
        again = Store(store.memory)
        again.faults.calls.clear()
        await deploy(after, again)
        if after is not nothing:
            check_idle(cloud, again)
        if not met:
            assert nth > 2
            return
    raise AssertionError("it never came to the end")


async def _tried(program: Program, store: Any) -> None:
    """Run a program that may fail."""
    try:
        await deploy(program, store)
    except* AlchemyError:
        pass


async def test_no_call_before_its_intent_is_durable(cloud: Cloud, store: Store) -> None:
    """However slow the disk is: the provider is not called before the store has acknowledged what it will do."""
    for status, program in (("creating", two), ("updating", two_changed), ("deleting", nothing)):
        cloud.forget()
        store.writes.clear()
        gate = store.faults.hold("store.set *")
        running = asyncio.ensure_future(deploy(program, store))
        await asyncio.wait_for(gate.entered.wait(), 60)
        for _ in range(50):
            await asyncio.sleep(0)
        assert any(write.startswith(status) for write in store.writes)
        assert cloud.changes() == []
        gate.open()
        await running
        store.faults.clear()


class RefusingDisk(QuickDisk):
    """Refuses to sync, from one of its calls on, as a disk that has failed does."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def fdatasync(self, fd: int) -> None:
        """Refuse, or do nothing."""
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


async def test_a_disk_that_fails_ends_the_run(cloud: Cloud, tmp_path: Path) -> None:
    """At whatever sync: a clear error, no call without an intent that is durable, and the next run converges."""
    for after in range(60):
        place = Folder(tmp_path / str(after))
        await deploy(two, place.process())
        failed: list[str] = []
        try:
            await deploy(two_replaced, place.on(RefusingDisk(after)))
        except* AlchemyError as group:
            failed += [str(error) for error in _leaves(group)]
        assert not failed or any("cannot" in message for message in failed), failed
        check_owned(cloud, await place.records())
        await place.deploy(two_replaced)
        if not failed:
            assert after > 2
            return
    raise AssertionError("it never came to the end")


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in _leaves(one)]
    return [error]


async def test_readers_of_a_live_run_miss_nothing(cloud: Cloud, tmp_path: Path) -> None:
    """While a run writes and folds, whoever reads finds a prefix of its commits with all that was acknowledged."""
    place = Folder(tmp_path)

    async def many(_app: Any) -> None:
        for n in range(40):
            await Thing(f"t{n}")

    store = place.process()
    running = asyncio.ensure_future(deploy(many, store))
    reader = FileStore(tmp_path, disk=QuickDisk())
    seen: set[int] = set()
    while not running.done():
        history = store.histories.get(UNIT)
        least = history.acknowledged if history is not None else 0
        found = {fqn: encode(record) for fqn, record in (await reader.all(UNIT)).items()}
        history = store.histories.get(UNIT)
        if history is None:
            assert found == {}
            continue
        states = [history.after(count) for count in range(least, len(history.commits) + 1)]
        assert found in states
        seen.add(len(found))
    await running
    await reader.deinit()
    assert len(seen) > 3
