"""A local Cloudflare a module, and handlers called as the engine calls them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar, cast

import httpx
import pytest

from alchemy.clients.cloudflare import Cloudflare, connect
from alchemy.cloudflare.provider import CloudflareProvider
from alchemy.local import LocalCloudflare, environment, local_cloudflare
from alchemy.provider import Context
from alchemy.resource import Resource, make_detached

R = TypeVar("R", bound=Resource)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Give a module one event loop, for the server that its tests share."""
    return "asyncio"


@pytest.fixture(scope="module")
async def cloud(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalCloudflare]:
    """A local Cloudflare that the module's tests share."""
    async with local_cloudflare(tmp_path_factory.mktemp("cloud")) as info:
        yield info


@pytest.fixture
async def api(cloud: LocalCloudflare, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cloudflare]:
    """The run's client, made from the environment as a run makes it."""
    for name, value in environment(cloud).items():
        monkeypatch.setenv(name, value)
    opened = await connect()
    yield opened
    await opened.close()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A plain HTTP client that keeps no connection."""
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(trust_env=False, timeout=30, limits=limits) as opened:
        yield opened


class Hand:
    """Calls one provider's handlers for one resource, and keeps what the engine would keep.

    Attributes:
        data: what the handlers kept with the record.
        said: what they logged.
        checkpoints: the outputs they made durable in the middle.
    """

    def __init__(self, provider: CloudflareProvider[Any], api: Cloudflare, name: str) -> None:
        self.provider = provider
        self.api = api
        self.name = name
        self.data: dict[str, Any] = {}
        self.said: list[str] = []
        self.checkpoints: list[dict[str, Any]] = []

    def context(self, want: Resource) -> Context[Any]:
        """Make what the engine would pass to a handler."""

        async def checkpoint(outputs: dict[str, Any]) -> None:
            self.checkpoints.append(outputs)

        async def shared(key: str, make: Callable[[], Awaitable[Any]]) -> Any:
            assert key == "cloudflare"
            return self.api

        return Context(
            want=want,
            app="app",
            stage="test",
            name=self.name,
            target=self.api.target,
            adopt=False,
            force=False,
            local=True,
            data=self.data,
            log=self.said.append,
            checkpoint=checkpoint,
            shared=shared,
        )

    async def find(self, want: R) -> R | None:
        """Look for it by name."""
        return cast("R | None", await self.provider.find(self.context(want), want))

    async def read(self, have: R) -> R | None:
        """Look for it by its outputs."""
        return cast("R | None", await self.provider.read(self.context(have), have))

    async def create(self, want: R) -> R:
        """Create it."""
        return cast("R", await self.provider.create(self.context(want), want))

    async def update(self, want: R, have: R) -> R:
        """Change it."""
        return cast("R", await self.provider.update(self.context(want), want, have))

    async def delete(self, have: R) -> None:
        """Delete it."""
        await self.provider.delete(self.context(have), have)


MakeHand = Callable[[CloudflareProvider[Any], str], Hand]


@pytest.fixture
def make_hand() -> Callable[[CloudflareProvider[Any], Cloudflare], Hand]:
    """Make what calls a provider's handlers on any client."""
    return lambda provider, api: Hand(provider, api, "its-name")


@pytest.fixture
def hand(api: Cloudflare) -> MakeHand:
    """Make what calls a provider's handlers."""
    return lambda provider, name: Hand(provider, api, name)


@pytest.fixture
def declared() -> Callable[..., Any]:
    """Make a resource as a handler gets it: with inputs, or inputs and outputs, and no scope."""

    def make(cls: type[R], id: str, **values: Any) -> R:
        return cast("R", make_detached(cls, id=id, fqn=f"app/test/{id}", values=values))

    return make
