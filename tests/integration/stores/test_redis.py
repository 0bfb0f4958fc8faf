"""Redis keeps the contract of every store, alone and as a cluster, and is refused where it would forget."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.integration.stores.servers.redis import RedisServer
from tests.integration.stores.servers.tls import terminated

from alchemy.errors import ConfigurationError, LeaseLost, StateError, StateTooNew
from alchemy.ports import StateStore
from alchemy.state import Application
from alchemy.stores import RedisStateStore, open_store
from alchemy.stores._redis import RedisBackend
from alchemy.stores.backend import Backend, Blocked, Commit, Taken
from alchemy.testing.contract import UNIT, ServerContract, StateStoreContract, a_resource, an_owner
from alchemy.testing.contract.archives import ArchiveContract
from alchemy.testing.contract.leases import LeaseContract
from alchemy.testing.contract.logs import LogContract
from alchemy.testing.contract.places import PlaceContract
from alchemy.testing.contract.servers import Reach
from alchemy.testing.contract.writing import WritingContract

PASSWORD = "open-sesame"
pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Give a server with a password, for all tests of this module."""
    server = RedisServer(tmp_path_factory.mktemp("redis"), password=PASSWORD)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Give a cluster of one server that has all slots: it refuses scripts whose keys lie in several."""
    server = RedisServer(tmp_path_factory.mktemp("cluster"), **{"cluster-enabled": "yes", "appendfsync": "no"})
    server.start()
    try:
        assert server.ask("CLUSTER ADDSLOTS " + " ".join(map(str, range(16384)))) == b"+OK\r\n"
        while b"cluster_state:ok" not in server.ask("CLUSTER INFO"):
            time.sleep(0.01)
        yield server
    finally:
        server.kill()


class TestRedisStateStore(StateStoreContract):
    """One server keeps the contract."""

    @pytest.fixture
    def store(self, shared: RedisServer) -> Callable[[], StateStore]:
        """Open handles to a server that was emptied."""
        shared.ask("FLUSHALL")
        return lambda: RedisStateStore(shared.url)


class TestRedisCluster(PlaceContract, LeaseContract, WritingContract, LogContract, ArchiveContract):
    """A cluster keeps what needs every kind of request: no script has keys of two servers."""

    @pytest.fixture
    def store(self, shared_cluster: RedisServer) -> Callable[[], StateStore]:
        """Open handles to a cluster that was emptied."""
        shared_cluster.ask("FLUSHALL")
        return lambda: RedisStateStore(shared_cluster.url)


class TestRedisServer(ServerContract):
    """The store bears what happens to servers."""

    @pytest.fixture
    def server(self, shared: RedisServer) -> RedisServer:
        """Give a server that was emptied."""
        shared.ask("FLUSHALL")
        return shared

    @pytest.fixture
    def reach(self) -> Reach:
        """Open handles by way of another port."""
        return lambda port, patience: RedisStateStore(f"redis://:{PASSWORD}@127.0.0.1:{port}", patience=patience)


@pytest.fixture
def server(shared: RedisServer) -> Iterator[RedisServer]:
    """Give a server that was emptied, and is set back afterwards to what it was."""
    shared.ask("FLUSHALL")
    yield shared
    for setting in ("maxmemory-policy noeviction", "maxmemory 0", "appendonly yes", "appendfsync always"):
        shared.ask(f"CONFIG SET {setting}")
    shared.ask("ACL DELUSER guest")


async def notices(store: RedisStateStore) -> str:
    """Give what a run is told that uses a store."""
    await store.init()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    told = (await store.load(UNIT, lease=lease)).notices
    await store.deinit()
    return "\n".join(told)


@pytest.mark.parametrize("configured", [True, False], ids=["with CONFIG", "without CONFIG"])
async def test_a_server_that_may_evict_is_refused(server: RedisServer, configured: bool) -> None:
    """Another policy than noeviction is refused with the remedy, also when CONFIG is not allowed."""
    server.ask("CONFIG SET maxmemory-policy allkeys-lru")
    server.ask(f"ACL SETUSER guest on >{PASSWORD} ~* +@all" + ("" if configured else " -config"))
    store = RedisStateStore(f"redis://guest:{PASSWORD}@127.0.0.1:{server.port}")
    with pytest.raises(ConfigurationError, match="allkeys-lru") as refused:
        await store.init()
    assert "noeviction" in (refused.value.hint or "")
    assert PASSWORD not in str(refused.value)
    await store.deinit()


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("appendfsync always", ""),
        ("appendfsync everysec", "in the last second"),
        ("appendfsync no", "some seconds"),
        ("appendonly no", "keeps nothing on disk"),
    ],
)
async def test_a_server_that_may_forget_is_told(server: RedisServer, setting: str, told: str) -> None:
    """A run hears what a crash of the server can lose, and nothing when it loses nothing."""
    server.ask(f"CONFIG SET {setting}")
    text = await notices(RedisStateStore(server.url))
    assert told in text
    assert bool(told) == bool(text)


async def test_without_config_it_is_told_what_cannot_be_seen(server: RedisServer) -> None:
    """Where CONFIG is not allowed the store works, and says that it does not know."""
    server.ask(f"ACL SETUSER guest on >{PASSWORD} ~* +@all -config")
    assert "CONFIG is not allowed" in await notices(
        RedisStateStore(f"redis://guest:{PASSWORD}@127.0.0.1:{server.port}")
    )


async def test_credentials_come_from_the_environment(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL that a store tells opens it again, given the credentials in the environment; wrong ones are refused."""
    first = RedisStateStore(f"redis://:{PASSWORD}@127.0.0.1:{server.port}/3?prefix=x".partition("?")[0], prefix="x")
    assert first.url == f"redis://127.0.0.1:{server.port}/3?prefix=x"
    for password, is_right in (("guess", False), (PASSWORD, True)):
        monkeypatch.setenv("REDIS_PASSWORD", password)
        again = open_store(first.url)
        if is_right:
            await again.init()
        else:
            with pytest.raises(ConfigurationError, match="does not accept") as refused:
                await again.init()
            assert "REDIS_PASSWORD" in (refused.value.hint or "")
            assert "guess" not in str(refused.value)
        await again.deinit()


async def test_prefixes_and_databases_are_places_of_their_own(server: RedisServer) -> None:
    """Nothing of one is seen in another."""
    urls = [server.url, f"{server.url}/1", f"{server.url}?prefix=team"]
    for number, url in enumerate(urls):
        store = open_store(url)
        await store.init()
        assert list(await store.list_scopes("")) == []
        lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
        await store.set(lease, a_resource(f"{UNIT}/r{number}"))
        assert await store.list(UNIT) == [f"r{number}"]
        await store.deinit()


async def test_whoever_does_not_renew_loses_the_chain(server: RedisServer) -> None:
    """By the server's clock: after a ttl another takes it, also from above, and the old holder's write is refused."""
    backend, other = RedisStateStore(server.url).backend, RedisStateStore(server.url).backend
    await backend.open()
    for taken in (UNIT, "notes", f"{UNIT}/database"):
        old = await backend.take(UNIT, owner=an_owner(), ttl=60, nonce=f"old {taken}")
        assert isinstance(old, Taken)
        assert isinstance(await other.take(taken, owner=an_owner(), ttl=60, nonce=f"early {taken}"), Blocked)
        await backend.renew(old.lease, ttl=0.05)
        new = await _until_taken(other, taken)
        with pytest.raises(LeaseLost, match=r"has taken|has it since"):
            await backend.commit(old.lease, UNIT, Commit("n", None, (), {f"{UNIT}/late": b"{}"}))
        assert await other.load(UNIT) == {}
        await other.release(new.lease)
    await backend.close()
    await other.close()


async def _until_taken(backend: Backend, chain: str) -> Taken:
    while True:
        answer = await backend.take(chain, owner=an_owner(), ttl=60, nonce=f"new {chain}")
        if isinstance(answer, Taken):
            return answer
        await asyncio.sleep(0.01)


async def test_a_commit_that_was_delayed_does_not_undo_later_ones(server: RedisServer) -> None:
    """A copy of a request that arrives after the next commit changes nothing."""
    backend = RedisStateStore(server.url).backend
    assert isinstance(backend, RedisBackend)
    await backend.open()
    taken = await backend.take(UNIT, owner=an_owner(), ttl=60, nonce="a")
    assert isinstance(taken, Taken)
    fqn = f"{UNIT}/a"
    sent: list[tuple[object, ...]] = []
    ask = backend._ask

    async def record(*command: object) -> object:
        sent.append(command)
        return await ask(*command)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "_ask", record)
        await backend.commit(taken.lease, UNIT, Commit("first", None, (), {fqn: b"1"}))
    await backend.commit(taken.lease, UNIT, Commit("second", None, (), {fqn: b"2"}))
    await ask(*sent[-1])
    assert await backend.load(UNIT) == {fqn: b"2"}
    await backend.close()


async def test_tokens_grow_though_the_counter_was_lost(server: RedisServer) -> None:
    """After a failover that lost the last steps of the counter no token comes twice: they are no less than the time."""
    backend = RedisStateStore(server.url).backend
    await backend.open()
    tokens: list[int] = []
    for number in range(3):
        taken = await backend.take(UNIT, owner=an_owner(), ttl=60, nonce=str(number))
        assert isinstance(taken, Taken)
        tokens.append(taken.lease.token)
        await backend.release(taken.lease)
        assert server.ask("DEL {alchemy:notes}:counter") == b":1\r\n"
    assert tokens == sorted(set(tokens))
    await backend.close()


async def test_no_key_ever_expires(server: RedisServer) -> None:
    """Neither records nor fences have a time to live."""
    await notices(RedisStateStore(server.url))
    assert b"expires=0" in server.ask("INFO keyspace")


async def test_a_full_server_takes_nothing_and_is_named(server: RedisServer) -> None:
    """Without memory a commit is refused whole, with the remedy; what was there can still be read and given back."""
    store = RedisStateStore(server.url)
    await store.init()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.set(lease, a_resource(f"{UNIT}/a"), a_resource(f"{UNIT}/b"))
    server.ask("CONFIG SET maxmemory 1")
    with pytest.raises(StateError, match="no memory left"):
        await store.set(lease, a_resource(f"{UNIT}/c"), drop=[f"{UNIT}/a"])
    assert await store.list(UNIT) == ["a", "b"]
    await store.release(lease)
    assert list(await store.locks()) == []
    await store.deinit()


async def test_what_a_newer_version_wrote_is_refused(server: RedisServer) -> None:
    """So is what is not alchemy's at all."""
    for value, error in (("2", StateTooNew), ("hello", StateError)):
        server.ask(f"SET alchemy:format {value}")
        store = RedisStateStore(server.url)
        with pytest.raises(error):
            await store.init()
        await store.deinit()


async def test_a_server_that_was_restarted_knows_no_scripts_and_is_told_them(server: RedisServer) -> None:
    """Scripts that the server has forgotten are sent again."""
    store = RedisStateStore(server.url)
    await store.init()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    assert server.ask("SCRIPT FLUSH") == b"+OK\r\n"
    await store.set(lease, a_resource(f"{UNIT}/a"))
    assert await store.list(UNIT) == ["a"]
    await store.deinit()


@pytest.mark.parametrize(
    "url", ["redis://", "redis://host:port", "redis://host/notes", "rediss:///0", "redis://host?ttl=1"]
)
def test_a_url_that_cannot_be_read_is_refused(url: str) -> None:
    """With the form that is wanted."""
    with pytest.raises(ConfigurationError):
        open_store(url)


async def test_the_permissions_in_the_documentation_are_enough(server: RedisServer) -> None:
    """A user who is allowed what the page says, and nothing else, can do all that a run does."""
    page = (Path(__file__).parents[3] / "docs" / "stores" / "redis.md").read_text()
    (rule,) = [line for line in page.splitlines() if line.startswith("ACL SETUSER alchemy")]
    assert server.ask(rule.replace("alchemy on", "guest on").replace("PASSWORD", PASSWORD)) == b"+OK\r\n"
    store = RedisStateStore(f"redis://guest:{PASSWORD}@127.0.0.1:{server.port}")
    await store.init()
    await store.create_application(Application(app="notes", lineage="00" * 16, created_at=""))
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    assert (await store.load(UNIT, lease=lease)).notices == []
    name = "state-2026-11-21T09-00-00-000Z.json"
    await store.save_backup(lease, name, b"{}")
    await store.set(lease, a_resource(f"{UNIT}/a"), a_resource(f"{UNIT}/b"), drop=[f"{UNIT}/c"])
    await store.clear_scope(lease, f"{UNIT}/b")
    assert await store.list(UNIT) == ["a"]
    assert await store.get(f"{UNIT}/a") is not None
    assert list(await store.list_scopes("")) == ["notes"]
    await store.append_log(UNIT, "run.ndjson", b"{}\n")
    assert (await store.read_backup(UNIT, name), await store.read_log(UNIT, "run.ndjson")) == (b"{}", b"{}\n")
    await store.drop_backups(UNIT, name)
    await store.drop_logs(UNIT, "run.ndjson")
    await store.renew(lease)
    await store.fold(lease)
    assert len(await store.locks()) == 1
    await store.release(lease)
    await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.break_(UNIT)
    await store.deinit()


async def test_tls_asks_for_a_certificate_that_is_trusted(server: RedisServer, tmp_path: Path) -> None:
    """With the authority named it works; without, it is refused at once, with the remedy."""
    async with terminated(server.port, tmp_path) as (port, certificate):
        trusting = RedisStateStore(f"rediss://:{PASSWORD}@127.0.0.1:{port}", ca=str(certificate)).backend
        await trusting.open()
        assert await trusting.applications() == []
        assert trusting.url == f"rediss://127.0.0.1:{port}?ca={certificate}"
        await trusting.close()
        with pytest.raises(ConfigurationError, match="not trusted") as refused:
            await RedisStateStore(f"rediss://:{PASSWORD}@127.0.0.1:{port}").backend.open()
        assert "ca=" in (refused.value.hint or "")
