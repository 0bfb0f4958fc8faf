"""Migrations: which are applied, and the SQL that applies and records them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from alchemy.cloudflare._migrations import Migration, edited, fingerprint, pending, read_folder, script
from alchemy.cloudflare.d1_database import D1Database
from alchemy.errors import DeclarationError
from alchemy.resource import make_detached

TABLE = "CREATE TABLE d1_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, applied_at TEXT);"


def migration(name: str, sql: str = "", digest: str = "d") -> Migration:
    """Make one without a file."""
    return Migration(name, sql, digest)


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    """Files that end with `.sql` directly in the folder count, by name; a byte order mark does not."""
    for name in ("0010_b.sql", "0002_a.sql", "notes.md", "0001.sql.bak"):
        (tmp_path / name).write_text("SELECT 1;", encoding="utf-8-sig")
    (tmp_path / "deeper.sql").mkdir()
    read = read_folder(tmp_path)
    assert [(each.name, each.sql) for each in read] == [("0002_a.sql", "SELECT 1;"), ("0010_b.sql", "SELECT 1;")]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """The error says which folder, and from where it was looked for."""
    with pytest.raises(DeclarationError, match="nowhere' does not exist") as caught:
        read_folder(tmp_path / "nowhere")
    assert str(Path.cwd()) in (caught.value.hint or "")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """A path to a file is refused as what it is."""
    (tmp_path / "a.sql").write_text("")
    with pytest.raises(DeclarationError, match="is not a folder"):
        read_folder(tmp_path / "a.sql")


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are an error with the file's path."""
    (tmp_path / "0001.sql").write_bytes(b"\xff\xfe")
    with pytest.raises(DeclarationError, match=r"0001\.sql"):
        read_folder(tmp_path)


def test_what_is_recorded_is_not_pending() -> None:
    """Only names count, wherever they stand in the order."""
    three = [migration("a"), migration("b"), migration("c")]
    assert [each.name for each in pending(three, ["b", "gone from the folder"])] == ["a", "c"]


def test_an_edited_file_is_known_by_its_digest() -> None:
    """Applied files whose content changed since are named; those never seen applied, and new ones, are not."""
    files = [migration("same", digest="1"), migration("other", digest="2"), migration("unseen"), migration("new")]
    assert edited(files, ["same", "other", "unseen"], {"same": "1", "other": "1"}) == ["other"]


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE a (id INTEGER)",
        "CREATE TABLE a (id INTEGER);",
        "CREATE TABLE a (id INTEGER) -- the end",
        "CREATE TABLE a (id INTEGER); -- the end",
        "CREATE TABLE a (id INTEGER); /* the end */  \n",
        "CREATE TABLE a (id TEXT DEFAULT ';--')",
        "CREATE TABLE a (id INTEGER); CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM a; END",
        "-- first\nCREATE TABLE a (id INTEGER);",
    ],
)
def test_a_migration_and_its_row_are_one_script(sql: str) -> None:
    """Whether its last statement has a semicolon, a comment after it or neither, both parts run in SQLite."""
    database = sqlite3.connect(":memory:")
    database.executescript(TABLE + script(migration("0001_it's.sql", sql)))
    assert database.execute("SELECT name FROM d1_migrations").fetchall() == [("0001_it's.sql",)]
    assert database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'a'").fetchone() == (1,)
    database.close()


@pytest.mark.parametrize("sql", ["", "  \n", "-- nothing", "/* nothing; */ -- at all\n"])
def test_a_migration_without_statements_is_only_recorded(sql: str) -> None:
    """An empty statement, which D1 may refuse, is not sent."""
    recorded = "INSERT INTO d1_migrations (name, applied_at) VALUES ('a.sql', CURRENT_TIMESTAMP);"
    assert script(migration("a.sql", sql)) == recorded


def test_the_fingerprint_of_a_database_follows_its_folder(tmp_path: Path) -> None:
    """A file that is added or edited changes it; without a folder there is none."""
    database = make_detached(D1Database, id="db", fqn="app/dev/db", values={"migrations_dir": tmp_path})
    (tmp_path / "1.sql").write_text("SELECT 1;")
    first = database.fingerprint()
    assert first == fingerprint(read_folder(tmp_path))
    (tmp_path / "2.sql").write_text("SELECT 2;")
    second = database.fingerprint()
    (tmp_path / "2.sql").write_text("SELECT 3;")
    assert len({repr(each) for each in (first, second, database.fingerprint())}) == 3
    assert make_detached(D1Database, id="db", fqn="app/dev/db", values={}).fingerprint() is None
