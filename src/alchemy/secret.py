"""A value that never prints itself."""

from __future__ import annotations

import hmac
from typing import Generic, NoReturn, TypeVar, final

MASK = "***"

T = TypeVar("T")


@final
class Secret(Generic[T]):
    """Hold a value that must not be seen: `repr`, `str`, formats, JSON and pickles show `***`.

    The value is encrypted in state with the application's password, and comes back as a `Secret`.
    Two secrets are equal when their values are; the comparison of texts takes constant time.

    Args:
        value: a string, or anything that state can hold.
        name: what to call it in messages, such as the environment variable it came from.
    """

    __slots__ = ("_value", "name")

    def __init__(self, value: T, *, name: str | None = None) -> None:
        if isinstance(value, Secret):
            raise TypeError("a secret cannot hold another secret; pass the inner one as it is")
        self._value = value
        self.name = name

    def reveal(self) -> T:
        """Give the value in clear. What is done with it from here on is the caller's care."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        mine, theirs = self._value, other._value
        if isinstance(mine, str) and isinstance(theirs, str):
            return hmac.compare_digest(mine.encode(), theirs.encode())
        return type(mine) is type(theirs) and bool(mine == theirs)

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled; pass it as an input, or reveal it where it is used")
