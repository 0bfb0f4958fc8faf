"""Lists in pages, counted from 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from starlette.responses import Response

from alchemy.local.control.context import Call
from alchemy.local.control.envelope import ApiError, success

_T = TypeVar("_T")


def number(call: Call, name: str, default: int, *, least: int = 1, most: int) -> int:
    """Return a query parameter that counts something.

    Raises:
        ApiError: it is not a whole number from `least` to `most`.
    """
    text = call.query(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise ApiError(400, 10001, f"{name} must be a whole number from {least} to {most}, not {text!r}")
    return int(text)


def paged(
    call: Call, items: Sequence[_T], show: Callable[[_T], Mapping[str, Any]], *, per_page: int, most: int
) -> Response:
    """Return the page that the request asks for."""
    page = number(call, "page", 1, most=1_000_000)
    size = number(call, "per_page", per_page, most=most)
    part = items[(page - 1) * size : page * size]
    info = {
        "page": page,
        "per_page": size,
        "count": len(part),
        "total_count": len(items),
        "total_pages": -(-len(items) // size),
    }
    return success([show(item) for item in part], result_info=info)
