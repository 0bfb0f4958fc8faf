"""S3 and R2: the contract of every store, against a server that speaks S3's protocol."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from tests.integration.stores.servers.s3 import BUCKET, R2_BUCKET, S3Server

from alchemy.errors import ConfigurationError
from alchemy.ports import StateStore
from alchemy.stores import R2RestStateStore, R2StateStore, S3StateStore, open_store
from alchemy.testing.contract import UNIT, ServerContract, StateStoreContract, a_resource, an_owner
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


async def test_a_holder_that_is_gone_is_known_by_the_services_clock(shared: S3Server, prefix: str) -> None:
    """A new process takes at once what nobody has renewed for a ttl, without watching it for one first."""
    gone, other = _open(shared.port, prefix), _open(shared.port, prefix)
    await gone.init()
    await other.init()
    await gone._portal.run(gone.backend.take(UNIT, owner=an_owner(), ttl=-30, nonce="gone"))  # nothing renews it
    taken = await other.acquire(UNIT, owner=an_owner("destroy"), timeout=0)
    assert [lease.token for lease in await gone.locks()] == [taken.token]
    await other.deinit()
    await gone.deinit()


async def test_opened_by_url(shared: S3Server, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials come from the environment, and are in no URL; the URL opens the same place again."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    store = open_store(f"s3://{BUCKET}/{prefix}/deep?region=us-east-1&endpoint={shared.url}")
    await store.init()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.set(lease, a_resource(f"{UNIT}/a"))
    await store.deinit()
    again = open_store(store.url)
    await again.init()
    assert await again.list(UNIT) == ["a"]
    assert "hush" not in again.url
    await again.deinit()


async def test_r2_takes_its_settings_from_the_environment(
    shared: S3Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables that Alchemy for TypeScript reads are enough, under both names of the class."""
    for name, value in {
        "R2_ACCESS_KEY_ID": "key", "R2_SECRET_ACCESS_KEY": "hush-hush", "R2_BUCKET_NAME": R2_BUCKET,
        "R2_ENDPOINT": shared.url,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    one, two = R2StateStore(prefix=prefix), R2RestStateStore(R2_BUCKET, prefix=prefix)
    await one.init()
    await two.init()
    lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
    await one.set(lease, a_resource(f"{UNIT}/a"))
    assert await two.list(UNIT) == ["a"]
    assert one.url == two.url == f"r2://{R2_BUCKET}/{prefix}"
    await one.deinit()
    await two.deinit()


async def test_a_bucket_that_is_missing(shared: S3Server, prefix: str) -> None:
    """It is named, with the command that makes it."""
    store = _open(shared.port, prefix, bucket="nowhere")
    with pytest.raises(ConfigurationError, match="s3://nowhere") as refused:
        await store.init()
    assert "aws s3 mb s3://nowhere" in str(refused.value.hint)
    assert "hush" not in str(refused.value)
    await store.deinit()
