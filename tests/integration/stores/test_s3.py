"""S3 and R2: the contract of every store, against a server that speaks S3's protocol."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from tests.integration.stores.servers.s3 import BUCKET, S3Server

from alchemy.ports import StateStore
from alchemy.stores import S3StateStore
from alchemy.testing.contract import ServerContract, StateStoreContract
from alchemy.testing.contract.servers import Reach

pytestmark = pytest.mark.anyio
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Give a server for all tests of this module."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def prefix() -> str:
    """Give each test an empty place of its own."""
    return f"test-{next(_numbers)}"


def _open(port: int, prefix: str, patience: float = 30.0, bucket: str = BUCKET) -> S3StateStore:
    return S3StateStore(
        bucket,
        prefix=prefix,
        region="us-east-1",
        endpoint=f"http://127.0.0.1:{port}",
        access_key_id="key",
        secret_access_key="hush-hush",
        patience=patience,
    )


class TestS3StateStore(StateStoreContract):
    """A bucket keeps the contract."""

    @pytest.fixture
    def store(self, shared: S3Server, prefix: str) -> Callable[[], StateStore]:
        """Open handles to an empty prefix."""
        return lambda: _open(shared.port, prefix)


class TestS3Server(ServerContract):
    """The store bears what happens to servers."""

    @pytest.fixture
    def server(self, shared: S3Server) -> S3Server:
        """Give the server."""
        return shared

    @pytest.fixture
    def reach(self, prefix: str) -> Reach:
        """Open handles by way of another port."""
        return lambda port, patience: _open(port, prefix, patience)
