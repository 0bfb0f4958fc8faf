"""The tables of a state store in PostgreSQL, in a schema of their own, and making or checking them."""

from __future__ import annotations

from collections.abc import Sequence

from alchemy.errors import ConfigurationError, StateError
from alchemy.state import now
from alchemy.stores._postgres_wire import UNDEFINED, Connection, Connections, text
from alchemy.stores._schema import FIRST, Migration, missing

_LOCK = 0x616C6368656D79
"""The key of the lock, for the time of a transaction, of whoever makes or changes tables in this database."""
_TABLES = ("applications", "records", "leases", "blobs")
BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '20s';"
    " SET LOCAL idle_in_transaction_session_timeout = '20s';"
)
"""For this transaction alone. Should this process vanish in the middle, nobody waits for it longer than that."""


def migrations(schema: str) -> Sequence[Migration]:
    """Give the steps for the tables in a schema, as it is written in a statement.

    Names compare by their bytes (`COLLATE "C"`): so what begins with `chain/` lies between that and `chain0`.
    """
    return (
        Migration(
            1,
            "applications, records, leases and blobs",
            (
                f'CREATE TABLE IF NOT EXISTS {schema}.applications (app text COLLATE "C" PRIMARY KEY,'
                " content bytea NOT NULL)",
                f'CREATE TABLE IF NOT EXISTS {schema}.records (unit text COLLATE "C", fqn text COLLATE "C",'
                " content bytea NOT NULL, PRIMARY KEY (unit, fqn))",
                f'CREATE TABLE IF NOT EXISTS {schema}.leases (chain text COLLATE "C" PRIMARY KEY,'
                " token bigint NOT NULL, nonce text NOT NULL, owner text NOT NULL, since text NOT NULL,"
                " renewed timestamptz NOT NULL, ttl double precision NOT NULL, held boolean NOT NULL,"
                " lost text NOT NULL, last text NOT NULL)",
                f'CREATE TABLE IF NOT EXISTS {schema}.blobs (unit text COLLATE "C", kind text, name text COLLATE "C",'
                ' part text COLLATE "C", content bytea NOT NULL, PRIMARY KEY (unit, kind, name, part))',
            ),
        ),
    )


async def prepare(connections: Connections, schema: str, where: str) -> None:
    """Make or check the tables. Safe to repeat, by several at once.

    Raises:
        StateTooNew: they are newer than this package; nothing was changed.
        StateError: the schema has tables of another program.
    """
    steps = migrations(schema)
    if missing(await _version(connections, schema, where), steps, where=where):
        while await _step(connections, schema, steps, where):
            pass


async def _version(connections: Connections, schema: str, where: str) -> int:
    query = f"SELECT version::text, current_setting('server_encoding') FROM {schema}.schema_version"
    try:
        rows = await connections.ask(query)
    except StateError as error:
        state = getattr(error.__cause__, "sqlstate", None)
        if state in UNDEFINED:
            return FIRST
        if state == "42703":
            raise _foreign(schema, where, "schema_version") from error
        raise
    if not rows:
        return FIRST
    _check_encoding(rows[0][1] or b"", where)
    return int(rows[0][0] or 0)


async def _step(connections: Connections, schema: str, steps: Sequence[Migration], where: str) -> bool:
    """Do the first step that is missing, in one transaction; say if there are more."""
    async with connections.connection() as connection:
        await connection.execute(f"{BEGIN} SELECT pg_advisory_xact_lock({_LOCK})")
        version = await _look(connection, schema, where)
        left = missing(version, steps, where=where)
        if left:
            step = left[0]
            values = f"{step.version}, {text(now())}, {text(step.description)}"
            statements = [
                f"CREATE TABLE IF NOT EXISTS {schema}.schema_version"
                " (one integer PRIMARY KEY CHECK (one = 1), version integer NOT NULL)",
                f"CREATE TABLE IF NOT EXISTS {schema}.migrations"
                " (version integer PRIMARY KEY, applied_at text NOT NULL, description text NOT NULL)",
                *step.statements,
                f"INSERT INTO {schema}.migrations VALUES ({values}) ON CONFLICT (version) DO UPDATE"
                " SET applied_at = excluded.applied_at",
                f"INSERT INTO {schema}.schema_version VALUES (1, {step.version}) ON CONFLICT (one) DO UPDATE"
                " SET version = excluded.version",
            ]
            await connection.execute("; ".join(statements))
        await connection.execute("COMMIT")
        return len(left) > 1


async def _look(connection: Connection, schema: str, where: str) -> int:
    """Give the version under the lock; make the schema if there is none."""
    found = ", ".join(f"to_regclass({text(f'{schema}.{name}')})::text" for name in ("schema_version", *_TABLES))
    query = f"SELECT current_setting('server_encoding'), to_regnamespace({text(schema)})::text, {found}"
    ((encoding, space, versions, *others),) = await connection.ask(query)
    _check_encoding(encoding or b"", where)
    if space is None:
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    if versions is None:
        taken = next((name for name, there in zip(_TABLES, others, strict=True) if there is not None), None)
        if taken is not None:
            raise _foreign(schema, where, taken)
        return FIRST
    rows = await connection.ask(f"SELECT version::text FROM {schema}.schema_version")
    return int(rows[0][0] or 0) if rows else FIRST


def _check_encoding(encoding: bytes, where: str) -> None:
    if encoding != b"UTF8":
        raise ConfigurationError(
            f"{where} keeps text as {encoding.decode()}, which has not every character that a name may have",
            hint="make a database for it: createdb --encoding UTF8 --template template0 NAME",
        )


def _foreign(schema: str, where: str, table: str) -> StateError:
    return StateError(
        f"{where} has a table {table} of another program in the schema {schema}",
        hint="name a schema of its own: …?schema=NAME; nothing was changed",
    )
