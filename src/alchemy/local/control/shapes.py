"""Telling JSON values apart, for what comes in from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast


def object_or_none(value: object) -> Mapping[str, Any] | None:
    """Return a JSON object as a mapping, anything else as `None`."""
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else None


def array_or_none(value: object) -> list[Any] | None:
    """Return a JSON array as a list, anything else as `None`."""
    return cast("list[Any]", value) if isinstance(value, list) else None


def strings_or_none(value: object) -> list[str] | None:
    """Return a JSON array that holds nothing but strings as a list, anything else as `None`."""
    items = array_or_none(value)
    return items if items is not None and all(isinstance(item, str) for item in items) else None
