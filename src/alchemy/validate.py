"""Whether a value is of an annotated type: the checks that a constructor makes at run time. Pure."""

from __future__ import annotations

import types
import typing
from collections import abc
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

from alchemy.secret import Secret

Check = Callable[[Any], bool]


def checker(hint: Any) -> Check | None:
    """Give a test for a type hint, or `None` when anything passes.

    Mappings and sequences are looked into; a text is not taken for a sequence of texts, nor `True` for a number.
    What cannot be tested (protocols, callables, names that do not resolve) passes.
    """
    if hint is Any or hint is object or isinstance(hint, str | TypeVar | typing.ForwardRef):
        return None
    if hint is None or hint is type(None):
        return lambda value: value is None
    origin = get_origin(hint)
    if origin is not None:
        return _generic(origin, get_args(hint))
    alias = getattr(hint, "__value__", None) if type(hint).__name__ == "TypeAliasType" else None
    if alias is not None:
        return checker(alias)
    supertype = getattr(hint, "__supertype__", None)
    if supertype is not None:
        return checker(supertype)
    return _plain(hint)


def _plain(hint: Any) -> Check | None:
    if not isinstance(hint, type) or getattr(hint, "_is_protocol", False) or typing.is_typeddict(hint):
        return (lambda value: isinstance(value, abc.Mapping)) if typing.is_typeddict(hint) else None
    if hint is int:
        return lambda value: isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    if issubclass(hint, Enum):
        return lambda value: isinstance(value, hint)
    return lambda value: isinstance(value, hint)


def _generic(origin: Any, args: tuple[Any, ...]) -> Check | None:
    if origin is Annotated:
        return checker(args[0])
    if origin is Literal:
        return lambda value: any(value == word and type(value) is type(word) for word in args)
    if origin in (Union, types.UnionType):
        return _any_of([checker(arg) for arg in args])
    if origin is Secret:
        inner = checker(args[0]) if args else None
        return lambda value: isinstance(value, Secret) and (inner is None or inner(value.reveal()))
    if not isinstance(origin, type) or origin.__name__ == "Callable":
        return None
    if issubclass(origin, abc.Mapping):
        return _mapping(origin, *(checker(arg) for arg in args))
    if issubclass(origin, tuple):
        return _tuple(args)
    if issubclass(origin, abc.Collection):
        return _collection(origin, checker(args[0]) if args else None)
    return lambda value: isinstance(value, origin)


def _any_of(checks: list[Check | None]) -> Check | None:
    if None in checks:
        return None
    known = [check for check in checks if check is not None]
    return lambda value: any(check(value) for check in known)


def _mapping(origin: Any, key: Check | None = None, item: Check | None = None) -> Check:
    def check(value: Any) -> bool:
        return isinstance(value, origin) and all(
            (key is None or key(k)) and (item is None or item(v)) for k, v in value.items()
        )

    return check


def _collection(origin: Any, item: Check | None) -> Check:
    def check(value: Any) -> bool:
        if isinstance(value, str | bytes) or not isinstance(value, origin):
            return False
        return item is None or all(item(v) for v in value)

    return check


def _tuple(args: tuple[Any, ...]) -> Check:
    if len(args) == 2 and args[1] is Ellipsis:
        return _collection(tuple, checker(args[0]))
    checks = [checker(arg) for arg in args]

    def check(value: Any) -> bool:
        return (
            isinstance(value, tuple)
            and len(cast("tuple[Any, ...]", value)) == len(checks)
            and all(
                test is None or test(item) for test, item in zip(checks, cast("tuple[Any, ...]", value), strict=True)
            )
        )

    return check


def describe(hint: Any) -> str:
    """Say a type hint as a person would write it."""
    if isinstance(hint, type) and get_origin(hint) is None:
        return "None" if hint is types.NoneType else hint.__qualname__
    if get_origin(hint) in (Union, types.UnionType):
        return " | ".join(map(describe, get_args(hint)))
    return str(hint).replace("typing.", "").replace("collections.abc.", "").replace("alchemy.secret.", "")
