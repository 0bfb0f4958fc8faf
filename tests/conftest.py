"""What every test shares: one event loop, and no option leaking in from the developer's shell."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Run asynchronous tests on asyncio, the only loop the product supports."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the developer's own Alchemy and Cloudflare settings from every test."""
    for name in list(os.environ):
        if name.startswith(("ALCHEMY_", "CLOUDFLARE_")):
            monkeypatch.delenv(name)
