"""Seed 003's recommended solution: schema versions, checked by every object at its start and before every operation."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.service.clients import TOKEN, Client, Open

from alchemy.errors import ConfigurationError
from alchemy.local import LocalCloudflareError
from alchemy.stores import service

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]

_FIRST = '{ description: "one more column", steps: ["ALTER TABLE records ADD COLUMN note TEXT", %s"SELECT 1"] },'
_SECOND = (
    '{ description: "one more table", steps: ["CREATE TABLE extra (note TEXT)", %s"INSERT INTO extra VALUES (1)"] },'
)
ENDLESS = '"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1e12) SELECT count(*) FROM n", '


def newer(first: str = "", second: str = "") -> str:
    """Give the service's module with two more migrations, each with a step put into it."""
    source = service.source()
    end = "\n];\nconst SCHEMA"
    assert source.count(end) == 1
    # Named columns, as a release that adds one would have it.
    source = source.replace(
        "INSERT INTO records VALUES", "INSERT INTO records (scope, id, part, unit, origin, text) VALUES"
    )
    return source.replace(end, f"\n  {_FIRST % first}\n  {_SECOND % second}{end}")


async def fill(client: Client, count: int = 20) -> dict[str, str]:
    """Write a unit under a lease, give it back, and give what was written."""
    lease = await client.take("notes/prod", "n")
    rows = {f"notes/prod/{number}": f'{{"id":"{number}"}}' for number in range(count)}
    await client.commit(lease, 1, rows)
    await client("release", lease, [])
    return rows


def migrations(data: Path) -> list[list[tuple[Any, ...]]]:
    """Give each object's table of migrations, of a service that is not running."""
    found = []
    for file in [file for file in (data / "objects").glob("*/*.sqlite") if count_rows(file)]:
        with contextlib.closing(sqlite3.connect(file)) as connection:
            version = connection.execute("SELECT version FROM schema_version").fetchall()
            rows = connection.execute("SELECT version, description FROM migrations ORDER BY version").fetchall()
            assert version == [(len(rows),)]
            found.append(rows)
    return found


MIGRATED = [(1, "records, locks, blobs"), (2, "one more column"), (3, "one more table")]


class Traffic:
    """Reads a unit all the time, over reloads."""

    def __init__(self, client: Client, rows: dict[str, str]) -> None:
        self.url = client.service.url
        self.rows = rows
        self.answered = 0
        self.wrong: list[str] = []

    async def __call__(self) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        body = {"method": "load", "params": [0], "context": {"chain": ["notes", "prod"]}}
        async with httpx.AsyncClient(headers=headers, trust_env=False) as http:
            while True:
                try:
                    answer = await http.post(self.url, json=body)
                except httpx.TransportError:  # the reload
                    await asyncio.sleep(0.01)
                    continue
                found = {row[0]: row[1] for row in answer.json().get("result", {}).get("rows", [])}
                if answer.status_code != 200 or found != self.rows:
                    self.wrong.append(answer.text)
                self.answered += 1

    async def more(self, count: int = 20) -> None:
        """Return when so many more were answered."""
        end = self.answered + count
        while self.answered < end:
            await asyncio.sleep(0.01)


async def test_newer_code_under_traffic(tmp_path: Path, open_service: Open) -> None:
    """An object with data of version 1 and requests all the time is migrated by a newer Worker, and nobody fails."""
    async with asyncio.TaskGroup() as group:
        async with open_service(tmp_path) as client:
            rows = await fill(client)
            traffic = Traffic(client, rows)
            task = group.create_task(traffic())
            await traffic.more()
        async with open_service(tmp_path, port=client.service.port, source=newer()) as client:
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


@pytest.mark.parametrize(("first", "second"), [(ENDLESS, ""), ("", ENDLESS)])
async def test_killed_in_a_migration(tmp_path: Path, open_service: Open, first: str, second: str) -> None:
    """Killed between two steps, of the first or a later migration, none has happened; the next start makes them."""
    async with open_service(tmp_path) as client:
        rows = await fill(client)
    async with open_service(tmp_path, source=newer(first, second)) as client, asyncio.TaskGroup() as group:
        group.create_task(unanswered(client))
        await begun(tmp_path)
        await client.kill()
    assert migrations(tmp_path) == [MIGRATED[:1]]
    async with open_service(tmp_path, source=newer()) as client:
        assert await client.load() == rows
    assert migrations(tmp_path) == [MIGRATED]


async def unanswered(client: Client) -> None:
    """Ask for what is not answered, because workerd is killed meanwhile."""
    with pytest.raises(httpx.TransportError):
        await client.load()


async def begun(data: Path) -> None:
    """Return when somebody is writing in the only object that has records."""
    (file,) = [file for file in (data / "objects").glob("*/*.sqlite") if count_rows(file)]
    while True:
        with contextlib.closing(sqlite3.connect(file, timeout=0)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return
        await asyncio.sleep(0.01)


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
        await client("release", lease, [])
        await client.evict()
        assert (await client.take("notes/prod", "m"))["token"] > lease["token"]


async def test_evict_is_off_by_default(tmp_path: Path, open_service: Open) -> None:
    """Without `debug` there is no such path; with it, it needs the token like everything else."""
    async with open_service(tmp_path, debug=False) as client:
        assert (await client.post("", path="/debug/evict")).status_code == 404
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


def count_rows(file: Path) -> int:
    """Say how many records an object's database has."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM records").fetchone()[0])
        except sqlite3.OperationalError:
            return 0
