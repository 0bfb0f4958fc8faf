"""State in PostgreSQL, for any number of machines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from alchemy.errors import ConfigurationError, LeaseLost, StateError
from alchemy.ports import Lease, Owner
from alchemy.state import now
from alchemy.stores import _postgres_sql as sql
from alchemy.stores._patience import PATIENCE
from alchemy.stores._postgres_schema import prepare
from alchemy.stores._postgres_wire import WHOLE_UNIT, Connections, Row, binary, by_name, first_texts, text, texts
from alchemy.stores._refusals import not_held, taken_away
from alchemy.stores._urls import parse, with_options
from alchemy.stores.backed import BackedStore
from alchemy.stores.backend import BlobKind, Blocked, Commit, Ending, Taken

SCHEMA = "alchemy"
_FILES = ("sslrootcert", "sslcert", "sslkey")
_OPTIONS = ("schema", "host", "sslmode", *_FILES)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


class PostgresStateStore(BackedStore):
    """State in a PostgreSQL database.

    Args:
        url: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`, with `sslmode`, `sslrootcert`, `sslcert`, `sslkey`, `host`
            (a folder with a socket) or `schema` after a `?`. What it does not say comes from `PGHOST`, `PGPORT`,
            `PGUSER`, `PGPASSWORD`, `PGDATABASE` and `~/.pgpass`.
        schema: that the tables are in, made when there is none; `alchemy` by default.
        patience: seconds for which a server that does not answer is asked again.

    Raises:
        ConfigurationError: the URL cannot be read, or asyncpg is not installed.
    """

    def __init__(self, url: str = "postgresql://", *, schema: str | None = None, patience: float = PATIENCE) -> None:
        super().__init__(PostgresBackend(url, schema=schema), patience=patience)

    @classmethod
    def from_url(cls, url: str) -> PostgresStateStore:
        """Give the store for a URL."""
        return cls(url)


class _Row(msgspec.Struct):
    """A row of `leases`."""

    lease: Lease
    held: bool
    lost: str
    nonce: str
    last: str

    @classmethod
    def read(cls, row: Row) -> _Row:
        chain, token, owner, since, deadline, held, lost, nonce, last = ((field or b"").decode() for field in row)
        whose = msgspec.json.decode(owner, type=Owner) if owner else _NOBODY
        lease = Lease(unit=chain, token=int(token), owner=whose, since=since, deadline=float(deadline))
        return cls(lease, held == "true", lost, nonce, last)


_NOBODY = Owner(user="", host="", pid=0, operation="")


class PostgresBackend:
    """A schema of a PostgreSQL database as the storage of a `BackedStore`."""

    max_changes = 1000
    max_bytes = 8 * 2**20
    pause = 0.5

    def __init__(self, url: str, *, schema: str | None = None) -> None:
        parts = urlsplit(url)
        if "@" in parts.path + parts.query + parts.fragment:
            raise ConfigurationError(
                "the URL of the PostgreSQL store has an @ after its host", hint="percent-encode the password in it"
            )
        bare = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        options = parse(url, options=_OPTIONS).options
        chosen = schema or options.pop("schema", SCHEMA)
        if not _NAME.fullmatch(chosen):
            raise ConfigurationError(
                f"{chosen!r} cannot be the schema of {bare}",
                hint="use letters, digits and '_'; such as ?schema=alchemy",
            )
        self._schema = f'"{chosen}"'
        given = {**options, "schema": chosen if chosen != SCHEMA else None}
        self._url = with_options(bare, **given)
        query = urlencode([(name, value) for name, value in parse_qsl(parts.query) if name != "schema"])
        self._files = {name: Path(options[name]) for name in _FILES if name in options}
        dsn = f"{parts.scheme}://{parts.netloc}{parts.path}?{query}"
        self._server = Connections(dsn, self._url)
        self._last: dict[str, tuple[int, str]] = {}

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        return self._url

    async def open(self) -> Sequence[str]:
        """Connect, and make or check the tables."""
        for name, path in self._files.items():
            if not path.is_file():
                raise ConfigurationError(
                    f"{self._url} names a file that is not there: {path}", hint=f"correct {name} in the URL"
                )
        await prepare(self._server, self._schema, self._url)
        return []

    async def close(self) -> None:
        """Disconnect."""
        await self._server.close()

    async def applications(self) -> Sequence[str]:
        """List the applications that have a record, or units."""
        query = (
            f"SELECT app FROM {self._schema}.applications"
            f" UNION SELECT DISTINCT split_part(unit, '/', 1) FROM {self._schema}.records"
        )
        return first_texts(await self._server.ask(query))

    async def application(self, app: str) -> bytes | None:
        """Read an application's row."""
        rows = await self._server.ask(f"SELECT content FROM {self._schema}.applications WHERE app = {text(app)}")
        return rows[0][0] if rows else None

    async def create_application(self, app: str, row: bytes) -> bytes:
        """Write an application's row unless there is one; give the one that stands."""
        values = f"{text(app)}, {binary(row)}"
        await self._server.execute(f"INSERT INTO {self._schema}.applications VALUES ({values}) ON CONFLICT DO NOTHING")
        return await self.application(app) or row

    async def take(self, chain: str, *, owner: Owner, ttl: float, nonce: str) -> Taken | Blocked:
        """Try once to take a chain."""
        whom = f": {owner} has taken {chain} since {now()}"
        async with self._server.connection() as connection:
            await connection.execute(sql.begin_take(self._schema, chain, whom=whom))
            found = await connection.ask(
                f"SELECT {sql.COLUMNS} FROM {self._schema}.leases WHERE {sql.around(chain)} AND held ORDER BY chain"
            )
            for row in map(_Row.read, found):
                await connection.execute("ROLLBACK")
                return Taken(row.lease) if row.nonce == nonce else Blocked(row.lease)
            told = msgspec.json.encode(owner).decode()
            put = sql.put_lease(self._schema, chain, owner=told, since=now(), ttl=ttl, nonce=nonce)
            (row,) = map(_Row.read, await connection.ask(put))
            await connection.execute("COMMIT")
            return Taken(row.lease)

    async def renew(self, lease: Lease, *, ttl: float) -> Lease:
        """Move the deadline."""
        renewed = await self._server.ask(
            f"UPDATE {self._schema}.leases SET renewed = clock_timestamp(), ttl = {ttl!r} WHERE {sql.mine(lease)}"
            f" RETURNING {sql.COLUMNS}"
        )
        if not renewed:
            raise await self._lost(lease)
        return _Row.read(renewed[0]).lease

    async def release(self, lease: Lease, log: Ending | None = None) -> None:
        """Give a chain back; when the lease is lost already, nothing."""
        why = text(f": {lease.owner} had it since {lease.since}")
        steps = [f"UPDATE {self._schema}.leases SET held = false, lost = {why} WHERE {sql.mine(lease)}"]
        if log is not None and log.lines:
            steps.append(self._appending(lease.unit, log.name, log.part, log.lines))
        if log is not None and log.drop:
            steps.append(f"DELETE FROM {sql.blobs(self._schema, lease.unit, 'logs', log.drop)}")
        await self._server.execute("; ".join(steps))
        self._last.pop(lease.unit, None)

    async def break_(self, chain: str, *, why: str) -> None:
        """Take a chain from its holder, if it has one."""
        await self._server.execute(
            f"UPDATE {self._schema}.leases SET held = false, token = token + 1, lost = {text(why)}"
            f" WHERE chain = {text(chain)} AND held"
        )

    async def locks(self) -> Sequence[Lease]:
        """List the leases that are held now."""
        rows = await self._server.ask(f"SELECT {sql.COLUMNS} FROM {self._schema}.leases WHERE {sql.ALIVE}")
        return [_Row.read(row).lease for row in rows]

    async def units(self, app: str) -> Sequence[str]:
        """List the units of an application that have records."""
        query = f"SELECT DISTINCT unit FROM {self._schema}.records WHERE {sql.within('unit', app)}"
        return first_texts(await self._server.ask(query))

    async def load(self, unit: str, *, lease: Lease | None = None) -> Mapping[str, bytes]:
        """Give all rows of a unit, by one query."""
        rows = await self._server.ask(sql.load(self._schema, unit, lease), patience=WHOLE_UNIT)
        found = dict(by_name(rows))
        if lease is not None and found.pop("", None) is None:
            raise await self._lost(lease)
        return found

    async def read(self, unit: str, fqns: Sequence[str]) -> Mapping[str, bytes]:
        """Give some rows of a unit, by one query."""
        where = f"unit = {text(unit)} AND fqn = ANY ({texts(fqns)})"
        return by_name(await self._server.ask(f"SELECT fqn, content FROM {self._schema}.records WHERE {where}"))

    async def commit(self, lease: Lease, unit: str, commit: Commit) -> None:
        """Make a commit durable, by one statement."""
        token, last = self._last.get(lease.unit, (lease.token, ""))
        before = last if token == lease.token else ""
        if not await self._server.ask(sql.commit(self._schema, lease, unit, commit, last=before)):
            await self._check_made(lease, commit.nonce)
        self._last[lease.unit] = (lease.token, commit.nonce)

    async def fold(self, lease: Lease, unit: str) -> None:
        """There is nothing to do: rows are what is loaded."""
        if not await self._server.ask(f"SELECT chain FROM {self._schema}.leases WHERE {sql.mine(lease)}"):
            raise await self._lost(lease)

    async def save(self, lease: Lease, unit: str, kind: BlobKind, name: str, content: bytes) -> bool:
        """Keep a blob, by one statement."""
        ((held, new),) = await self._server.ask(sql.save(self._schema, lease, unit, kind, name, content))
        if held == b"0":
            raise await self._lost(lease)
        return new == b"1" or await self.fetch(unit, kind, name) == content

    async def append(self, unit: str, name: str, part: str, lines: bytes) -> None:
        """Add a part to a log."""
        await self._server.execute(self._appending(unit, name, part, lines))

    async def names(self, unit: str, kind: BlobKind) -> Sequence[str]:
        """List the names of blobs."""
        return first_texts(await self._server.ask(f"SELECT DISTINCT name FROM {sql.blobs(self._schema, unit, kind)}"))

    async def fetch(self, unit: str, kind: BlobKind, name: str) -> bytes | None:
        """Read a blob whole."""
        rows = await self._server.ask(
            f"SELECT content FROM {sql.blobs(self._schema, unit, kind, [name])} ORDER BY part"
        )
        return b"".join(row[0] or b"" for row in rows) if rows else None

    async def discard(self, unit: str, kind: BlobKind, names: Sequence[str]) -> None:
        """Remove blobs."""
        if names:
            await self._server.execute(f"DELETE FROM {sql.blobs(self._schema, unit, kind, names)}")

    def _appending(self, unit: str, name: str, part: str, lines: bytes) -> str:
        values = f"{text(unit)}, 'logs', {text(name)}, {text(part)}, {binary(lines)}"
        return f"INSERT INTO {self._schema}.blobs VALUES ({values}) ON CONFLICT DO NOTHING"

    async def _check_made(self, lease: Lease, nonce: str) -> None:
        """Say why a commit was not made, unless it was: then its answer got lost, and it was asked for again."""
        row = await self._find(lease.unit)
        if row is None or not row.held or row.lease.token != lease.token:
            raise _lost(lease, row)
        if row.last != nonce:
            raise StateError(
                f"{self._url} has a commit under the lease on {lease.unit} that this run does not know of",
                hint="run again",
            )

    async def _lost(self, lease: Lease) -> LeaseLost:
        return _lost(lease, await self._find(lease.unit))

    async def _find(self, chain: str) -> _Row | None:
        rows = await self._server.ask(f"SELECT {sql.COLUMNS} FROM {self._schema}.leases WHERE chain = {text(chain)}")
        return _Row.read(rows[0]) if rows else None


def _lost(lease: Lease, row: _Row | None) -> LeaseLost:
    if row is None or (row.lease.token == lease.token and not row.held):
        return not_held(lease)
    return taken_away(lease, f": {row.lease.owner} has it since {row.lease.since}" if row.held else row.lost)
