"""What the tests of the state service share: one service for those that do not stop it, and how to open others."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.integration.service.clients import Client, Open, opened


@pytest.fixture(scope="package")
def anyio_backend() -> str:
    """Give these tests one event loop, for the service that they share."""
    return "asyncio"


@pytest.fixture
def open_service() -> Open:
    """Serve a folder: `async with open_service(folder, source=…) as client`."""
    return opened


@pytest.fixture(scope="package")
async def shared(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """A service that all tests share that do not stop it; each uses an application of its own."""
    async with opened(tmp_path_factory.mktemp("service")) as client:
        yield client
