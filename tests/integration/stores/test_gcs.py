"""Google Cloud Storage: the contract of every store, against a small server that enforces its preconditions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.integration.stores.servers.gcs import BUCKET, GCSServer

from alchemy.errors import ConfigurationError
from alchemy.ports import StateStore
from alchemy.state import STAGE_KIND
from alchemy.stores import GCSStateStore
from alchemy.testing.contract import UNIT, ServerContract, StateStoreContract, a_resource, a_scope, an_owner
from alchemy.testing.contract.servers import Reach

pytestmark = pytest.mark.anyio


@pytest.fixture
def server() -> Iterator[GCSServer]:
    """Give an empty server."""
    server = GCSServer()
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _open(port: int, patience: float = 30.0, bucket: str = BUCKET) -> GCSStateStore:
    return GCSStateStore(bucket, prefix="a/b", endpoint=f"http://127.0.0.1:{port}", patience=patience)


class TestGCSStateStore(StateStoreContract):
    """A bucket keeps the contract."""

    @pytest.fixture
    def store(self, server: GCSServer) -> Callable[[], StateStore]:
        """Open handles to the server."""
        return lambda: _open(server.port)


class TestGCSServer(ServerContract):
    """The store bears what happens to servers."""

    @pytest.fixture
    def server(self) -> Iterator[GCSServer]:
        """Give an empty server."""
        server = GCSServer()
        server.start()
        try:
            yield server
        finally:
            server.kill()

    @pytest.fixture
    def reach(self) -> Reach:
        """Open handles by way of another port."""
        return _open


async def test_a_long_log_is_read_with_64_requests_in_flight(server: GCSServer) -> None:
    """What a crash left unfolded is read many at a time, but not more than 64."""
    writer, reader = _open(server.port), _open(server.port)
    await writer.init()
    await reader.init()
    lease = await writer.acquire(UNIT, owner=an_owner(), timeout=0)
    for number in range(150):
        await writer.set(lease, a_resource(f"{UNIT}/r{number}"))
    server.most_in_flight, server.together = 0, 64
    assert len((await reader.load(UNIT)).records) == 150
    assert 64 <= server.most_in_flight <= 64 + 1  # the lease may be renewed meanwhile
    await writer.deinit()
    await reader.deinit()


async def test_what_was_folded_leaves_few_objects(server: GCSServer) -> None:
    """After many runs a unit is one snapshot, the one before it, and two small objects for each lease."""
    for run in range(5):
        store = _open(server.port)
        await store.init()
        lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
        await store.set(lease, a_scope(UNIT, STAGE_KIND))
        for number in range(20):
            await store.set(lease, a_resource(f"{UNIT}/r{number}", rev=run))
        await store.fold(lease)
        await store.deinit()
    keys = [key.removeprefix("a/b/notes/units/prod/") for key in server.objects if "units" in key]
    assert sum(key.startswith("snap/") for key in keys) == 2
    assert sum(key.startswith("log/") for key in keys) <= 2 * 5 + 2


async def test_a_service_that_ignores_conditions_is_refused() -> None:
    """Without them two runs could hold one stage: nothing is begun there."""
    server = GCSServer(honours=False)
    server.start()
    store = _open(server.port)
    try:
        with pytest.raises(ConfigurationError, match="ignores If-None-Match") as refused:
            await store.init()
        assert refused.value.hint
        await store.deinit()
    finally:
        server.kill()


async def test_a_service_that_lets_nobody_in_is_told(server: GCSServer) -> None:
    """A refusal is an error at once that names the place and what it needs."""
    server.allowed = False
    store = _open(server.port)
    with pytest.raises(ConfigurationError, match="gs://state/a/b") as refused:
        await store.init()
    assert "roles/storage.objectUser" in str(refused.value.hint)
    await store.deinit()
