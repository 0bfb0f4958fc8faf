"""The state service keeps the contract of every store on an account where its client has put it, through the API."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from tests.integration.stores.servers.account import Account, AccountService
from tests.integration.stores.servers.service import WIPING, wipe

from alchemy.ports import StateStore
from alchemy.stores import CloudflareStateStore, service
from alchemy.testing.contract import Reach, ServerContract, StateStoreContract

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """A local Cloudflare that the tests of this module share, also those that kill it."""
    account = Account(tmp_path_factory.mktemp("cloud"))
    account.start()
    try:
        yield account
    finally:
        account.stop()


@pytest.fixture(autouse=True)
def _environment(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in account.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def emptied(account: Account) -> Iterator[AccountService]:
    """A service whose module differs from the one that is shipped in that it can be emptied."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in account.environment.items():
            patch.setenv(name, value)
        patch.setattr(service, "source", lambda: WIPING.replace('env.DEBUG === "1"', "true"))
        yield AccountService(account, "state-emptied")


class TestCloudflareAccount(StateStoreContract):
    """`cloudflare:` keeps the contract."""

    @pytest.fixture
    def store(self, emptied: AccountService) -> Callable[[], StateStore]:
        """Open handles to a service that was emptied; each makes sure that the account has it."""
        wipe(emptied.port)
        return lambda: CloudflareStateStore.from_url(emptied.url)


class TestCloudflareAccountServer(ServerContract):
    """The store bears what happens to an account's machines, and on the way to them."""

    @pytest.fixture
    def server(self, account: Account) -> AccountService:
        """Give a service that was just put there."""
        return AccountService(account, f"state-{next(_numbers)}")

    @pytest.fixture
    def reach(self, server: AccountService) -> Reach:
        """Open handles as users do; by way of another port than the service's own by its address."""
        script = server.url.rpartition("=")[2]

        def open_at(port: int, patience: float) -> StateStore:
            if port == server.port:
                return CloudflareStateStore(script_name=script, patience=patience)
            return CloudflareStateStore(f"http://127.0.0.1:{port}", patience=patience)

        return open_at
