"""Fixtures for tests of programs, and of providers.

Installed with the package: pytest finds it by itself.

```python
import pytest
from alchemy import alchemy
from alchemy.cloudflare import D1Database

@pytest.mark.anyio
async def test_database(local_cloudflare, alchemy_scope):
    db = await D1Database("db")          # destroyed at the end, also after a failure
    assert db.database_id
```
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from alchemy.local import LocalCloudflare
    from alchemy.opening import StageScope

    OpenTest = Callable[..., AbstractAsyncContextManager[StageScope]]

MAX_ID = 80


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the plugin."""
    group = parser.getgroup("alchemy")
    group.addoption(
        "--alchemy-prefix", help="Put before the id of every test scope: tells apart runs that share an account."
    )
    group.addoption(
        "--alchemy-keep",
        action="store_true",
        help="Leave what test scopes created in place, to look at it; the next run destroys it.",
    )


def scope_id(nodeid: str) -> str:
    """Name a test's scope after the test: readable, and different for every test.

    Args:
        nodeid: as pytest gives it, `tests/test_api.py::test_list[empty]`.
    """
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", nodeid.partition("/")[2] or nodeid).strip("-.")
    digest = hashlib.sha256(nodeid.encode()).hexdigest()[:8]
    return f"{readable[-(MAX_ID - 9) :].strip('-.')}-{digest}"


@pytest.fixture
def _cloudflare_first(request: pytest.FixtureRequest) -> None:
    """Start the local Cloudflare before the scope that uses it, whatever the order of a test's arguments."""
    if "local_cloudflare" in request.fixturenames:
        request.getfixturevalue("local_cloudflare")


@pytest.fixture
def alchemy_test(request: pytest.FixtureRequest) -> OpenTest:
    """Open this test's scope: `async with alchemy_test() as scope`. Works with every plugin for asynchronous tests.

    It takes the options of `alchemy.test(...)`.
    """
    from alchemy import alchemy

    def open_test(**options: Any) -> AbstractAsyncContextManager[StageScope]:
        options.setdefault("prefix", request.config.getoption("--alchemy-prefix"))
        options.setdefault("auto_cleanup", not request.config.getoption("--alchemy-keep"))
        return alchemy.test(scope_id(request.node.nodeid), **options)

    return open_test


@pytest.fixture
async def alchemy_scope(
    _cloudflare_first: None, alchemy_test: OpenTest, anyio_backend: object
) -> AsyncIterator[StageScope]:
    """This test's scope, open: what the test declares belongs to it, and is destroyed at the end.

    For tests that run under anyio's plugin (`@pytest.mark.anyio`); with another plugin use `alchemy_test`.
    """
    async with alchemy_test() as scope:
        yield scope


@pytest.fixture
def local_cloudflare(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalCloudflare]:
    """A fresh Cloudflare on this machine, the environment pointing at it; it ends with the test, or with pytest."""
    from alchemy import local

    serving = local.local_cloudflare(Path(tmp_path_factory.mktemp("cloudflare")))
    with asyncio.Runner() as runner:
        info = runner.run(serving.__aenter__())
        try:
            for name, value in local.environment(info).items():
                monkeypatch.setenv(name, value)
            yield info
        finally:
            runner.run(serving.__aexit__(None, None, None))
