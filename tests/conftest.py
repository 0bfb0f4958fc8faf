"""What every test shares: one event loop, and nothing leaking in from the developer's shell or from another test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from alchemy import config


@pytest.fixture
def anyio_backend() -> str:
    """Run asynchronous tests on asyncio, the only loop the product supports."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide the developer's own settings from every test, and undo what a command does to its process."""
    for name in list(os.environ):
        if name.startswith(("ALCHEMY_", "CLOUDFLARE_")):
            monkeypatch.delenv(name)
    folder = Path.cwd()
    before = config.launch.set(None)
    yield
    config.launch.reset(before)
    os.chdir(folder)
