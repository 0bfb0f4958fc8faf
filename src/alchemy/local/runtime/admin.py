"""Asking the simulators directly, through the admin worker: what the REST API reads and writes."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from alchemy.local.runtime import wiring
from alchemy.local.runtime.plane import DataPlane

if TYPE_CHECKING:
    import httpx

_SECONDS = 60.0
_PATIENCE = 15.0


class Admin:
    """A client of the admin worker, which waits while workerd is being replaced."""

    def __init__(self, plane: DataPlane) -> None:
        import httpx

        self._plane = plane
        # No connection outlives a request, for workerd may be replaced between any two; a proxy has no place here.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.AsyncClient(trust_env=False, timeout=_SECONDS, limits=limits)

    async def ask(
        self,
        method: str,
        kind: str,
        identity: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | AsyncIterable[bytes] | None = None,
    ) -> httpx.Response:
        """Send one request to the simulator object of a resource and return its whole answer.

        Args:
            method: of HTTP.
            kind: `d1`, `kv` or `r2`.
            identity: what the resource's data is stored under.
            path: the simulator's own, beginning with `/`, quoted.
            params: query parameters.
            headers: besides the admin token; a streamed body needs its `Content-Length`.
            content: the body.

        Raises:
            Closed: workerd is not running and did not come back in time.
            httpx.HTTPError: it went away, or did not answer, in the middle; the request may have taken effect.
        """
        async with self._plane.gate.inside(seconds=_PATIENCE):
            port = self._plane.listeners.port(wiring.ADMIN)
            return await self._client.request(
                method,
                f"http://127.0.0.1:{port}/{kind}/{identity}{path}",
                params=params,
                headers={**(headers or {}), "x-admin-token": self._plane.admin_token},
                content=content,
            )

    async def __aenter__(self) -> Admin:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()
