"""Seed 003's recommended solution: schema versions, checked by every object at its start and before every operation."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
from pathlib import Path

import httpx
import pytest
from tests.integration.service.clients import TOKEN, Client, Open
from tests.integration.service.releases import MIGRATED, Traffic, migrations, newer, standing
from tests.ports import kept_port

from alchemy.errors import ConfigurationError
from alchemy.local import LocalCloudflareError
from alchemy.stores import CloudflareStateStore, service
from alchemy.testing.contract import UNIT, a_resource, an_owner

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]


async def fill(client: Client, count: int = 20) -> dict[str, str]:
    """Write a unit under a lease, give it back, and give what was written."""
    lease = await client.take("notes/prod", "n")
    rows = {f"notes/prod/{number}": f'{{"id":"{number}"}}' for number in range(count)}
    await client.commit(lease, 1, rows)
    await client("release", lease)
    return rows


async def test_newer_code_under_traffic(tmp_path: Path, open_service: Open) -> None:
    """An object with data of version 1 and requests all the time is migrated by a newer Worker, and nobody fails."""
    port = kept_port()
    async with asyncio.TaskGroup() as group:
        async with open_service(tmp_path, port=port) as client:
            rows = await fill(client)
            traffic = Traffic(client.service.url, rows)
            task = group.create_task(traffic())
            await traffic.more()
        async with open_service(tmp_path, port=port, source=newer()) as client:
            await traffic.more()
            assert (await client("version", chain=""))["schema"] == 3
        task.cancel()
    assert traffic.wrong == []
    assert migrations(tmp_path) == [MIGRATED]


async def test_an_object_that_never_went_idle(tmp_path: Path, open_service: Open) -> None:
    """An object whose storage is found to be older in the middle of its life is migrated before the next operation."""
    # What makes it older here: version 3 of the code takes its own last migration back, while the object lives.
    undo = """async undo() { this.run("DROP TABLE extra"); this.run("DELETE FROM migrations WHERE version = 3");
      this.run("UPDATE schema_version SET version = 2"); }\n  async evict() {"""
    source = newer().replace("async evict() {", undo).replace(".evict().catch", ".undo().catch")
    async with open_service(tmp_path, source=source) as client:
        rows = await fill(client)
        for _ in range(3):
            await client.evict()  # which only takes it back
            assert await client.load() == rows
    assert migrations(tmp_path)[0] == MIGRATED


@pytest.mark.parametrize("at", range(8))
async def test_killed_in_a_migration(tmp_path: Path, open_service: Open, at: int) -> None:
    """Killed between any two steps of two migrations, none of them has happened; the next start makes both."""
    async with open_service(tmp_path) as client:
        rows = await fill(client)
    await killed(tmp_path, open_service, standing(newer(), at))
    assert migrations(tmp_path) == [MIGRATED[:1]]
    async with open_service(tmp_path, source=newer()) as client:
        assert await client.load() == rows
    assert migrations(tmp_path) == [MIGRATED]


@pytest.mark.parametrize("at", [0, 1, 5, 10])
async def test_killed_in_the_first_migration(tmp_path: Path, open_service: Open, at: int) -> None:
    """Killed while its tables are made, an object has none of them; the next start makes them."""
    await killed(tmp_path, open_service, standing(service.source(), at))
    for file in (tmp_path / "objects").glob("*/*.sqlite"):
        with contextlib.closing(sqlite3.connect(file)) as connection:
            assert connection.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE '_cf%'").fetchall() == []
    async with open_service(tmp_path) as client:
        rows = await fill(client)
        assert await client.load() == rows
    assert migrations(tmp_path) == [MIGRATED[:1]]


async def killed(data: Path, open_service: Open, source: str) -> None:
    """Have an object migrate its data until it stands, and kill workerd there."""
    log = data / "workerd.log"
    async with open_service(data, source=source) as client, asyncio.TaskGroup() as group:
        group.create_task(unanswered(client))
        while "stands before a step" not in log.read_text():
            await asyncio.sleep(0.01)
        await client.kill()


async def unanswered(client: Client) -> None:
    """Ask for what is not answered, because workerd is killed meanwhile."""
    with pytest.raises(httpx.TransportError):
        await client.load()


async def test_data_newer_than_the_code(tmp_path: Path, open_service: Open) -> None:
    """Data of a newer version is refused with a clear error, and not touched; the newer code finds it all."""
    async with open_service(tmp_path, source=newer()) as client:
        rows = await fill(client)
    async with open_service(tmp_path) as client:
        for method, params in (("load", [0]), ("set", ["a", {"id": "a"}]), ("clearScope", [])):
            refused = await client.refused(method, *params)
            assert (refused["status"], refused["code"]) == (409, "newer_data")
            assert "schema 3" in refused["error"]
    assert migrations(tmp_path)[0] == MIGRATED
    async with open_service(tmp_path, source=newer()) as client:
        assert await client.load() == rows


async def test_evicted_between_any_two_requests(tmp_path: Path, open_service: Open) -> None:
    """Nothing depends on memory: a whole run goes on when the object is evicted after each of its requests."""
    async with open_service(tmp_path) as client:
        lease = await client.take("notes/prod", "n")
        for number in range(1, 6):
            await client.evict()
            await client.commit(lease, number, {f"notes/prod/{number}": "{}"})
            await client.evict()
            await client("renew", lease, 60)
            await client.evict()
            await client("append", "run", {f"{number}": "line"})
        await client.evict()
        assert len(await client.load()) == 5
        await client.evict()
        await client("release", lease)
        await client.evict()
        assert (await client.take("notes/prod", "m"))["token"] > lease["token"]


async def test_a_run_whose_object_never_stays(tmp_path: Path, open_service: Open) -> None:
    """All that a store asks is answered as ever when the object is evicted before each single request."""
    perform = "return objectOf(env, chain[0] ?? INDEX).perform("
    assert service.source().count(perform) == 1
    evict = 'console.error("evicts"); await objectOf(env, chain[0] ?? INDEX).evict().catch(() => {});'
    async with open_service(tmp_path, source=service.source().replace(perform, f"{evict} {perform}")) as client:
        store = CloudflareStateStore(client.service.url, state_token=TOKEN)
        await store.init()
        tokens = []
        for round_ in range(3):
            lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
            tokens.append(lease.token)
            assert len((await store.load(UNIT, lease=lease)).records) == round_
            await store.save_backup(lease, f"state-2026-11-21T09-00-0{round_}-000Z.json", b"{}")
            await store.set(lease, a_resource(f"{UNIT}/r{round_}"))
            await store.append_log(UNIT, "run.ndjson", b"{}\n")
            await store.renew(lease)
            await store.release(lease)
        assert tokens == sorted(set(tokens))
        assert len(await store.backups(UNIT)) == 3
        assert await store.read_log(UNIT, "run.ndjson") == b"{}\n" * 3
        await store.deinit()
    assert (tmp_path / "workerd.log").read_text().count("evicts") > 10


@pytest.mark.parametrize("debug", [False, True])
async def test_evict_is_off_by_default(tmp_path: Path, open_service: Open, debug: bool) -> None:
    """Without `debug` there is no such path; with it, it needs the token like everything else."""
    async with open_service(tmp_path, debug=debug) as client:
        assert (await client.post("", path="/debug/evict")).status_code == (200 if debug else 404)
        answer = await client.http.post("/debug/evict", headers={"Authorization": "Bearer other"})
        assert answer.status_code == 401


async def test_nothing_acknowledged_is_lost(tmp_path: Path, open_service: Open) -> None:
    """Killed three times in the middle of commits, every acknowledged one is there."""
    acknowledged: dict[str, str] = {}
    async with open_service(tmp_path) as client:
        lease = await client.take("notes/prod", "n", ttl=600)

        async def write() -> None:
            for number in range(1, 10_000):
                row = {f"notes/prod/{number}": f"{number}"}
                while True:  # asked again until it is answered, as the client does
                    try:
                        await client.commit(lease, number, row)
                        break
                    except httpx.TransportError:
                        await asyncio.sleep(0.01)
                acknowledged.update(row)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(write())
            for _ in range(3):
                before = len(acknowledged)
                while len(acknowledged) < before + 20:
                    await asyncio.sleep(0.005)
                await client.kill()
            task.cancel()
        found = await client.load()
        assert len(acknowledged) >= 60
        assert acknowledged.items() <= found.items()
        assert len(found) - len(acknowledged) <= 1


async def test_what_keeps_workerd_from_starting_passes(
    tmp_path: Path, open_service: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder that cannot be written to for a while, as on a full disk, does not end the service."""
    async with open_service(tmp_path) as client:
        rows = await fill(client)
        run, pid = tmp_path / "run", client.service.workerd_pid
        assert pid is not None
        run.rename(tmp_path / "aside")
        run.touch()
        os.kill(pid, signal.SIGKILL)
        while "does not start" not in caplog.text:
            await asyncio.sleep(0.01)
        run.unlink()
        (tmp_path / "aside").rename(run)
        while client.service.workerd_pid is None:
            await asyncio.sleep(0.01)
        assert await client.load() == rows


async def test_one_server_a_folder(tmp_path: Path, open_service: Open) -> None:
    """A folder that is being served is refused to a second server, and so is a token that cannot be sent."""
    async with open_service(tmp_path):
        with pytest.RaisesGroup(pytest.RaisesExc(LocalCloudflareError, match="served already")):
            async with open_service(tmp_path):
                pass
    for token in ("", "two words", "ü"):
        with pytest.RaisesGroup(pytest.RaisesExc(ConfigurationError, match="token")):
            async with open_service(tmp_path / "other", token=token):
                pass
    assert not (tmp_path / "other").exists()
