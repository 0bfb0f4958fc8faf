"""The data plane by itself: what it does with changes that slip past every check before it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from alchemy.local import _toolchain
from alchemy.local._datadir import DataDir
from alchemy.local._metadata import Metadata
from alchemy.local.runtime import plane as module
from alchemy.local.runtime.admin import Admin
from alchemy.local.runtime.plane import DataPlane, Edit, Workers
from alchemy.local.runtime.preflight import ScriptRefused
from alchemy.local.runtime.worker import Module, Worker

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]


def worker(name: str, source: str) -> Worker:
    """Return a Worker of one module."""
    return Worker(
        name,
        tag="0" * 32,
        etag="",
        modules=(Module("index.js", "application/javascript+module", source.encode()),),
        bindings=(),
        compatibility_date="2026-07-01",
        created_on="",
        modified_on="",
    )


def hello(name: str) -> Worker:
    """Return a Worker that answers with its name."""
    return worker(name, f"export default {{ fetch: () => new Response('{name}') }}")


def adding(*workers: Worker) -> Edit:
    """Return a change that adds Workers."""

    async def edit(present: Workers) -> Workers:
        return {**present, **{each.name: each for each in workers}}

    return edit


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[tuple[DataPlane, Metadata]]:
    """Serve what is in a folder."""
    data = DataDir(path)
    data.prepare()
    metadata = Metadata(data.metadata)
    plane = DataPlane(await _toolchain.install(), data, metadata)
    ready = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(plane.serve(ready))
            await ready.wait()
            yield plane, metadata
            serving.cancel()
    finally:
        metadata.close()


async def get(plane: DataPlane, name: str) -> str:
    """Ask a Worker."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        return (await http.get(f"http://127.0.0.1:{plane.workers[name].port}/")).text


async def test_a_change_that_does_not_come_up_is_undone(tmp_path: Path) -> None:
    """It is refused with workerd's words; the others of the same moment come through; the old goes on serving."""
    async with running(tmp_path) as (plane, metadata):
        await plane.change(adding(hello("old")))
        results = await asyncio.gather(
            plane.change(adding(hello("one"))),
            plane.change(adding(worker("bad", "throw new Error('boom')"))),
            plane.change(adding(hello("two"))),
            return_exceptions=True,
        )
        assert isinstance(results[1], ScriptRefused)
        assert "boom" in str(results[1])
        assert [await get(plane, name) for name in ("old", "one", "two")] == ["old", "one", "two"]
        assert (await metadata.workers()).keys() == {"old", "one", "two"}


async def test_what_cannot_be_written_down_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the metadata cannot be written, the caller gets the error and the old goes on serving."""

    async def full(old: Workers, new: Workers) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async with running(tmp_path) as (plane, metadata):
        await plane.change(adding(hello("old")))
        monkeypatch.setattr(metadata, "replace_workers", full)
        with pytest.raises(sqlite3.OperationalError):
            await plane.change(adding(hello("new")))
        assert list(plane.workers) == ["old"]
        assert await get(plane, "old") == "old"


async def test_what_fails_between_two_workerds_fails_alone(tmp_path: Path) -> None:
    """Its error reaches its caller; the others of the same moment come through, and all goes on being served."""

    def failing() -> None:
        raise PermissionError("no")

    async with running(tmp_path) as (plane, metadata):
        await plane.change(adding(hello("old")))
        results = await asyncio.gather(
            plane.change(adding(hello("one"))),
            plane.restart(failing),
            plane.change(adding(hello("two"))),
            return_exceptions=True,
        )
        assert isinstance(results[1], PermissionError)
        assert [await get(plane, name) for name in ("old", "one", "two")] == ["old", "one", "two"]
        assert (await metadata.workers()).keys() == {"old", "one", "two"}


async def test_an_edit_that_fails_changes_nothing(tmp_path: Path) -> None:
    """Its own error reaches the caller, and no reload happens."""

    async def failing(workers: Workers) -> Workers:
        raise LookupError("no")

    async with running(tmp_path) as (plane, _):
        before = plane.workerd_pid
        with pytest.raises(LookupError):
            await plane.change(failing)
        assert plane.workerd_pid == before


async def test_a_caller_that_goes_away_harms_nobody(tmp_path: Path) -> None:
    """A cancelled change is dropped or applied; the next one is served."""
    async with running(tmp_path) as (plane, _):
        async with asyncio.TaskGroup() as group:
            change = group.create_task(plane.change(adding(hello("one"))))
            await asyncio.sleep(0)
            change.cancel()
        await plane.change(adding(hello("two")))
        assert await get(plane, "two") == "two"


async def test_an_endless_request_does_not_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Worker that loops for ever stops workerd from answering; workerd is killed and comes back."""
    monkeypatch.setattr(module, "_PING_EVERY", 0.05)
    monkeypatch.setattr(module, "_PING_SECONDS", 1.0)
    async with running(tmp_path) as (plane, _), Admin(plane) as admin:
        loops = worker("loops", "export default { fetch() { while (true) {} } }")
        await plane.change(adding(hello("fine"), loops))
        with pytest.raises(httpx.TransportError):
            await get(plane, "loops")
        assert await get(plane, "fine") == "fine"
        answer = await admin.ask("GET", "kv", "0" * 32, "/")
        assert answer.json()["keys"] == []


async def test_what_nobody_owns_is_swept(tmp_path: Path) -> None:
    """Data of a resource that the metadata does not know, left by a kill in the middle of a delete, goes at start."""
    async with running(tmp_path) as (plane, _), Admin(plane) as admin:
        await admin.ask("PUT", "kv", "orphan", "/key", content=b"value")
        assert len(list((tmp_path / "storage" / "kv" / "orphan").rglob("*"))) == 2
    assert kept(tmp_path)
    async with running(tmp_path):
        assert not kept(tmp_path)
        assert not (tmp_path / "storage" / "kv" / "orphan").exists()


def kept(path: Path) -> list[str]:
    """Return the storage files of KV namespaces."""
    return [file.name for file in (path / "storage" / "kv").glob("*/*.sqlite") if file.stem != "metadata"]


async def test_a_worker_keeps_its_port(tmp_path: Path) -> None:
    """A Worker has the same port after a restart and after an upload."""
    async with running(tmp_path) as (plane, _):
        await plane.change(adding(hello("one")))
        port = plane.workers["one"].port
        await plane.change(adding(replace(worker("one", "export default {}"), port=port)))
        assert plane.workers["one"].port == port
    async with running(tmp_path) as (plane, _):
        assert plane.workers["one"].port == port
