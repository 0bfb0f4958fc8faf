"""PostgreSQL keeps the contract of every store, also behind a pooler that changes connections between transactions."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest
from tests.integration.stores.servers.postgres import PASSWORD, USER, Pooler, PostgresServer

from alchemy.errors import AlchemyError, ConfigurationError, LeaseLost, StateError, StateTooNew
from alchemy.ports import StateStore
from alchemy.stores import PostgresStateStore, _postgres_schema, _postgres_sql, _postgres_wire, open_store
from alchemy.stores._postgres import PostgresBackend
from alchemy.stores._postgres_schema import migrations
from alchemy.stores._schema import Migration
from alchemy.stores.backend import Commit, Taken
from alchemy.testing.contract import UNIT, ServerContract, StateStoreContract, a_resource, an_owner
from alchemy.testing.contract.archives import ArchiveContract
from alchemy.testing.contract.chains import ChainContract
from alchemy.testing.contract.leases import LeaseContract
from alchemy.testing.contract.places import PlaceContract
from alchemy.testing.contract.servers import Reach
from alchemy.testing.contract.writing import WritingContract
from alchemy.testing.proxy import Proxy

pytestmark = pytest.mark.anyio
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def shared() -> Iterator[PostgresServer]:
    """Give a server for all tests of this module."""
    server = PostgresServer()
    try:
        server.make()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="module")
def pooler(shared: PostgresServer) -> Iterator[Pooler]:
    """Give a pooler before the server."""
    if not Pooler.is_installed():
        pytest.skip("there is no pgbouncer here (Debian, Ubuntu: apt-get install pgbouncer)")
    pooler = Pooler(shared)
    try:
        pooler.start()
        yield pooler
    finally:
        pooler.remove()


@pytest.fixture
def schema() -> str:
    """Name a schema that nobody has used."""
    return f"test_{next(_numbers)}"


@pytest.fixture
async def database(shared: PostgresServer) -> AsyncIterator[Any]:
    """Give a connection beside the store's."""
    connection = await asyncpg.connect(f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{shared.port}/postgres")
    yield connection
    await connection.close()


class TestPostgresStateStore(StateStoreContract):
    """A server keeps the contract."""

    @pytest.fixture
    def store(self, shared: PostgresServer, schema: str) -> Callable[[], StateStore]:
        """Open handles to an empty schema."""
        return lambda: PostgresStateStore(shared.url(schema=schema))


class TestBehindPooler(PlaceContract, LeaseContract, ChainContract, WritingContract, ArchiveContract):
    """Nothing is kept on a connection: each transaction may be made on another one."""

    @pytest.fixture
    def store(self, shared: PostgresServer, pooler: Pooler, schema: str) -> Callable[[], StateStore]:
        """Open handles to an empty schema through the pooler."""
        return lambda: PostgresStateStore(shared.url(pooler.port, schema=schema))


class TestPostgresServer(ServerContract):
    """The store bears what happens to servers."""

    load_round_trips = 1

    @pytest.fixture
    def server(self, shared: PostgresServer) -> PostgresServer:
        """Give the server."""
        return shared

    @pytest.fixture
    def reach(self, shared: PostgresServer, schema: str) -> Reach:
        """Open handles by way of another port."""
        return lambda port, patience: PostgresStateStore(shared.url(port, schema=schema), patience=patience)


# -- fences ------------------------------------------------------------------------------------------------------------


async def test_a_commit_that_waits_for_a_takeover_is_refused(
    shared: PostgresServer, schema: str, database: Any
) -> None:
    """A stale commit that began before the chain was taken, and is made afterwards, changes nothing."""
    backend = PostgresBackend(shared.url(schema=schema))
    await backend.open()
    old = await backend.take(UNIT, owner=an_owner(), ttl=60, nonce="1")
    assert isinstance(old, Taken)
    async with database.transaction():
        await database.execute(f"UPDATE {schema}.leases SET held = false, token = token + 1 WHERE chain = $1", UNIT)
        commit = Commit("c", None, (), {f"{UNIT}/late": b"row"})
        late = asyncio.create_task(backend.commit(old.lease, UNIT, commit))
        saved = asyncio.create_task(backend.save(old.lease, UNIT, "backups", "late", b""))
        while await database.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") < 2:
            assert not late.done()
            assert not saved.done()
    for task in (late, saved):
        with pytest.raises(LeaseLost):
            await task
    assert await backend.load(UNIT) == {}
    assert await backend.names(UNIT, "backups") == []
    await backend.close()


async def test_a_takeover_waits_for_a_commit_under_way(shared: PostgresServer, schema: str, database: Any) -> None:
    """Whoever takes an overdue chain sees the commit that its old holder was making; the one after it is refused."""
    backend = PostgresBackend(shared.url(schema=schema))
    await backend.open()
    old = await backend.take(UNIT, owner=an_owner(), ttl=0.0, nonce="1")
    assert isinstance(old, Taken)
    commit = Commit("c", None, (), {f"{UNIT}/a": b"row"})
    async with database.transaction():
        await database.execute(_postgres_sql.commit(schema, old.lease, UNIT, commit, last=""))
        new = asyncio.create_task(backend.take(UNIT, owner=an_owner(), ttl=60, nonce="2"))
        while not await database.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not new.done()
    taken = await new
    assert isinstance(taken, Taken)
    assert taken.lease.token > old.lease.token
    assert await backend.load(UNIT, lease=taken.lease) == {f"{UNIT}/a": b"row"}
    with pytest.raises(LeaseLost):
        await backend.commit(old.lease, UNIT, commit._replace(nonce="d"))
    await backend.close()


async def test_a_commit_that_comes_twice_changes_nothing_later(shared: PostgresServer, schema: str) -> None:
    """One whose answer was lost is asked for again; should the first still come after later ones, it is refused."""
    backend, late = PostgresBackend(shared.url(schema=schema)), PostgresBackend(shared.url(schema=schema))
    await backend.open()
    taken = await backend.take(UNIT, owner=an_owner(), ttl=60, nonce="1")
    assert isinstance(taken, Taken)
    first = Commit("first", None, (), {f"{UNIT}/a": b"1"})
    for _ in range(2):
        await late.commit(taken.lease, UNIT, first)
        await backend.commit(taken.lease, UNIT, first)
    await backend.commit(taken.lease, UNIT, Commit("second", None, (), {f"{UNIT}/a": b"2"}))
    late._last.clear()
    with pytest.raises(StateError, match="does not know of"):
        await late.commit(taken.lease, UNIT, first)
    assert await backend.load(UNIT) == {f"{UNIT}/a": b"2"}
    await backend.close()
    await late.close()


async def test_a_taker_that_vanished_is_not_waited_for(shared: PostgresServer, schema: str) -> None:
    """A transaction whose client is gone without a word is ended by the server: it was told to, for that one alone."""
    backend = PostgresBackend(shared.url(schema=schema))
    await backend.open()
    async with backend._server.connection() as connection:
        await connection.execute(_postgres_sql.begin_take(f'"{schema}"', UNIT, whom=""))
        ((idle, waits),) = await connection.ask(
            "SELECT current_setting('idle_in_transaction_session_timeout'), current_setting('lock_timeout')"
        )
        await connection.execute("ROLLBACK")
        ((after,),) = await connection.ask("SELECT current_setting('idle_in_transaction_session_timeout')")
    assert (idle, waits, after) == (b"20s", b"20s", b"0")
    await backend.close()


# -- tables ------------------------------------------------------------------------------------------------------------


async def test_two_first_users_do_not_collide(shared: PostgresServer, schema: str, database: Any) -> None:
    """Of many that open an empty place at once each finds the tables, which are made once."""
    stores = [PostgresStateStore(shared.url(schema=schema)) for _ in range(8)]
    await asyncio.gather(*(store.init() for store in stores))
    assert [tuple(row) for row in await database.fetch(f"SELECT version FROM {schema}.migrations")] == [(1,)]
    await asyncio.gather(*(store.deinit() for store in stores))


async def test_a_step_that_was_done_is_done_again(shared: PostgresServer, schema: str, database: Any) -> None:
    """When the version is older than the tables, the steps are repeated, and nothing is lost."""
    store = PostgresStateStore(shared.url(schema=schema))
    await store.init()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.set(lease, a_resource(f"{UNIT}/a"))
    for change in ("UPDATE {}.schema_version SET version = 0", "DELETE FROM {}.schema_version"):
        await database.execute(change.format(schema))
        await store.init()
        assert await store.list(UNIT) == ["a"]
        assert await database.fetchval(f"SELECT version FROM {schema}.schema_version") == 1
    await store.deinit()


async def test_older_tables_are_changed(
    shared: PostgresServer, schema: str, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps are made by who opens the place, in order and each as a whole, also by several at once."""
    store = PostgresStateStore(shared.url(schema=schema))
    await store.init()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.set(lease, a_resource(f"{UNIT}/a"))
    (first,) = migrations(schema)
    good = Migration(2, "remarks", (f"CREATE TABLE IF NOT EXISTS {schema}.remarks (fqn text)",))
    bad = Migration(3, "more", (f"CREATE TABLE {schema}.more (fqn text)", f"INSERT INTO {schema}.nowhere VALUES (1)"))
    monkeypatch.setattr(_postgres_schema, "migrations", lambda _: (first, good, bad))
    newer = [PostgresStateStore(shared.url(schema=schema)) for _ in range(4)]
    failed = await asyncio.gather(*(one.init() for one in newer), return_exceptions=True)
    assert all(isinstance(error, StateError) and "nowhere" in error.message for error in failed), failed
    assert await database.fetchval(f"SELECT version FROM {schema}.schema_version") == 2, "the first of them stands"
    assert await database.fetchval("SELECT to_regclass($1)", f"{schema}.more") is None
    monkeypatch.setattr(_postgres_schema, "migrations", lambda _: (first, good))
    await asyncio.gather(*(one.init() for one in newer))
    assert await newer[0].list(UNIT) == ["a"]
    await asyncio.gather(*(one.deinit() for one in newer))
    await store.deinit()


async def test_newer_tables_are_refused(shared: PostgresServer, schema: str, database: Any) -> None:
    """Of a version that this package does not know, nothing is read or changed."""
    store = PostgresStateStore(shared.url(schema=schema))
    await store.init()
    await database.execute(f"UPDATE {schema}.schema_version SET version = 7")
    with pytest.raises(StateTooNew, match="tables of version 7"):
        await store.init()
    assert await database.fetchval(f"SELECT version FROM {schema}.schema_version") == 7
    await store.deinit()


@pytest.mark.parametrize("table", ["records", "schema_version"])
async def test_anothers_tables_are_refused(shared: PostgresServer, schema: str, database: Any, table: str) -> None:
    """A schema with tables of another program is left as it is."""
    await database.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.{table} (artist text)")
    store = PostgresStateStore(shared.url(schema=schema))
    with pytest.raises(StateError, match="of another program") as refused:
        await store.init()
    assert "schema=" in (refused.value.hint or "")
    query = "SELECT count(*) FROM pg_tables WHERE schemaname = $1"
    assert await database.fetchval(query, schema) == 1
    await store.deinit()


async def test_a_database_that_cannot_hold_every_name(shared: PostgresServer, database: Any) -> None:
    """One that keeps text in another encoding is refused, with the command that makes a better one."""
    await database.execute("CREATE DATABASE old ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    store = PostgresStateStore(shared.url(schema="x").replace("/postgres?", "/old?"))
    with pytest.raises(ConfigurationError, match="SQL_ASCII") as refused:
        await store.init()
    assert "createdb" in (refused.value.hint or "")
    await store.deinit()
    await database.execute("DROP DATABASE old")


# -- rights, places and URLs -------------------------------------------------------------------------------------------


async def test_the_rights_that_the_page_names_are_enough(shared: PostgresServer, schema: str, database: Any) -> None:
    """A role that owns its schema and may not make others works; without it, the hint leads to the page."""
    role = f"role_{schema}"
    await database.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    url = f"postgresql://{role}:x@127.0.0.1:{shared.port}/postgres?schema={schema}"
    store = PostgresStateStore(url)
    with pytest.raises(StateError, match="permission denied") as refused:
        await store.init()
    assert "docs/stores/postgresql.md" in (refused.value.hint or "")
    await database.execute(f"CREATE SCHEMA {schema} AUTHORIZATION {role}")
    await store.init()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.set(lease, a_resource(f"{UNIT}/a"))
    await store.deinit()
    await database.execute(
        f"CREATE ROLE guest_{schema} LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA {schema} TO guest_{schema};"
        f" GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO guest_{schema}"
    )
    guest = PostgresStateStore(url.replace(role, f"guest_{schema}"))
    await guest.init()
    lease = await guest.acquire(UNIT, owner=an_owner(), timeout=0)
    await guest.set(lease, a_resource(f"{UNIT}/b"), drop=[f"{UNIT}/a"])
    await guest.save_backup(lease, "state-2026-11-21T09-00-00-000Z.json", b"{}")
    assert await guest.list(UNIT) == ["b"]
    await guest.deinit()


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ((f":{PASSWORD}@", ":wrong-word@"), ConfigurationError, "user name or the password"),
        ((f"{USER}:", "nobody:"), ConfigurationError, "user name or the password"),
        (("/postgres?", "/nowhere?"), ConfigurationError, "nowhere"),
        (("?schema=", "?sslmode=require&schema="), StateError, "SSL"),
        (("?schema=", "?sslmode=verify-full&sslrootcert=/nowhere&schema="), ConfigurationError, "not there: /nowhere"),
    ],
)
async def test_what_is_wrong_is_named(
    shared: PostgresServer, schema: str, change: tuple[str, str], error: type[AlchemyError], says: str
) -> None:
    """Wrong credentials, a missing database and a server without TLS are told, with a remedy and no credentials."""
    store = PostgresStateStore(shared.url(schema=schema).replace(*change), patience=0.1)
    with pytest.raises(error, match=says) as refused:
        await store.init()
    told = f"{refused.value} {refused.value.hint} {store.url}"
    assert refused.value.hint
    assert str(shared.port) in told
    assert "wrong-word" not in told
    assert PASSWORD not in told
    await store.deinit()


async def test_the_environment_says_what_the_url_does_not(
    shared: PostgresServer, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`PGHOST` and the others are read; a socket's folder may be named."""
    for name, value in {"PORT": shared.port, "USER": USER, "PASSWORD": PASSWORD, "DATABASE": "postgres"}.items():
        monkeypatch.setenv(f"PG{name}", str(value))
    socket = PostgresStateStore(f"postgresql://?host={shared.folder}", schema=schema)
    await socket.init()
    assert socket.url == f"postgresql://?host={shared.folder}&schema={schema}"
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    store = open_store(f"postgres://?schema={schema}")
    await store.init()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    assert [held.token for held in await socket.locks()] == [lease.token]
    await store.deinit()
    await socket.deinit()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:open/sesame@here/x",
        "postgresql://me:open?sesame@here/x",
        "postgresql://me:open-sesame@here/x?schema=a-b",
        "postgresql://me:open-sesame@here/x?shema=a",
    ],
)
def test_urls_that_cannot_be_read(url: str) -> None:
    """Each is refused with what to write, and without the password."""
    with pytest.raises(ConfigurationError) as refused:
        open_store(url)
    assert refused.value.hint
    assert "sesame" not in str(refused.value)


async def test_a_port_that_is_none() -> None:
    """What only the client can read is refused by it, and told without its words: they may hold a piece of the URL."""
    store = PostgresStateStore("postgresql://me:open-sesame@here:port/x")
    with pytest.raises(ConfigurationError, match="as it is named") as refused:
        await store.init()
    assert "sesame" not in str(refused.value)
    await store.deinit()


async def test_a_line_that_is_dead(shared: PostgresServer, schema: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that says nothing is not waited for without end; what was asked is asked again on another connection."""
    with Proxy("127.0.0.1", shared.port) as proxy:
        store = PostgresStateStore(shared.url(proxy.port, schema=schema))
        await store.init()
        lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
        monkeypatch.setattr(_postgres_wire, "_ANSWER", 0.2)
        proxy.delay = 3600
        written = asyncio.ensure_future(store.set(lease, a_resource(f"{UNIT}/a")))
        before = proxy.traffic.connections
        async with asyncio.timeout(30):
            while proxy.traffic.connections == before:
                assert not written.done()
                await asyncio.sleep(0.01)
        proxy.delay = 0
        proxy.cut()
        proxy.restore()
        monkeypatch.setattr(_postgres_wire, "_ANSWER", 15)
        await written
        assert await store.list(UNIT) == ["a"]
        await store.deinit()


async def test_old_connections_are_not_used(
    shared: PostgresServer, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that nobody has used for long may be known to no firewall any more; a fresh one is taken."""
    with Proxy("127.0.0.1", shared.port) as proxy:
        store = PostgresStateStore(shared.url(proxy.port, schema=schema))
        await store.init()
        before = proxy.traffic.connections
        await store.locks()
        assert proxy.traffic.connections == before
        monkeypatch.setattr(_postgres_wire, "_IDLE", -1)
        await store.locks()
        assert proxy.traffic.connections == before + 1
        await store.deinit()


async def test_what_a_run_asks_for(shared: PostgresServer, schema: str) -> None:
    """Opening tables that are there, taking, loading, writing, renewing and releasing: the requests are counted."""
    first = PostgresStateStore(shared.url(schema=schema))
    await first.init()
    await first.deinit()
    with Proxy("127.0.0.1", shared.port) as proxy:
        store = PostgresStateStore(shared.url(proxy.port, schema=schema))
        counts: list[int] = []

        async def count(work: Any) -> Any:
            with proxy.counted() as traffic:
                result = await work
            counts.append(traffic.round_trips)
            return result

        await count(store.init())
        lease = await count(store.acquire(UNIT, owner=an_owner(), timeout=0))
        await count(store.load(UNIT, lease=lease))
        await count(store.set(lease, *(a_resource(f"{UNIT}/r{n}") for n in range(1000))))
        await count(store.renew(lease))
        await count(store.release(lease))
        await store.deinit()
    connect = counts[0] - 1
    assert counts == [connect + 1, 4, 1, 1, 1, 1]
    assert connect <= 4
