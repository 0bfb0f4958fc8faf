"""Azure Blob Storage: the contract of every store, against Azurite."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from tests.integration.stores.servers.azurite import ACCOUNT, CONTAINER, KEY, AzureServer

from alchemy.errors import ConfigurationError
from alchemy.ports import StateStore
from alchemy.stores import AzureStateStore, open_store
from alchemy.testing.contract import Reach, ServerContract, StateStoreContract

pytestmark = pytest.mark.anyio
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    """Give a server for all tests of this module."""
    server = AzureServer(tmp_path_factory.mktemp("azure"))
    server.start()
    try:
        yield server
    finally:
        server.kill()


class TestAzureStateStore(StateStoreContract):
    """A container keeps the contract."""

    @pytest.fixture
    def store(self, shared: AzureServer) -> Callable[[], StateStore]:
        """Open handles to an empty prefix."""
        prefix = f"test-{next(_numbers)}"
        return lambda: AzureStateStore(CONTAINER, prefix=prefix, account=ACCOUNT, access_key=KEY, endpoint=shared.url)


class TestAzureServer(ServerContract):
    """The store bears what happens on the way to a server; all but its death, which Azurite does not survive whole."""

    test_a_server_that_is_killed_and_started_again_loses_nothing = None  # type: ignore[assignment]
    """Azurite keeps what it acknowledged in memory for a while."""

    @pytest.fixture
    def server(self, shared: AzureServer) -> AzureServer:
        """Give the server that all tests use."""
        return shared

    @pytest.fixture
    def reach(self) -> Reach:
        """Open handles to an empty prefix by way of another port."""
        prefix = f"test-{next(_numbers)}"

        def open_at(port: int, patience: float) -> StateStore:
            endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
            given = {"prefix": prefix, "account": ACCOUNT, "access_key": KEY, "endpoint": endpoint}
            return AzureStateStore(CONTAINER, patience=patience, **given)

        return open_at


async def test_opened_by_url(shared: AzureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key comes from the environment, and is in no message."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
    store = open_store(f"az://{CONTAINER}/by-url?account={ACCOUNT}&endpoint={shared.url}")
    await store.init()
    assert list(await store.list_scopes("")) == []
    assert KEY not in store.url
    await store.deinit()


async def test_a_container_that_is_missing_and_a_wrong_key(shared: AzureServer) -> None:
    """Both are said, with what to do, and without the key."""
    wrong = "d3Jvbmcta2V5"
    for container, key, said in (("nowhere", KEY, "no such bucket"), (CONTAINER, wrong, "refuses")):
        store = AzureStateStore(container, account=ACCOUNT, access_key=key, endpoint=shared.url)
        with pytest.raises(ConfigurationError, match=said) as refused:
            await store.init()
        assert refused.value.hint
        assert key not in str(refused.value)
        await store.deinit()
