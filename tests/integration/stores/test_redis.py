"""Redis keeps the contract of every store, alone and as a cluster, and is refused where it would forget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from tests.integration.stores.servers.redis import RedisServer

from alchemy.ports import StateStore
from alchemy.stores import RedisStateStore
from alchemy.testing.contract import ServerContract, StateStoreContract
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
