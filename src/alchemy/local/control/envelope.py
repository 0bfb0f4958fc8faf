"""Cloudflare's answer envelope and its errors.

```json
{"success": false, "errors": [{"code": 7502, "message": "…"}], "messages": [], "result": null}
```

Codes are Cloudflare's where they are known, from its published clients, its documentation and reports of what the
live API answers. Source: https://developers.cloudflare.com/api/
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response


class ApiError(Exception):
    """An answer that is not a success.

    Attributes:
        status: of HTTP.
        code: Cloudflare's number.
        message: for people; clients must not match on it.
        meta: what else is known of it, for clients.
    """

    def __init__(self, status: int, code: int, message: str, *, meta: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.meta = meta


def json_response(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return JSON, written compactly."""
    content = json.dumps(body, separators=(",", ":"))
    return Response(content, status, headers=headers, media_type="application/json")


def success(
    result: object,
    *,
    result_info: Mapping[str, Any] | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a result in the envelope."""
    body: dict[str, Any] = {"success": True, "errors": [], "messages": [], "result": result}
    if result_info is not None:
        body["result_info"] = result_info
    return json_response(body, status=status, headers=headers)


def failure(error: ApiError) -> Response:
    """Return an error in the envelope. Clients are told not to repeat the request: nothing here is overloaded."""
    told: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.meta is not None:
        told["meta"] = error.meta
    body = {"success": False, "errors": [told], "messages": [], "result": None}
    return json_response(body, status=error.status, headers={"x-should-retry": "false"})
