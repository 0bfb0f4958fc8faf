"""The one token and the one account."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from alchemy.local.control.context import Call
from alchemy.local.control.envelope import success

_CREATED = "2020-01-01T00:00:00.000000Z"


async def verify_token(call: Call) -> Response:
    """Say that the token is good: it would not have come here otherwise."""
    return success({"id": call.context.account_id[::-1], "status": "active"})


async def list_accounts(call: Call) -> Response:
    """Return the one account."""
    info = {"page": 1, "per_page": 20, "count": 1, "total_count": 1, "total_pages": 1}
    first = call.query("page") in (None, "1")
    return success([_account(call)] if first else [], result_info=info)


async def get_account(call: Call) -> Response:
    """Return the one account."""
    return success(_account(call))


def _account(call: Call) -> dict[str, Any]:
    return {
        "id": call.context.account_id,
        "name": "Local Cloudflare",
        "type": "standard",
        "settings": {"enforce_twofactor": False},
        "created_on": _CREATED,
    }
