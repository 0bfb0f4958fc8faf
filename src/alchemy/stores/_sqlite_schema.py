"""The tables of a state database in SQLite, and making or checking them. Blocks."""

from __future__ import annotations

import sqlite3

from alchemy.errors import StateError
from alchemy.state import now
from alchemy.stores._schema import FIRST, Migration, missing

APPLICATION_ID = 0x616C6368
"""`alch`: in the header of the file, by which it is known to be ours; `file state.db` shows it."""

MIGRATIONS = (
    Migration(
        1,
        "applications, records, leases and blobs",
        (
            "CREATE TABLE IF NOT EXISTS applications (app TEXT PRIMARY KEY, row BLOB NOT NULL)",
            "CREATE TABLE IF NOT EXISTS records"
            " (unit TEXT NOT NULL, fqn TEXT NOT NULL, row BLOB NOT NULL, PRIMARY KEY (unit, fqn))",
            "CREATE TABLE IF NOT EXISTS leases"
            " (chain TEXT PRIMARY KEY, token INTEGER NOT NULL, nonce TEXT NOT NULL, owner BLOB NOT NULL,"
            " since TEXT NOT NULL, deadline REAL NOT NULL, ttl REAL NOT NULL, renewed REAL NOT NULL,"
            " machine TEXT NOT NULL, held INTEGER NOT NULL, lost TEXT NOT NULL)",
            "CREATE TABLE IF NOT EXISTS blobs"
            " (unit TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, part TEXT NOT NULL, content BLOB NOT NULL,"
            " PRIMARY KEY (unit, kind, name, part))",
        ),
    ),
)

_VERSIONS = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    "CREATE TABLE IF NOT EXISTS schema_version (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL)",
    f"INSERT OR IGNORE INTO schema_version VALUES (1, {FIRST})",
    "CREATE TABLE IF NOT EXISTS migrations"
    " (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL, description TEXT NOT NULL)",
)


def has_work(database: sqlite3.Connection, where: str) -> bool:
    """Say whether tables are to be made or changed. Writes nothing.

    Raises:
        StateError: the database is another program's.
        StateTooNew: it is newer than this package.
    """
    return bool(missing(_version(database, where), MIGRATIONS, where=where))


def migrate(database: sqlite3.Connection, where: str) -> bool:
    """Do one step, within the transaction of the caller, who has kept all others from writing; say if there is more."""
    steps = missing(_version(database, where), MIGRATIONS, where=where)
    if not steps:
        return False
    step = steps[0]
    for statement in (*_VERSIONS, *step.statements):
        database.execute(statement)
    database.execute("INSERT OR REPLACE INTO migrations VALUES (?, ?, ?)", (step.version, now(), step.description))
    database.execute("UPDATE schema_version SET version = ?", (step.version,))
    return len(steps) > 1


def _version(database: sqlite3.Connection, where: str) -> int:
    (owner,) = database.execute("PRAGMA application_id").fetchone()
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if owner != APPLICATION_ID and (owner or tables):
        raise StateError(
            f"{where} is another program's database"
            + (f", with tables such as {', '.join(sorted(tables)[:3])}" if tables else ""),
            hint="name another file for alchemy's state; nothing was changed",
        )
    if "schema_version" not in tables:
        return FIRST
    row = database.execute("SELECT version FROM schema_version").fetchone()
    return int(row[0]) if row else FIRST
