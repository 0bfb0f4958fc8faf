"""The part of Cloudflare's REST API that is served here.

Below `/client/v4`, where the official clients look. What is not here answers 404 with code 7000, in the envelope.
Besides, `/_alchemy/status`, `/_alchemy/stop` and `/_alchemy/objects`, for this package's own use with the same token.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from alchemy.local.control import accounts, classes, d1, kv, r2, scripts, settings, subdomain
from alchemy.local.control.context import Context, Handler, route
from alchemy.local.control.envelope import ApiError, failure

_log = logging.getLogger(__name__)

_A = "/accounts/{account}"
_SCRIPT = f"{_A}/workers/scripts/{{script}}"
_OBJECTS = f"{_A}/workers/durable_objects/namespaces"
_D1 = f"{_A}/d1/database"
_KV = f"{_A}/storage/kv/namespaces"
_NAMESPACE = f"{_KV}/{{namespace}}"
_R2 = f"{_A}/r2/buckets"
_BUCKET = f"{_R2}/{{bucket}}"

ENDPOINTS: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/user/tokens/verify", accounts.verify_token),
    ("GET", f"{_A}/tokens/verify", accounts.verify_token),
    ("GET", "/accounts", accounts.list_accounts),
    ("GET", _A, accounts.get_account),
    ("GET", f"{_A}/workers/subdomain", subdomain.get_account),
    ("PUT", f"{_A}/workers/subdomain", subdomain.put_account),
    ("DELETE", f"{_A}/workers/subdomain", subdomain.delete_account),
    ("GET", f"{_A}/workers/scripts", scripts.list_),
    ("PUT", _SCRIPT, scripts.put),
    ("GET", _SCRIPT, scripts.get),
    ("DELETE", _SCRIPT, scripts.delete),
    ("GET", f"{_SCRIPT}/content", scripts.get),
    ("GET", f"{_SCRIPT}/content/v2", scripts.get),
    ("PUT", f"{_SCRIPT}/content", scripts.put_content),
    ("GET", f"{_SCRIPT}/settings", settings.get),
    ("PATCH", f"{_SCRIPT}/settings", settings.patch),
    ("GET", f"{_SCRIPT}/script-settings", settings.get_script_settings),
    ("PATCH", f"{_SCRIPT}/script-settings", settings.patch_script_settings),
    ("GET", f"{_SCRIPT}/subdomain", subdomain.get),
    ("POST", f"{_SCRIPT}/subdomain", subdomain.post),
    ("DELETE", f"{_SCRIPT}/subdomain", subdomain.delete),
    ("GET", f"{_SCRIPT}/secrets", settings.list_secrets),
    ("PUT", f"{_SCRIPT}/secrets", settings.put_secret),
    ("PATCH", f"{_SCRIPT}/secrets-bulk", settings.patch_secrets),
    ("GET", f"{_SCRIPT}/secrets/{{secret}}", settings.get_secret),
    ("DELETE", f"{_SCRIPT}/secrets/{{secret}}", settings.delete_secret),
    ("GET", _OBJECTS, classes.list_),
    ("GET", f"{_OBJECTS}/{{namespace}}/objects", classes.list_objects),
    ("GET", _D1, d1.list_),
    ("POST", _D1, d1.create),
    ("GET", f"{_D1}/{{database}}", d1.get),
    ("PUT", f"{_D1}/{{database}}", d1.edit),
    ("PATCH", f"{_D1}/{{database}}", d1.edit),
    ("DELETE", f"{_D1}/{{database}}", d1.delete),
    ("POST", f"{_D1}/{{database}}/query", d1.query),
    ("POST", f"{_D1}/{{database}}/raw", d1.raw),
    ("GET", _KV, kv.list_),
    ("POST", _KV, kv.create),
    ("GET", _NAMESPACE, kv.get),
    ("PUT", _NAMESPACE, kv.rename),
    ("DELETE", _NAMESPACE, kv.delete),
    ("GET", f"{_NAMESPACE}/keys", kv.list_keys),
    ("PUT", f"{_NAMESPACE}/bulk", kv.bulk_put),
    ("POST", f"{_NAMESPACE}/bulk/delete", kv.bulk_delete),
    ("POST", f"{_NAMESPACE}/bulk/get", kv.bulk_get),
    ("GET", f"{_NAMESPACE}/metadata/{{key:path}}", kv.get_metadata),
    ("GET", f"{_NAMESPACE}/values/{{key:path}}", kv.get_value),
    ("PUT", f"{_NAMESPACE}/values/{{key:path}}", kv.put_value),
    ("DELETE", f"{_NAMESPACE}/values/{{key:path}}", kv.delete_value),
    ("GET", _R2, r2.list_),
    ("POST", _R2, r2.create),
    ("GET", _BUCKET, r2.get),
    ("DELETE", _BUCKET, r2.delete),
    ("GET", f"{_BUCKET}/objects", r2.list_objects),
    ("DELETE", f"{_BUCKET}/objects", r2.delete_objects),
    ("GET", f"{_BUCKET}/objects/{{key:path}}", r2.get_object),
    ("PUT", f"{_BUCKET}/objects/{{key:path}}", r2.put_object),
    ("DELETE", f"{_BUCKET}/objects/{{key:path}}", r2.delete_object),
)


def build(context: Context, own: tuple[BaseRoute, ...] = ()) -> Starlette:
    """Return the API for one local Cloudflare, with further routes of this package's `own`."""
    routes: list[BaseRoute] = [route(context, method, path, handler) for method, path, handler in ENDPOINTS]
    handlers: dict[int | type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        404: _no_route,
        405: _no_method,
        Exception: _broken,
    }
    return Starlette(routes=[*routes, *own], exception_handlers=handlers)


async def _no_route(request: Request, error: Exception) -> Response:
    return failure(ApiError(404, 7000, f"No route for that URI: {request.method} {request.url.path}"))


async def _no_method(request: Request, error: Exception) -> Response:
    message = f"Method {request.method} not available for that URI: {request.url.path}"
    return failure(ApiError(405, 7001, message))


async def _broken(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return failure(ApiError(500, 10001, "The local Cloudflare failed at this; its log has the details."))
