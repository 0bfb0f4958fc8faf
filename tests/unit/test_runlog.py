"""A run's log is written while the run goes on, in order."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from alchemy import runlog
from alchemy.events import Notice
from alchemy.nursery import Nursery
from alchemy.runlog import RunLog
from alchemy.stores import MemoryStore

pytestmark = pytest.mark.anyio
UNIT = "app/dev"


def said(message: str) -> Notice:
    return Notice(level="info", message=message)


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


async def test_lines_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush waits for the one before it, however slow the store is."""
    store = MemoryStore()
    await store.init()
    nursery = Nursery(lambda: None)
    log = RunLog(store, UNIT, nursery)
    append, begun, go_on = store.append_log, asyncio.Event(), asyncio.Event()

    async def slow(unit: str, name: str, lines: bytes) -> None:
        if not begun.is_set():
            begun.set()
            await go_on.wait()
        await append(unit, name, lines)

    monkeypatch.setattr(store, "append_log", slow)
    log(said("first"))
    nursery.start(log.flush())
    await begun.wait()
    log(said("second"))
    nursery.start(log.flush())
    await asyncio.sleep(0)
    go_on.set()
    await nursery.join()
    raw = await store.read_log(UNIT, log.name)
    assert raw.index(b"first") < raw.index(b"second")
