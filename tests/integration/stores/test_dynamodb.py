"""DynamoDB keeps the contract of every store."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.integration.stores.servers.ministack import KEYS, MiniStack

from alchemy.ports import StateStore
from alchemy.stores import DynamoDBStateStore
from alchemy.testing.contract import ServerContract, StateStoreContract
from alchemy.testing.contract.servers import Reach

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniStack]:
    """Give a server for all tests of this module."""
    server = MiniStack(tmp_path_factory.mktemp("ministack"))
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the store credentials, as the environment of a run does."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


def reach_at(port: int, patience: float) -> StateStore:
    """Open a handle by way of a port."""
    return DynamoDBStateStore("state", endpoint=f"http://127.0.0.1:{port}", create=True, patience=patience)


class TestDynamoDBStateStore(StateStoreContract):
    """A table keeps the contract."""

    @pytest.fixture
    def store(self, shared: MiniStack) -> Callable[[], StateStore]:
        """Open handles to a server that was emptied."""
        shared.reset()
        return lambda: reach_at(shared.port, 30)


class TestDynamoDBServer(ServerContract):
    """The store bears what happens to servers."""

    @pytest.fixture
    def server(self, shared: MiniStack) -> MiniStack:
        """Give a server that was emptied."""
        shared.reset()
        return shared

    @pytest.fixture
    def reach(self) -> Reach:
        """Open handles by way of another port."""
        return reach_at
