"""What every endpoint shares: who may call, which account, how a request is read."""

from __future__ import annotations

import hmac
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from alchemy.local._metadata import Metadata
from alchemy.local.control.envelope import ApiError, failure
from alchemy.local.control.shapes import object_or_none
from alchemy.local.runtime.admin import Admin
from alchemy.local.runtime.plane import DataPlane

_ACCOUNT = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Context:
    """One local Cloudflare.

    Attributes:
        account_id: the only account.
        api_token: the only token that is accepted.
        metadata: what is known.
        plane: what is running.
        admin: the way to stored data.
    """

    account_id: str
    api_token: str
    metadata: Metadata
    plane: DataPlane
    admin: Admin


@dataclass(frozen=True)
class Call:
    """One authenticated request.

    Attributes:
        request: as received.
        context: whom it is for.
    """

    request: Request
    context: Context

    @property
    def metadata(self) -> Metadata:
        """Short for `context.metadata`."""
        return self.context.metadata

    def path(self, name: str) -> str:
        """Return a part of the path, decoded."""
        value: str = self.request.path_params[name]
        return value

    def query(self, name: str) -> str | None:
        """Return a query parameter."""
        value: str | None = self.request.query_params.get(name)
        return value

    async def json(self) -> Any:
        """Return the body.

        Raises:
            ApiError: it is not JSON.
        """
        try:
            return await self.request.json()
        except ValueError as error:
            raise ApiError(400, 10026, f"the request's body is not valid JSON: {error}") from error

    async def mapping(self) -> Mapping[str, Any]:
        """Return the body, an object; an empty body is an empty object.

        Raises:
            ApiError: it is something else.
        """
        if not await self.request.body():
            return {}
        body = object_or_none(await self.json())
        if body is None:
            raise ApiError(400, 10026, "the request's body must be a JSON object")
        return body


Handler = Callable[[Call], Awaitable[Response]]


def route(context: Context, method: str, path: str, handler: Handler, *, below: str = "/client/v4") -> Route:
    """Return a route that only lets the holder of the token in, and only to the one account."""

    async def endpoint(request: Request) -> Response:
        try:
            _authenticate(request, context)
            _check_account(request, context)
            return await handler(Call(request, context))
        except ApiError as error:
            return failure(error)

    return Route(f"{below}{path}", endpoint, methods=[method])


def _authenticate(request: Request, context: Context) -> None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise ApiError(401, 10000, "Authentication error")
    if not hmac.compare_digest(token.encode(), context.api_token.encode()):
        raise ApiError(403, 9109, "Invalid access token")


def _check_account(request: Request, context: Context) -> None:
    account = request.path_params.get("account")
    if account is None or account == context.account_id:
        return
    if not _ACCOUNT.fullmatch(account):
        message = f"Could not route to {request.url.path}, perhaps your object identifier is invalid?"
        raise ApiError(404, 7003, message)
    raise ApiError(403, 10000, "Authentication error")


def now() -> str:
    """Return the time as the API writes it: `2026-11-21T09:00:00.000000Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def new_id() -> str:
    """Return 32 random hexadecimal digits."""
    return uuid.uuid4().hex
