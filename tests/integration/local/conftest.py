"""One local Cloudflare for most tests, and what tests need to talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from cloudflare import AsyncCloudflare

from alchemy.local import LocalCloudflare, environment, local_cloudflare

Deploy = Callable[..., Awaitable[str]]


@pytest.fixture(scope="package")
def anyio_backend() -> str:
    """Give these tests one event loop, for the server that they share."""
    return "asyncio"


@pytest.fixture(scope="package")
async def cloud(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalCloudflare]:
    """A local Cloudflare that all tests share that do not stop it."""
    async with local_cloudflare(tmp_path_factory.mktemp("cloud")) as info:
        yield info


@pytest.fixture
async def client(cloud: LocalCloudflare) -> AsyncIterator[AsyncCloudflare]:
    """The official SDK, pointed at it as a user would, never repeating a request."""
    async with sdk(cloud) as opened:
        yield opened


@pytest.fixture
def connect() -> Callable[[LocalCloudflare], AsyncCloudflare]:
    """The official SDK for any local Cloudflare."""
    return sdk


def sdk(info: LocalCloudflare) -> AsyncCloudflare:
    """Return a client that is configured with the three variables."""
    variables = environment(info)
    return AsyncCloudflare(
        api_token=variables["CLOUDFLARE_API_TOKEN"], base_url=variables["CLOUDFLARE_BASE_URL"], max_retries=0
    )


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A plain HTTP client that keeps no connection."""
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(trust_env=False, timeout=30, limits=limits) as opened:
        yield opened


@pytest.fixture
def deploy() -> Deploy:
    """Upload a script, enable it, and return its address."""
    return upload


async def upload(
    client: AsyncCloudflare,
    info: LocalCloudflare,
    name: str,
    source: str,
    *,
    modules: list[tuple[str, bytes, str]] | None = None,
    **metadata: Any,
) -> str:
    """Upload `source` as the main module `index.js`, with further modules and metadata."""
    await client.workers.scripts.update(
        name,
        account_id=info.account_id,
        metadata={"main_module": "index.js", "compatibility_date": "2026-07-01", **metadata},  # type: ignore[typeddict-item]
        files=[("index.js", source.encode(), "application/javascript+module"), *(modules or [])],
    )
    shown = await client.workers.scripts.subdomain.create(
        name, account_id=info.account_id, enabled=True, previews_enabled=False
    )
    url = (shown.model_extra or {})["local_url"]
    assert isinstance(url, str)
    return url


@pytest.fixture(scope="package")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for servers that tests start themselves."""
    return tmp_path_factory.mktemp("data") / "local"
