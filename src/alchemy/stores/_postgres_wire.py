"""Talking to PostgreSQL: one statement, one round trip, and nothing kept on a connection.

A pooler may give every transaction another connection to the server, so neither prepared statements nor settings of a
session can be used. Values are therefore written into the statement, as hexadecimal digits, in which there is nothing
to escape; and rows come by `COPY … TO STDOUT`, which needs no preparation either.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import Any

from alchemy.errors import AlchemyError, ConfigurationError, StateError
from alchemy.stores._clocks import elapsed
from alchemy.stores._urls import load_extra
from alchemy.stores.backend import Unreachable

Row = tuple[bytes | None, ...]
UNDEFINED = frozenset({"42P01", "3F000"})
"""SQLSTATEs: there is no such table, no such schema."""
_CONNECTIONS = 4
_ANSWER = 15.0
"""Seconds for one answer. Less than what is left of a lease when its renewal is asked for on a line that is dead."""
_SLOWEST = 100_000
"""Bytes in a second, added for what is sent."""
WHOLE_UNIT = 120.0
"""Seconds for the answer with all rows of a unit."""
_CONNECT = 15.0
_IDLE = 60.0
"""Seconds after which a connection is not used again: what lies between may have forgotten it without a word."""
_HEAD = struct.Struct("!11sii")
_COUNT = struct.Struct("!h")
_SIZE = struct.Struct("!i")
_SIGNATURE = b"PGCOPY\n\xff\r\n\x00"
_PASSING = ("08", "57P", "40", "55P03", "57014", "53300", "25P03")
"""How SQLSTATEs begin of what another moment may change: connections, shutdowns, conflicts with others."""
_HINTS = {
    "3D000": "make that database: createdb NAME",
    "42501": "grant it: docs/stores/postgresql.md says what the role needs",
    "53100": "make room on the server's disk, then run again",
    "53200": "give the server more memory, then run again",
    "25006": "name the primary server: this one is a copy that cannot be written to",
}


def text(value: str) -> str:
    """Write a text into a statement."""
    return f"convert_from({binary(value.encode())}, 'UTF8')"


def binary(value: bytes) -> str:
    """Write bytes into a statement."""
    return f"decode('{value.hex()}', 'hex')"


def texts(values: Sequence[str]) -> str:
    """Write an array of texts into a statement."""
    return f"ARRAY[{', '.join(map(text, values))}]::text[]"


def binaries(values: Sequence[bytes]) -> str:
    """Write an array of bytes into a statement."""
    return f"ARRAY[{', '.join(map(binary, values))}]::bytea[]"


class Connections:
    """A few connections to a server, made when they are needed and used by one task at a time.

    Args:
        dsn: with credentials, for asyncpg; what it does not say comes from the environment (`PGHOST`, …).
        where: the place, for messages, without credentials.
    """

    def __init__(self, dsn: str, where: str) -> None:
        self._asyncpg = load_extra("asyncpg", extra="postgres", store="a state store in PostgreSQL")
        self._dsn = dsn
        self._where = where
        self._idle: list[tuple[Any, float]] = []
        self._gate = asyncio.Semaphore(_CONNECTIONS)

    async def ask(self, query: str, *, patience: float = 0.0) -> list[Row]:
        """Run one statement that gives rows, in a transaction of its own; `patience` as in `Connection.ask`."""
        async with self.connection() as connection:
            return await connection.ask(query, patience=patience)

    async def execute(self, query: str) -> None:
        """Run statements without an answer; together they are one transaction."""
        async with self.connection() as connection:
            await connection.execute(query)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """Give a connection for several statements; on any failure it is not used again, and its transaction is none.

        Raises:
            Unreachable: no answer came.
            ConfigurationError, StateError: the server refused; says what to do.
        """
        async with self._gate:
            raw: Any = None
            try:
                raw = self._unused() or await self._connect()
                yield Connection(raw)
            except BaseException as error:
                if raw is not None:
                    raw.terminate()
                if not isinstance(error, Exception) or isinstance(error, AlchemyError):
                    raise
                meant = meaning(error, self._where)
                if isinstance(meant, Unreachable):
                    self._forget()  # whatever happened to this one has most likely happened to the others
                raise meant from error
            self._idle.append((raw, elapsed()))

    async def close(self) -> None:
        """Disconnect. Safe to repeat."""
        idle, self._idle = self._idle, []
        for raw, _ in idle:
            with contextlib.suppress(Exception):
                await raw.close(timeout=2)
        self._gate = asyncio.Semaphore(_CONNECTIONS)  # the next use may be in another loop

    async def _connect(self) -> Any:
        return await self._asyncpg.connect(self._dsn, statement_cache_size=0, timeout=_CONNECT)

    def _unused(self) -> Any:
        """Give the connection that was used last; those that nobody has used for long are dropped."""
        late = elapsed() - _IDLE
        while self._idle and self._idle[0][1] < late:
            self._idle.pop(0)[0].terminate()
        return self._idle.pop()[0] if self._idle else None

    def _forget(self) -> None:
        idle, self._idle = self._idle, []
        for raw, _ in idle:
            raw.terminate()


class Connection:
    """A connection in the hands of one task."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    async def ask(self, query: str, *, patience: float = 0.0) -> list[Row]:
        """Run one statement that gives rows.

        Args:
            patience: seconds for an answer, when it may be a large one.
        """
        parts: list[bytes] = []

        async def take(part: bytes) -> None:
            parts.append(part)

        await self._raw.copy_from_query(query, output=take, format="binary", timeout=max(patience, _time_for(query)))
        return list(_rows(b"".join(parts)))

    async def execute(self, query: str) -> None:
        """Run statements without an answer."""
        await self._raw.execute(query, timeout=_time_for(query))


def _time_for(query: str) -> float:
    return _ANSWER + len(query) / _SLOWEST


def meaning(error: Exception, where: str) -> AlchemyError:
    """Give what an error of the client says to people: `Unreachable` when it is worth asking again."""
    state = getattr(error, "sqlstate", None)
    said = str(error).strip() or type(error).__name__
    if state is None:
        if isinstance(error, ssl.SSLError):
            return ConfigurationError(
                f"{where} and this machine do not agree on TLS: {said}",
                hint="name the authority's certificate: …?sslmode=verify-full&sslrootcert=FILE",
            )
        if isinstance(error, ValueError | TypeError):  # its text may have a piece of the URL
            return ConfigurationError(
                f"{where} cannot be used as it is named, by the URL or by the variables PGHOST, PGPORT, PGSSLMODE, …",
                hint="postgresql://USER:PASSWORD@HOST:PORT/DATABASE; check that the files it names are there",
            )
        return Unreachable(
            f"{where} does not answer: {said}", hint="see whether it runs and can be reached from here, then run again"
        )
    if state.startswith("28"):
        return ConfigurationError(
            f"{where} does not accept the user name or the password",
            hint="give them in the URL (percent-encoded), as PGUSER and PGPASSWORD, or in ~/.pgpass",
        )
    if state.startswith(_PASSING):
        return Unreachable(f"{where} cannot do it now: {said}", hint="see the server's log, then run again")
    wrong = ConfigurationError if state == "3D000" else StateError
    return wrong(f"{where} refused: {said}", hint=_HINTS.get(state, "see the server's log"))


def _rows(raw: bytes) -> Iterator[Row]:
    signature, _, extension = _HEAD.unpack_from(raw)
    assert signature == _SIGNATURE
    at = _HEAD.size + extension
    while True:
        (count,) = _COUNT.unpack_from(raw, at)
        at += _COUNT.size
        if count < 0:
            return
        fields: list[bytes | None] = []
        for _ in range(count):
            (size,) = _SIZE.unpack_from(raw, at)
            at += _SIZE.size
            fields.append(None if size < 0 else raw[at : at + size])
            at += max(size, 0)
        yield tuple(fields)


def by_name(rows: Sequence[Row]) -> Mapping[str, bytes]:
    """Read rows of a name and a content."""
    return {name.decode(): content for name, content in rows if name is not None and content is not None}


def first_texts(rows: Sequence[Row]) -> list[str]:
    """Read rows of one text."""
    return [(row[0] or b"").decode() for row in rows]
