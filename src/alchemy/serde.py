"""Values of a program <-> the JSON of state. Pure.

What JSON has no word for is an object with one key that begins with `@`: `{"@date": …}`, `{"@secret": …}`,
`{"@bytes": …}`, `{"@path": …}`, `{"@resource": …}`. A user's own key that begins with `@` gets another one in
front, so that no data of theirs is ever taken for a tag. Tuples become lists; an enum becomes its value.
"""

from __future__ import annotations

import base64
import dataclasses
import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePath
from typing import Any, cast
from uuid import UUID

import msgspec

from alchemy.errors import DeclarationError, StateError
from alchemy.secret import MASK, Secret
from alchemy.state import Json, JsonObject, is_array, is_object

MAX_DEPTH = 64
_INT64 = range(-(2**63), 2**63)
_canonical = msgspec.json.Encoder(order="deterministic")

Seal = Callable[[Secret[Any], tuple[str | int, ...]], Json]
Refer = Callable[[Any], "JsonObject | None"]


def canonical(data: Json) -> bytes:
    """Give JSON data as bytes that are equal exactly when the data are: keys sorted, `1`, `1.0` and `true` apart."""
    return _canonical.encode(data)


def _no_secret(_secret: Secret[Any], _path: tuple[str | int, ...]) -> Json:
    raise TypeError("a secret cannot be kept here")


def _no_reference(_value: object) -> None:
    return None


def encode(
    value: object, *, seal: Seal = _no_secret, refer: Refer = _no_reference, at: tuple[str | int, ...] = ()
) -> Json:
    """Turn a value into JSON.

    Args:
        value: what a resource was given, or what its provider gave back.
        at: where the value is, for messages.
        seal: turns a secret into the payload of `@secret`; told the path to it.
        refer: turns a resource into the payload of `@resource`, anything else into `None`.

    Raises:
        DeclarationError: state cannot hold it; says where in `value`, and what it is.
    """
    return _Encoder(seal, refer).encode(value, at)


class _Encoder:
    def __init__(self, seal: Seal, refer: Refer) -> None:
        self._seal = seal
        self._refer = refer

    def encode(self, value: object, path: tuple[str | int, ...]) -> Json:
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is str:
            return value if value.isascii() else _text(value, path)  # type: ignore[attr-defined, arg-type]
        if kind is int:
            return value if value in _INT64 else {"@int": str(value)}
        if kind is dict:
            return self._mapping(value, path)  # type: ignore[arg-type]
        if kind is list or kind is tuple:
            return self._items(cast("Sequence[Any]", value), path)
        return self._other(value, path)

    def _items(self, value: Sequence[Any], path: tuple[str | int, ...]) -> Json:
        _check_depth(path)
        return [self.encode(item, (*path, index)) for index, item in enumerate(value)]

    def _mapping(self, value: Mapping[Any, Any], path: tuple[str | int, ...]) -> JsonObject:
        _check_depth(path)
        result: JsonObject = {}
        for key, item in value.items():
            if type(key) is not str:
                if isinstance(key, Enum) and isinstance(key.value, str):
                    key = key.value
                elif not isinstance(key, str):
                    raise DeclarationError(f"{where(path)} has the key {key!r}; state holds text keys only")
            result["@" + key if key.startswith("@") else key] = self.encode(item, (*path, key))
        return result

    def _other(self, value: object, path: tuple[str | int, ...]) -> Json:
        if isinstance(value, Secret):
            return {"@secret": self._seal(cast("Secret[Any]", value), path)}
        reference = self._refer(value)
        if reference is not None:
            return {"@resource": reference}
        if isinstance(value, Mapping):
            return self._mapping(cast("Mapping[Any, Any]", value), path)
        if isinstance(value, Enum):
            return self.encode(value.value, path)
        if isinstance(value, list | tuple):
            return self._items(cast("Sequence[Any]", value), path)
        if isinstance(value, set | frozenset):
            items = [self.encode(item, (*path, "(set)")) for item in cast("frozenset[Any]", value)]
            return {"@set": sorted(items, key=canonical)}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            name = f"{type(value).__module__}:{type(value).__qualname__}"
            return {"@object": {"class": name, "fields": self._mapping(fields, path)}}
        return _scalar(value, path)


def _check_depth(path: tuple[str | int, ...]) -> None:
    if len(path) > MAX_DEPTH:
        raise DeclarationError(f"{where(path[:4])} is nested deeper than {MAX_DEPTH} levels, or contains itself")


def _text(value: str, path: tuple[str | int, ...]) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DeclarationError(f"{where(path)} is no text that can be written as UTF-8: {error.reason}") from None
    return value


def _scalar(value: object, path: tuple[str | int, ...]) -> Json:
    match value:
        case float():
            return value if math.isfinite(value) else {"@float": str(value)}
        case str() | int():
            return str(value) if isinstance(value, str) else int(value)
        case bytes() | bytearray() | memoryview():
            return {"@bytes": base64.b64encode(cast("bytes", value)).decode()}
        case datetime():
            moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
            return {"@date": moment.isoformat().replace("+00:00", "Z")}
        case date():
            return {"@day": value.isoformat()}
        case timedelta():
            return {"@seconds": value.total_seconds()}
        case PurePath():
            return {"@path": str(value)}
        case UUID():
            return {"@uuid": str(value)}
        case Decimal():
            return {"@decimal": str(value)}
        case _:
            raise DeclarationError(
                f"{where(path)} is of the type {type(value).__qualname__}, which state cannot hold",
                hint="pass text, numbers, bytes, dates, paths, secrets, resources, or mappings and sequences of these",
            )


def where(path: tuple[str | int, ...]) -> str:
    """Name a place inside a value: `bindings['DB']`, `tags[2]`."""
    if not path:
        return "the value"
    head, *rest = path
    return str(head) + "".join(f"[{part!r}]" for part in rest)


Open = Callable[[Json], Any]
Build = Callable[[JsonObject], Any]


def decode(data: Json, *, open_: Open | None = None, build: Build | None = None) -> Any:
    """Turn JSON back into the value.

    Args:
        data: what `encode` gave.
        open_: turns the payload of `@secret` into a `Secret`; without it a secret stays the JSON it is.
        build: turns the payload of `@resource` into a resource; without it it stays the JSON it is.

    Raises:
        StateError: a tag that this version does not know.
    """
    if is_object(data):
        return _decode_object(data, open_, build)
    if is_array(data):
        return [decode(item, open_=open_, build=build) for item in data]
    return data


def _decode_object(data: JsonObject, open_: Open | None, build: Build | None) -> Any:
    if len(data) == 1:
        ((key, payload),) = data.items()
        if key.startswith("@") and not key.startswith("@@"):
            return _decode_tag(key, payload, open_, build)
    return {
        (key[1:] if key.startswith("@") else key): decode(item, open_=open_, build=build) for key, item in data.items()
    }


_SCALARS: dict[str, Callable[[Any], object]] = {
    "@int": int,
    "@float": float,
    "@bytes": base64.b64decode,
    "@date": datetime.fromisoformat,
    "@day": date.fromisoformat,
    "@seconds": lambda seconds: timedelta(seconds=seconds),
    "@path": Path,
    "@uuid": UUID,
    "@decimal": Decimal,
}


def _decode_tag(tag: str, payload: Json, open_: Open | None, build: Build | None) -> Any:
    scalar = _SCALARS.get(tag)
    if scalar is not None:
        return scalar(payload)
    match tag:
        case "@secret":
            return open_(payload) if open_ else {tag: payload}
        case "@resource":
            return build(payload) if build else {tag: payload}
        case "@set":
            return {decode(item, open_=open_, build=build) for item in payload}
        case "@object":
            fields = decode(payload["fields"], open_=open_, build=build)
            return _make(payload["class"], fields)
        case _:
            raise StateError(f"state holds a value tagged {tag!r}, which this version does not know")


def _make(name: str, fields: dict[str, Any]) -> Any:
    """Make a dataclass again; a class that is gone leaves its fields as a mapping, enough to destroy by."""
    module, _, qualname = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
        return found(**fields)
    except (ImportError, AttributeError, TypeError):
        return fields


def contains_secret(data: Json) -> bool:
    """Say whether there is a `@secret` anywhere in encoded data."""
    if is_object(data):
        return "@secret" in data or any(contains_secret(item) for item in data.values())
    if is_array(data):
        return any(contains_secret(item) for item in data)
    return False


def masked(data: Json) -> Json:
    """Give encoded data with `***` for every secret, for people to read."""
    if is_object(data):
        if data.keys() == {"@secret"}:
            return MASK
        return {key: masked(item) for key, item in data.items()}
    if is_array(data):
        return [masked(item) for item in data]
    return data
