"""Asking a simulator and turning "it is not there" into an answer of the API."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from typing import TYPE_CHECKING

from alchemy.local.control.context import Context
from alchemy.local.control.envelope import ApiError
from alchemy.local.runtime.gate import Closed

if TYPE_CHECKING:
    import httpx


async def ask(
    context: Context,
    method: str,
    kind: str,
    identity: str,
    path: str,
    *,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    content: bytes | AsyncIterable[bytes] | None = None,
) -> httpx.Response:
    """Send one request to a resource's simulator; see `Admin.ask`.

    Raises:
        ApiError: 503 when workerd is down, 502 when it went away in the middle.
    """
    import httpx

    try:
        return await context.admin.ask(method, kind, identity, path, params=params, headers=headers, content=content)
    except Closed:
        raise ApiError(503, 10013, "workerd is not running; its log says why") from None
    except httpx.HTTPError as error:
        raise ApiError(502, 10013, f"workerd did not answer: {type(error).__name__}") from error
