"""D1 databases and their migrations, against the local Cloudflare."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alchemy.clients.cloudflare import Cloudflare
from alchemy.cloudflare.d1_database import D1Database, D1DatabaseProvider
from alchemy.errors import AlreadyExists, DeclarationError, Gone, ProviderError

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]

Hand = Any
Declared = Callable[..., Any]


@pytest.fixture
def name() -> str:
    """A name of its own for each test."""
    return f"db-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def database(hand: Callable[..., Hand], name: str) -> Hand:
    """What calls the provider's handlers."""
    return hand(D1DatabaseProvider(), name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one migration."""
    (tmp_path / "0001_notes.sql").write_text("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT);\n-- the end")
    return tmp_path


async def rows(api: Cloudflare, have: D1Database, sql: str) -> list[Any]:
    """Run one statement and give its rows."""
    page = await api.sdk.d1.database.query(have.database_id, account_id=api.account_id, sql=sql)
    return page.result[0].results or []


async def recorded(api: Cloudflare, have: D1Database) -> list[str]:
    """List the names in wrangler's table, in order."""
    return [row["name"] for row in await rows(api, have, "SELECT name FROM d1_migrations ORDER BY id")]


async def test_a_database_lives(database: Hand, declared: Declared, name: str) -> None:
    """Not found, created, found by its name, read by its id, deleted, gone; deleting what is gone is success."""
    want = declared(D1Database, "db")
    assert await database.find(want) is None
    have = await database.create(want)
    assert have.database_name == name
    assert (await database.find(want)).database_id == have.database_id
    assert (await database.read(have)).database_id == have.database_id
    await database.delete(have)
    assert await database.read(have) is None
    await database.delete(have)


async def test_a_name_that_only_contains_the_wanted_one_is_not_it(
    database: Hand, hand: Callable[..., Hand], declared: Declared, name: str
) -> None:
    """The API lists names that contain the text; only the exact one is found."""
    await hand(D1DatabaseProvider(), f"{name}-copy").create(declared(D1Database, "other"))
    assert await database.find(declared(D1Database, "db")) is None


async def test_the_id_is_durable_before_the_first_migration(
    database: Hand, declared: Declared, folder: Path, api: Cloudflare
) -> None:
    """A create whose migration fails has checkpointed its outputs, and says that the object may be there."""
    (folder / "0001_notes.sql").write_text("CREATE TABEL notes (id)")
    with pytest.raises(ProviderError) as caught:
        await database.create(declared(D1Database, "db", migrations_dir=str(folder)))
    assert caught.value.ambiguous
    (outputs,) = database.checkpoints
    assert await recorded(api, declared(D1Database, "db", **outputs)) == []


async def test_migrations_are_applied_once_in_order(
    database: Hand, declared: Declared, folder: Path, api: Cloudflare
) -> None:
    """Files are applied by name and recorded as wrangler does; a later update applies only what is new."""
    (folder / "0000_first.sql").write_text("CREATE TABLE first (id INTEGER)")
    (folder / "readme.md").write_text("not a migration")
    have = await database.create(declared(D1Database, "db", migrations_dir=str(folder)))
    assert await recorded(api, have) == ["0000_first.sql", "0001_notes.sql"]
    (folder / "0002_it's.sql").write_text(
        "INSERT INTO notes (text) VALUES ('a;b'); CREATE TRIGGER t AFTER INSERT ON notes BEGIN DELETE FROM first; END;"
    )
    (folder / "0003_nothing.sql").write_text("-- nothing yet\n")
    await database.update(declared(D1Database, "db", migrations_dir=str(folder)), have)
    await database.update(declared(D1Database, "db", migrations_dir=str(folder)), have)
    assert (await recorded(api, have))[2:] == ["0002_it's.sql", "0003_nothing.sql"]
    assert await rows(api, have, "SELECT text FROM notes") == [{"text": "a;b"}]


async def test_a_migration_that_fails_leaves_nothing_of_itself(
    database: Hand, declared: Declared, folder: Path, api: Cloudflare
) -> None:
    """The error names the file with the code; those before it stay; corrected, it is applied by the next update."""
    have = await database.create(declared(D1Database, "db", migrations_dir=str(folder)))
    bad = folder / "0002_bad.sql"
    bad.write_text("CREATE TABLE half (id INTEGER);\nINSERT INTO nowhere VALUES (1);")
    want = declared(D1Database, "db", migrations_dir=str(folder))
    with pytest.raises(ProviderError, match=r"0002_bad\.sql.*nowhere.*7500") as caught:
        await database.update(want, have)
    assert not caught.value.retryable
    assert await recorded(api, have) == ["0001_notes.sql"]
    assert await rows(api, have, "SELECT name FROM sqlite_master WHERE name = 'half'") == []
    bad.write_text("CREATE TABLE half (id INTEGER);")
    await database.update(want, have)
    assert await recorded(api, have) == ["0001_notes.sql", "0002_bad.sql"]


async def test_an_edited_migration_is_reported_and_not_repeated(
    database: Hand, declared: Declared, folder: Path, api: Cloudflare
) -> None:
    """A file that changed after it was applied is named in the log, and its table stays as it was."""
    want = declared(D1Database, "db", migrations_dir=str(folder))
    have = await database.create(want)
    (folder / "0001_notes.sql").write_text("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, more TEXT);")
    database.said.clear()
    await database.update(want, have)
    assert [text for text in database.said if "0001_notes.sql" in text and "warning" in text]
    assert await recorded(api, have) == ["0001_notes.sql"]


async def test_what_wrangler_applied_counts_as_applied(
    database: Hand, declared: Declared, folder: Path, api: Cloudflare
) -> None:
    """A database whose table names the file already is taken over without running it again."""
    have = await database.create(declared(D1Database, "db"))
    await rows(
        api,
        have,
        "CREATE TABLE d1_migrations(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, "
        "applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)",
    )
    await rows(api, have, "INSERT INTO d1_migrations (name) VALUES ('0001_notes.sql')")
    await database.update(declared(D1Database, "db", migrations_dir=str(folder)), have)
    assert await rows(api, have, "SELECT name FROM sqlite_master WHERE name = 'notes'") == []


async def test_a_name_that_is_taken_is_refused(database: Hand, declared: Declared) -> None:
    """The second create of a name is `AlreadyExists`, with Cloudflare's code."""
    await database.create(declared(D1Database, "db"))
    with pytest.raises(AlreadyExists) as caught:
        await database.create(declared(D1Database, "db"))
    assert caught.value.code == 7502


async def test_updating_what_is_gone_says_so(database: Hand, declared: Declared, folder: Path) -> None:
    """An update of a deleted database is `Gone`, so that the engine creates it anew."""
    have = await database.create(declared(D1Database, "db"))
    await database.delete(have)
    with pytest.raises(Gone):
        await database.update(declared(D1Database, "db", migrations_dir=str(folder)), have)


async def test_nothing_is_created_when_the_folder_is_missing(
    database: Hand, declared: Declared, tmp_path: Path
) -> None:
    """A wrong `migrations_dir` is an error before the database exists."""
    want = declared(D1Database, "db", migrations_dir=str(tmp_path / "nowhere"))
    with pytest.raises(DeclarationError, match="does not exist"):
        await database.create(want)
    assert await database.find(want) is None


async def test_where_it_must_be_is_read(database: Hand, declared: Declared) -> None:
    """A jurisdiction that was declared is observed as it is."""
    have = await database.create(declared(D1Database, "db", jurisdiction="eu"))
    assert (await database.read(have)).jurisdiction == "eu"


async def test_replication_is_changed(database: Hand, declared: Declared) -> None:
    """An update of `read_replication` is accepted, and reading an undeclared one changes nothing."""
    have = await database.create(declared(D1Database, "db"))
    assert (await database.read(have)).read_replication is None
    changed = await database.update(declared(D1Database, "db", read_replication="auto"), have)
    assert changed.database_id == have.database_id
