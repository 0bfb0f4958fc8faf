"""A run's log is written while the run goes on, in order."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from alchemy import runlog
from alchemy.errors import ConfigurationError, StateError
from alchemy.events import Notice, RunFinished
from alchemy.nursery import Nursery
from alchemy.runlog import RunLog
from alchemy.stores import MemoryStore

pytestmark = pytest.mark.anyio
UNIT = "app/dev"
ENDED = RunFinished(unit=UNIT, phase="up", ok=True, seconds=1.0, counts={})


def said(message: str) -> Notice:
    return Notice(level="info", message=message)


class Slow(MemoryStore):
    """Writes the first lines of a log when it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def append_log(self, unit: str, name: str, lines: bytes) -> None:
        self.begun.set()
        await self.go_on.wait()
        await super().append_log(unit, name, lines)


async def half_written() -> tuple[Slow, Nursery, RunLog]:
    """Begin a log of which the first line is being written, and the second is not yet."""
    store, nursery = Slow(), Nursery(lambda: None)
    await store.init()
    log = RunLog(store, UNIT, nursery)
    log(said("first"))
    nursery.start(log.flush())
    await store.begun.wait()
    log(said("second"))
    return store, nursery, log


async def test_an_event_is_written_though_none_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one slow call runs nothing else happens, and a kill in the middle must not leave an empty log."""
    monkeypatch.setattr(runlog, "FLUSH_SECONDS", 0.001)
    store = MemoryStore()
    await store.init()
    log = RunLog(store, UNIT, Nursery(lambda: None))
    for message in ("one", "two"):
        log(said(message))
        with anyio.fail_after(30):
            while log.name not in await store.logs(UNIT) or message.encode() not in await store.read_log(
                UNIT, log.name
            ):
                await asyncio.sleep(0.001)


async def test_runs_of_the_same_millisecond_have_a_log_each() -> None:
    """However quick a run is, the next one's log has another name, which sorts behind."""
    names = [RunLog(MemoryStore(), UNIT, Nursery(lambda: None)).name for _ in range(50)]
    assert names == sorted(set(names))


async def test_lines_keep_their_order() -> None:
    """A flush waits for the one before it, however slow the store is."""
    store, nursery, log = await half_written()
    nursery.start(log.flush())
    await asyncio.sleep(0)
    store.go_on.set()
    await nursery.join()
    raw = await store.read_log(UNIT, log.name)
    assert raw.index(b"first") < raw.index(b"second")


async def test_the_last_lines_are_handed_over() -> None:
    """What is being written is waited for, what is not written yet is given, and what comes later is no part of it."""
    store, nursery, log = await half_written()
    waiting = asyncio.create_task(log.written())
    await asyncio.sleep(0)
    assert not waiting.done()
    store.go_on.set()
    await waiting
    lines = log.finish(ENDED)
    assert b"first" in await store.read_log(UNIT, log.name)
    assert [b"second" in line or b"run.finished" in line for line in lines.splitlines()] == [True, True]
    log(said("late"))
    assert log.finish(ENDED) == b""
    await log.correct(ENDED)
    raw = await store.read_log(UNIT, log.name)
    assert (raw.count(b"first"), raw.count(b"run.finished"), raw.count(b"late")) == (1, 1, 0)
    await nursery.join()


@pytest.mark.parametrize("error", [StateError, ConfigurationError, PermissionError])
async def test_a_log_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    """It is given up, whatever the reason, and nobody hears of it: it is asked for once."""
    store, asked = MemoryStore(), list[str]()

    async def no(unit: str, name: str, lines: bytes) -> None:
        asked.append(name)
        raise error("the place refuses logs")

    monkeypatch.setattr(store, "append_log", no)
    nursery = Nursery(lambda: None)
    log = RunLog(store, UNIT, nursery)
    for _ in range(2):
        log(said("first"))
        await nursery.start(log.flush())
    assert asked == [log.name]
    assert log.finish(ENDED) == b""
