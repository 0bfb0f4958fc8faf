"""State in one SQLite file, for any number of processes on one machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import msgspec

from alchemy.errors import ConfigurationError
from alchemy.ports import Lease, Owner
from alchemy.state import now
from alchemy.stores import _sqlite_leases as leases
from alchemy.stores._lockfile import Sighting
from alchemy.stores._mounts import network_warnings
from alchemy.stores._patience import PATIENCE
from alchemy.stores._sqlite_file import SQLiteFile
from alchemy.stores._urls import parse
from alchemy.stores.backed import BackedStore
from alchemy.stores.backend import BlobKind, Blocked, Commit, Ending, Taken

Database = sqlite3.Connection
_APPEND = "INSERT OR IGNORE INTO blobs VALUES (?, ?, ?, ?, ?)"
_DISCARD = "DELETE FROM blobs WHERE unit = ? AND kind = ? AND name = ?"


class SQLiteStateStore(BackedStore):
    """State in a SQLite file: `sqlite:state.db`, `sqlite:///srv/state.db`.

    Processes on one machine may share it; a network file system is no place for it.

    Args:
        path: of the file; made when it is opened. A folder `PATH-locks` comes beside it.
        patience: seconds for which a place that does not answer is asked again.
    """

    def __init__(self, path: str | Path, *, patience: float = PATIENCE) -> None:
        super().__init__(SQLiteBackend(path), patience=patience)

    @classmethod
    def from_url(cls, url: str) -> SQLiteStateStore:
        """Give the store for a URL."""
        parts = urlsplit(url)
        parse(url, options=())
        path = unquote(parts.path)
        if parts.netloc not in ("", "localhost"):
            raise ConfigurationError(
                f"{url!r} names another machine",
                hint=f"one slash less for a path from here (sqlite:{parts.netloc}{parts.path}),"
                " one more for one from the root (sqlite:///srv/state.db)",
            )
        if path in ("", "/") or path.endswith("/") or path == ":memory:":
            raise ConfigurationError(
                f"{url!r} names no file", hint="such as sqlite:state.db; for state that is not kept: memory:"
            )
        return cls(path)


class SQLiteBackend:
    """A SQLite file as the storage of a `BackedStore`.

    Its calls block the loop that they are made in for the time of one transaction, a fraction of a millisecond.
    """

    max_changes = 5000
    max_bytes = 64 * 2**20
    pause = 0.25

    def __init__(self, path: str | Path) -> None:
        self.path = str(Path(path).absolute())
        self._file = SQLiteFile(self.path, self.url)
        self._flocks = leases.Flocks(f"{self.path}-locks")
        self._sightings: dict[str, Sighting] = {}

    @property
    def url(self) -> str:
        """Where it is."""
        return f"sqlite://{quote(self.path, safe='/ ')}"

    async def open(self) -> Sequence[str]:
        """Open the file, and make or check its tables."""
        await self._file.open()
        return network_warnings(str(Path(self.path).parent))

    async def close(self) -> None:
        """Let go of the file, and of what tells others that this process lives."""
        self._file.close()
        self._flocks.close()

    async def applications(self) -> Sequence[str]:
        """List the applications that have a record, or units."""
        query = "SELECT app FROM applications UNION SELECT DISTINCT substr(unit, 1, instr(unit, '/') - 1) FROM records"
        return await self._file.read(lambda db: [app for (app,) in db.execute(query)])

    async def application(self, app: str) -> bytes | None:
        """Read an application's row."""
        query = "SELECT row FROM applications WHERE app = ?"
        found = await self._file.read(lambda db: db.execute(query, (app,)).fetchone())
        return found[0] if found else None

    async def create_application(self, app: str, row: bytes) -> bytes:
        """Write an application's row unless there is one; give the one that stands."""

        def create(db: Database) -> bytes:
            db.execute("INSERT OR IGNORE INTO applications VALUES (?, ?)", (app, row))
            standing: tuple[bytes] = db.execute("SELECT row FROM applications WHERE app = ?", (app,)).fetchone()
            return standing[0]

        return await self._file.write(create)

    async def take(self, chain: str, *, owner: Owner, ttl: float, nonce: str) -> Taken | Blocked:
        """Try once to take a chain. Whoever is asked for again and again is seen not to renew."""

        def try_(db: Database) -> Taken | Blocked:
            around = leases.held_around(db, chain)
            for row in around:
                if row.nonce == nonce:
                    return Taken(row.lease)
                if leases.lives(row, self._flocks, self._sightings):
                    leases.saw(self._sightings, row)
                    return Blocked(row.lease)
            for row in around:
                leases.take_away(db, row.content.unit, f": {owner} has taken {chain} since {now()}")
            self._flocks.sweep(frozenset(row.nonce for row in leases.held(db)))
            self._flocks.put(chain, nonce)
            return Taken(leases.put(db, chain, owner=owner, ttl=ttl, nonce=nonce))

        return await self._file.write(try_)

    async def renew(self, lease: Lease, *, ttl: float) -> Lease:
        """Move the deadline."""

        def renew(db: Database) -> Lease:
            leases.check(db, lease)
            return leases.extend(db, lease, ttl)

        return await self._file.write(renew)

    async def release(self, lease: Lease, log: Ending | None = None) -> None:
        """Give a chain back; when the lease is lost already, nothing."""

        def release(db: Database) -> bool:
            if log is not None and log.lines:
                db.execute(_APPEND, (lease.unit, "logs", log.name, log.part, log.lines))
            if log is not None:
                db.executemany(_DISCARD, [(lease.unit, "logs", name) for name in log.drop])
            return leases.end(db, lease)

        if await self._file.write(release):
            self._flocks.drop(lease.unit)

    async def break_(self, chain: str, *, why: str) -> None:
        """Take a chain from its holder, if it has one."""
        await self._file.write(lambda db: leases.take_away(db, chain, why))

    async def locks(self) -> Sequence[Lease]:
        """List the leases that are held now."""
        rows = await self._file.read(leases.held)
        return [row.lease for row in rows if leases.lives(row, self._flocks, self._sightings)]

    async def units(self, app: str) -> Sequence[str]:
        """List the units of an application that have records."""
        query = "SELECT DISTINCT unit FROM records WHERE unit > ? AND unit < ?"
        return await self._file.read(lambda db: [unit for (unit,) in db.execute(query, (f"{app}/", f"{app}0"))])

    async def load(self, unit: str, *, lease: Lease | None = None) -> Mapping[str, bytes]:
        """Give all rows of a unit, by one query."""

        def load(db: Database) -> dict[str, bytes]:
            if lease is not None:
                leases.check(db, lease)
            return dict(db.execute("SELECT fqn, row FROM records WHERE unit = ?", (unit,)).fetchall())

        return await self._file.read(load)

    async def read(self, unit: str, fqns: Sequence[str]) -> Mapping[str, bytes]:
        """Give some rows of a unit, by one query."""
        query = "SELECT fqn, row FROM records WHERE unit = ? AND fqn IN (SELECT value FROM json_each(?))"
        wanted = msgspec.json.encode(list(fqns)).decode()
        return await self._file.read(lambda db: dict(db.execute(query, (unit, wanted)).fetchall()))

    async def commit(self, lease: Lease, unit: str, commit: Commit) -> None:
        """Make a commit durable, in one transaction with a look at the lease."""

        def write(db: Database) -> None:
            leases.check(db, lease)
            if commit.clear is not None:
                below = (f"{commit.clear}/", f"{commit.clear}0")
                where = "unit = ? AND (fqn = ? OR fqn > ? AND fqn < ?)"
                db.execute(f"DELETE FROM records WHERE {where}", (unit, commit.clear, *below))
            drops = [(unit, fqn) for fqn in commit.drops]
            db.executemany("DELETE FROM records WHERE unit = ? AND fqn = ?", drops)
            puts = [(unit, fqn, row) for fqn, row in commit.puts.items()]
            db.executemany(
                "INSERT INTO records VALUES (?, ?, ?) ON CONFLICT (unit, fqn) DO UPDATE SET row = excluded.row", puts
            )

        await self._file.write(write)

    async def fold(self, lease: Lease, unit: str) -> None:
        """There is nothing to do: rows are what is loaded."""
        await self._file.read(lambda db: leases.check(db, lease))

    async def save(self, lease: Lease, unit: str, kind: BlobKind, name: str, content: bytes) -> bool:
        """Keep a blob, in one transaction with a look at the lease."""

        def save(db: Database) -> bool:
            leases.check(db, lease)
            db.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?, ?, '', ?)", (unit, kind, name, content))
            return _content(db, unit, kind, name) == content

        return await self._file.write(save)

    async def append(self, unit: str, name: str, part: str, lines: bytes) -> None:
        """Add a part to a log."""
        row = (unit, "logs", name, part, lines)
        await self._file.write(lambda db: db.execute(_APPEND, row))

    async def names(self, unit: str, kind: BlobKind) -> Sequence[str]:
        """List the names of blobs."""
        query = "SELECT DISTINCT name FROM blobs WHERE unit = ? AND kind = ?"
        return await self._file.read(lambda db: [name for (name,) in db.execute(query, (unit, kind))])

    async def fetch(self, unit: str, kind: BlobKind, name: str) -> bytes | None:
        """Read a blob whole."""
        return await self._file.read(lambda db: _content(db, unit, kind, name))

    async def discard(self, unit: str, kind: BlobKind, names: Sequence[str]) -> None:
        """Remove blobs."""
        rows = [(unit, kind, name) for name in names]
        await self._file.write(lambda db: db.executemany(_DISCARD, rows))


def _content(db: Database, unit: str, kind: str, name: str) -> bytes | None:
    query = "SELECT content FROM blobs WHERE unit = ? AND kind = ? AND name = ? ORDER BY part"
    parts = [part for (part,) in db.execute(query, (unit, kind, name))]
    return b"".join(parts) if parts else None
