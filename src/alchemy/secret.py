"""A value that never prints itself."""

from __future__ import annotations

import copy
import hmac
from typing import Any, Generic, NoReturn, SupportsIndex, TypeVar

MASK = "***"

T = TypeVar("T")


class Secret(Generic[T]):
    """Hold a value that must not be seen: `repr`, `str` and formats show `***`, and so do tracebacks with locals.

    JSON encoders and pickles refuse it with a `TypeError` that shows `***`; an encoder's fallback of `str` writes
    `***`. A pickle that held the mask instead would come back as a secret whose value is `***`, and be deployed.

    The value is encrypted in state with the application's password, and comes back as a `Secret`.
    Two secrets are equal when their values are; the comparison of texts takes constant time. A secret of an empty
    text is false. A copy is as secret as the original; a deep copy shares nothing with it.

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

    # No values among the locals of the methods below: what fails in them may be printed with its locals.

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        if isinstance(self._value, str) and isinstance(other._value, str):
            return hmac.compare_digest(
                self._value.encode("utf-8", "surrogatepass"), other._value.encode("utf-8", "surrogatepass")
            )
        if isinstance(self._value, bytes) and isinstance(other._value, bytes):
            return hmac.compare_digest(self._value, other._value)
        return type(self._value) is type(other._value) and bool(self._value == other._value)

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __copy__(self) -> Secret[T]:
        return Secret(self._value, name=self.name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret[T]:
        return Secret(copy.deepcopy(self._value, memo), name=self.name)

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"a secret ({MASK}) cannot be pickled; pass it as an input, or reveal it where it is used")

    def __reduce__(self) -> NoReturn:
        self.__reduce_ex__(0)

    def __getstate__(self) -> NoReturn:
        self.__reduce_ex__(0)
