"""What the control plane knows, in one SQLite file: settings, Workers, databases, namespaces, buckets.

Every operation is one short transaction in a worker thread. The file has mode 0600: it holds the values of secrets.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from alchemy.local._errors import LocalCloudflareError
from alchemy.local.runtime.worker import Module, Resources, Worker

_T = TypeVar("_T")
_VERSION = 1
_SCHEMA = """
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE worker (name TEXT PRIMARY KEY, port INTEGER NOT NULL, document TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE module (
    worker TEXT NOT NULL REFERENCES worker (name) ON DELETE CASCADE,
    position INTEGER NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL, content BLOB NOT NULL,
    PRIMARY KEY (worker, position));
CREATE TABLE resource (
    kind TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, created_on TEXT NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (kind, id), UNIQUE (kind, name)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Resource:
    """A D1 database (`d1`), KV namespace (`kv`) or R2 bucket (`r2`).

    Attributes:
        kind: `d1`, `kv` or `r2`.
        id: what its data is stored under, and what the API calls it, save for buckets.
        name: unique within its kind: a database's name, a namespace's title.
        created_on: RFC 3339, UTC.
        document: what else was said when it was made.
    """

    kind: str
    id: str
    name: str
    created_on: str
    document: Mapping[str, Any]


class Metadata:
    """The open file. Safe to use from many coroutines."""

    def __init__(self, path: Path) -> None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            self._connection.executescript("PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON;")
            self._migrate(path)
        except LocalCloudflareError:
            self._connection.close()
            raise
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise LocalCloudflareError(
                f"{path} cannot be read: {error}", hint="start over: alchemy local reset"
            ) from error

    def _migrate(self, path: Path) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
        elif version != _VERSION:
            raise LocalCloudflareError(
                f"{path} was written by another version of this package (schema {version}, this is {_VERSION})",
                hint="use that version, or start over: alchemy local reset",
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    async def _transact(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        return await asyncio.to_thread(self._blocking, work)

    def _blocking(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(self._connection)
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
            return result

    async def settings(self) -> dict[str, str]:
        """Return all settings."""
        return await self._transact(lambda db: dict(db.execute("SELECT name, value FROM setting").fetchall()))

    async def put_settings(self, values: Mapping[str, str]) -> None:
        """Set these settings, together."""
        rows = list(values.items())
        await self._transact(lambda db: db.executemany("INSERT OR REPLACE INTO setting VALUES (?, ?)", rows))

    async def workers(self) -> dict[str, Worker]:
        """Return all Workers by name."""
        return await self._transact(_read_workers)

    async def replace_workers(self, old: Mapping[str, Worker], new: Mapping[str, Worker]) -> None:
        """Go from `old` to `new` in one transaction, writing only what differs."""

        def work(db: sqlite3.Connection) -> None:
            for name in old.keys() - new.keys():
                db.execute("DELETE FROM worker WHERE name = ?", (name,))
            for name, worker in new.items():
                if old.get(name) is not worker:
                    _write_worker(db, worker)

        await self._transact(work)

    async def add(self, resource: Resource) -> bool:
        """Add a resource; `False`, and nothing added, when its kind has one of that name."""

        def work(db: sqlite3.Connection) -> bool:
            document = json.dumps(dict(resource.document))
            row = (resource.kind, resource.id, resource.name, resource.created_on, document)
            return db.execute("INSERT OR IGNORE INTO resource VALUES (?, ?, ?, ?, ?)", row).rowcount == 1

        return await self._transact(work)

    async def rename(self, kind: str, identity: str, name: str) -> bool:
        """Rename a resource; `False`, and nothing changed, when another has that name."""

        def work(db: sqlite3.Connection) -> bool:
            try:
                db.execute("UPDATE resource SET name = ? WHERE kind = ? AND id = ?", (name, kind, identity))
            except sqlite3.IntegrityError:
                return False
            return True

        return await self._transact(work)

    async def remove(self, kind: str, identity: str) -> bool:
        """Remove a resource; `False` when there was none."""
        statement = "DELETE FROM resource WHERE kind = ? AND id = ?"
        return await self._transact(lambda db: db.execute(statement, (kind, identity)).rowcount == 1)

    async def resources(self, kind: str) -> list[Resource]:
        """Return all resources of one kind, oldest first."""
        statement = "SELECT * FROM resource WHERE kind = ? ORDER BY created_on, name"
        rows = await self._transact(lambda db: db.execute(statement, (kind,)).fetchall())
        return [_resource(row) for row in rows]

    async def resource(self, kind: str, *, id: str | None = None, name: str | None = None) -> Resource | None:
        """Return one resource, by id or by name."""
        column, value = ("id", id) if id is not None else ("name", name)
        statement = f"SELECT * FROM resource WHERE kind = ? AND {column} = ?"
        row = await self._transact(lambda db: db.execute(statement, (kind, value)).fetchone())
        return _resource(row) if row else None

    async def targets(self) -> Resources:
        """Return what bindings can refer to now."""
        rows = await self._transact(lambda db: db.execute("SELECT kind, id, name FROM resource").fetchall())
        return Resources(
            databases=frozenset(identity for kind, identity, _ in rows if kind == "d1"),
            namespaces=frozenset(identity for kind, identity, _ in rows if kind == "kv"),
            buckets={name: identity for kind, identity, name in rows if kind == "r2"},
        )


def _resource(row: tuple[Any, ...]) -> Resource:
    kind, identity, name, created_on, document = row
    return Resource(kind, identity, name, created_on, json.loads(document))


_WORKER_FIELDS = (
    "tag",
    "etag",
    "compatibility_date",
    "enabled",
    "previews_enabled",
    "created_on",
    "modified_on",
)


def _write_worker(db: sqlite3.Connection, worker: Worker) -> None:
    document = {name: getattr(worker, name) for name in _WORKER_FIELDS} | {
        "compatibility_flags": list(worker.compatibility_flags),
        "bindings": [dict(binding) for binding in worker.bindings],
        "settings": dict(worker.settings),
        "classes": dict(worker.classes),
        "migration_tag": worker.migration_tag,
        "declarative": worker.declarative,
        "pending": dict(worker.pending),
    }
    db.execute("DELETE FROM worker WHERE name = ?", (worker.name,))
    db.execute("INSERT INTO worker VALUES (?, ?, ?)", (worker.name, worker.port, json.dumps(document)))
    db.executemany(
        "INSERT INTO module VALUES (?, ?, ?, ?, ?)",
        [
            (worker.name, position, module.name, module.type, module.content)
            for position, module in enumerate(worker.modules)
        ],
    )


def _read_workers(db: sqlite3.Connection) -> dict[str, Worker]:
    modules: dict[str, list[Module]] = {}
    statement = "SELECT worker, name, type, content FROM module ORDER BY worker, position"
    for worker, name, kind, content in db.execute(statement):
        modules.setdefault(worker, []).append(Module(name, kind, content))
    workers: dict[str, Worker] = {}
    for name, port, text in db.execute("SELECT name, port, document FROM worker ORDER BY name"):
        document = json.loads(text)
        workers[name] = Worker(
            name=name,
            port=port,
            modules=tuple(modules.get(name, ())),
            bindings=tuple(document["bindings"]),
            compatibility_flags=tuple(document["compatibility_flags"]),
            settings=document["settings"],
            classes=document.get("classes", {}),  # an older version of this package wrote none
            migration_tag=document.get("migration_tag"),
            declarative=document.get("declarative", False),
            pending=document.get("pending", {}),
            **{field: document[field] for field in _WORKER_FIELDS},
        )
    return workers
