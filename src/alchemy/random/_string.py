"""A random string that stays what it is."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Mapping
from typing import Literal

from alchemy.errors import DeclarationError
from alchemy.provider import Context, Provider
from alchemy.resource import Resource, output, prop
from alchemy.secret import Secret

Encoding = Literal["hex", "base64url", "alphanumeric"]
MAX_LENGTH = 4096

_LETTERS_AND_DIGITS = string.ascii_letters + string.digits
_MAKERS: Mapping[str, Callable[[int], str]] = {
    "hex": lambda length: secrets.token_hex((length + 1) // 2)[:length],
    "base64url": lambda length: secrets.token_urlsafe(length)[:length],
    "alphanumeric": lambda length: "".join(secrets.choice(_LETTERS_AND_DIGITS) for _ in range(length)),
}


class RandomString(Resource, kind="random::String", provider="alchemy.random._string:RandomStringProvider"):
    """A secret made by chance, the same in every later run. It is encrypted in state.

    Changing an input makes another one; so does leaving it out of the program once.

    ```python
    key = await RandomString("session-key", length=48, encoding="base64url")
    ```

    Attributes:
        length: characters, 1 to 4096. One of `hex` holds 4 random bits, of `base64url` 6, of `alphanumeric` 5.95.
        encoding: of which characters: `0-9a-f`, `A-Za-z0-9_-` or `A-Za-z0-9`.
        value: the string.
    """

    length: int = prop(default=32, replace=True)
    encoding: Encoding = prop(default="hex", replace=True)
    value: Secret[str] = output()


class RandomStringProvider(Provider[RandomString]):
    """Handle `RandomString`. What it makes exists in state only, so there is nothing to find, and nothing to delete."""

    recover = "again"

    async def read(self, ctx: Context[RandomString], have: RandomString) -> RandomString | None:
        """Give it as it is remembered."""
        return have

    async def create(self, ctx: Context[RandomString], want: RandomString) -> RandomString:
        """Make one from the operating system's randomness.

        Raises:
            DeclarationError: no string is of that length.
        """
        if not 1 <= want.length <= MAX_LENGTH:
            raise DeclarationError(
                f"'length' of random::String {want.id!r} is {want.length}", hint=f"give 1 to {MAX_LENGTH} characters"
            )
        return ctx.result(value=Secret(_MAKERS[want.encoding](want.length)))

    async def delete(self, ctx: Context[RandomString], have: RandomString) -> None:
        """Nothing to do: it goes with its record."""
