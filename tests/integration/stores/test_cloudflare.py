"""The state service keeps the contract of every store, on one's own machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.integration.stores.servers.service import TOKEN, ServiceServer, ServiceThread

from alchemy.ports import StateStore
from alchemy.stores import CloudflareStateStore
from alchemy.testing.contract import ServerContract, StateStoreContract
from alchemy.testing.contract.servers import Reach

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALCHEMY_STATE_TOKEN", TOKEN)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[ServiceServer]:
    """A service for one test."""
    server = ServiceServer(tmp_path / "service")
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceThread]:
    """A service for all tests that do not kill it."""
    server = ServiceThread(tmp_path_factory.mktemp("service"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


class TestCloudflareStateStore(StateStoreContract):
    """`alchemy state-service serve` keeps the contract."""

    @pytest.fixture
    def store(self, shared: ServiceThread) -> Callable[[], StateStore]:
        """Open handles to a service that was emptied."""
        shared.wipe()
        return lambda: CloudflareStateStore.from_url(shared.url)


class TestStateServiceServer(ServerContract):
    """The store bears what happens to servers."""

    @pytest.fixture
    def server(self, own: ServiceServer) -> ServiceServer:
        """Give an empty service."""
        return own

    @pytest.fixture
    def reach(self) -> Reach:
        """Open handles by way of another port."""
        return lambda port, patience: CloudflareStateStore(f"http://127.0.0.1:{port}", patience=patience)
