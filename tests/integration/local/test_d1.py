"""D1 through the official SDK, from creation to deletion."""

from __future__ import annotations

import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

import cloudflare
import pytest
from cloudflare import AsyncCloudflare
from cloudflare.types.d1 import D1

from alchemy.local import LocalCloudflare

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]


@pytest.fixture
async def database(client: AsyncCloudflare, cloud: LocalCloudflare) -> D1:
    """A database of its own for a test."""
    return await client.d1.database.create(account_id=cloud.account_id, name=f"db-{uuid.uuid4()}")


async def rows(client: AsyncCloudflare, cloud: LocalCloudflare, database: D1, sql: str, *params: str) -> list[object]:
    """Run one text of SQL and return the rows of each statement."""
    assert database.uuid
    answers = client.d1.database.query(database.uuid, account_id=cloud.account_id, sql=sql, params=list(params))
    return [answer.results async for answer in answers]


async def test_a_database_is_created_found_and_deleted(client: AsyncCloudflare, cloud: LocalCloudflare) -> None:
    """Create, find by name, read and delete; a deleted database answers 7404."""
    made = await client.d1.database.create(account_id=cloud.account_id, name="whole-life")
    assert made.uuid
    found = [each async for each in client.d1.database.list(account_id=cloud.account_id, name="whole-life")]
    assert [each.uuid for each in found] == [made.uuid]
    read = await client.d1.database.get(made.uuid, account_id=cloud.account_id)
    assert (read.name, read.num_tables) == ("whole-life", 0)
    await client.d1.database.delete(made.uuid, account_id=cloud.account_id)
    with pytest.raises(cloudflare.NotFoundError) as gone:
        await client.d1.database.get(made.uuid, account_id=cloud.account_id)
    assert gone.value.errors[0].code == 7404


async def test_a_name_is_taken_once(client: AsyncCloudflare, cloud: LocalCloudflare, database: D1) -> None:
    """A second database of the same name is refused with 7502."""
    assert database.name
    with pytest.raises(cloudflare.BadRequestError) as taken:
        await client.d1.database.create(account_id=cloud.account_id, name=database.name)
    assert taken.value.errors[0].code == 7502


async def test_every_statement_of_a_text_is_run(client: AsyncCloudflare, cloud: LocalCloudflare, database: D1) -> None:
    """Several statements give one result each, with semicolons in strings, comments and a trigger's body."""
    sql = """
        CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT, seen INTEGER DEFAULT 0); -- one; two
        CREATE TRIGGER mark AFTER INSERT ON note BEGIN
            UPDATE note SET seen = 1 WHERE id = NEW.id; UPDATE note SET seen = seen + 1 WHERE id = NEW.id;
        END;
        INSERT INTO note (text) VALUES ('a;b');
        SELECT text, seen FROM note;
    """
    assert await rows(client, cloud, database, sql) == [[], [], [], [{"text": "a;b", "seen": 2}]]


async def test_parameters_reach_the_statement(client: AsyncCloudflare, cloud: LocalCloudflare, database: D1) -> None:
    """Parameters are bound, and the raw form gives columns and rows."""
    await rows(client, cloud, database, "CREATE TABLE t (a TEXT, b TEXT)")
    await rows(client, cloud, database, "INSERT INTO t VALUES (?, ?)", "x", "y'; --")
    assert database.uuid
    raw = client.d1.database.raw(
        database.uuid, account_id=cloud.account_id, sql="SELECT * FROM t WHERE a = ?", params=["x"]
    )
    results = [answer.results async for answer in raw]
    assert results[0] is not None
    assert (results[0].columns, results[0].rows) == (["a", "b"], [["x", "y'; --"]])


async def test_a_batch_is_one_transaction(client: AsyncCloudflare, cloud: LocalCloudflare, database: D1) -> None:
    """When a statement of a batch fails, 7500, nothing of the batch stays."""
    await rows(client, cloud, database, "CREATE TABLE t (a INTEGER UNIQUE)")
    assert database.uuid
    batch = [{"sql": "INSERT INTO t VALUES (?)", "params": ["1"]}, {"sql": "INSERT INTO t VALUES (1)"}]
    with pytest.raises(cloudflare.BadRequestError) as failed:
        async for _ in client.d1.database.query(database.uuid, account_id=cloud.account_id, batch=batch):  # type: ignore[arg-type]
            pass
    assert failed.value.errors[0].code == 7500
    assert await rows(client, cloud, database, "SELECT * FROM t") == [[]]


async def test_wrong_sql_is_7500(client: AsyncCloudflare, cloud: LocalCloudflare, database: D1) -> None:
    """A syntax error is answered with SQLite's own message."""
    with pytest.raises(cloudflare.BadRequestError) as failed:
        await rows(client, cloud, database, "SELEC 1")
    assert failed.value.errors[0].code == 7500
    assert "SELEC" in str(failed.value.errors[0].message)


async def test_deleting_deletes_the_data(client: AsyncCloudflare, cloud: LocalCloudflare, database: D1) -> None:
    """The file with the rows is gone once the database is deleted."""
    await rows(client, cloud, database, "CREATE TABLE t (a TEXT)")
    await rows(client, cloud, database, "INSERT INTO t VALUES ('find me')")
    assert [file for file in storage(cloud) if holds(file, "t")]
    assert database.uuid
    await client.d1.database.delete(database.uuid, account_id=cloud.account_id)
    assert not [file for file in storage(cloud) if holds(file, "t")]


def storage(cloud: LocalCloudflare) -> list[Path]:
    """Return the files that databases are stored in."""
    files = (cloud.data_dir / "storage" / "d1").glob("*/*.sqlite")
    return [file for file in files if file.stem != "metadata"]


def holds(file: Path, table: str) -> bool:
    """Say whether a table holds the row of this test."""
    with closing(sqlite3.connect(file)) as opened:
        try:
            return opened.execute(f"SELECT a FROM {table} WHERE a = 'find me'").fetchone() is not None
        except sqlite3.OperationalError:
            return False


@pytest.mark.parametrize("name", ["", "a/b", "-x", "x" * 65])
async def test_a_bad_name_is_refused(client: AsyncCloudflare, cloud: LocalCloudflare, name: str) -> None:
    """A name that Cloudflare would refuse is refused."""
    with pytest.raises(cloudflare.BadRequestError):
        await client.d1.database.create(account_id=cloud.account_id, name=name)


async def test_lists_have_pages(client: AsyncCloudflare, cloud: LocalCloudflare) -> None:
    """The SDK reads one page after the other to the end."""
    for number in range(3):
        await client.d1.database.create(account_id=cloud.account_id, name=f"paged-{number}")
    listed = client.d1.database.list(account_id=cloud.account_id, name="paged-", per_page=10)
    assert len([each async for each in listed]) == 3
    small = [each async for each in client.d1.database.list(account_id=cloud.account_id, name="paged-", per_page=2)]
    assert [each.name for each in small] == ["paged-0", "paged-1", "paged-2"]
