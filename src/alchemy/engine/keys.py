"""One key for all that a scope's password seals, in every run: a wrong password seals nothing beside what is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from alchemy.crypto import DEFAULT_N, Cipher, Envelope
from alchemy.errors import SecretError


class CheckedCipher(Cipher):
    """A cipher that seals with the key of earlier runs, or not at all.

    Args:
        key: the id of the key that the scope's secrets were sealed with; `None` when there are none yet.
        note: told the key's id when the first one is sealed.
        scope: whose password it is, for the message.
        rest: as for `Cipher`.
    """

    __slots__ = ("_expected", "_note", "_scope")

    def __init__(
        self,
        password: str,
        *,
        key: str | None,
        note: Callable[[str], None],
        scope: str,
        n: int = DEFAULT_N,
        **rest: Any,
    ) -> None:
        super().__init__(password, n=n, **rest)
        self._expected = key
        self._note = note
        self._scope = scope

    def seal(self, plaintext: bytes, *, context: str) -> Envelope:
        """Encrypt a value; see `Cipher.seal`.

        Raises:
            SecretError: the password is not the one that the scope's other secrets were encrypted with.
        """
        if self._expected is not None and self.fingerprint != self._expected:
            raise SecretError(
                f"the password is not the one that the secrets of {self._scope} were encrypted with",
                hint="set ALCHEMY_PASSWORD, or password=, to that one",
            )
        envelope = super().seal(plaintext, context=context)
        if self._expected is None:
            self._expected = envelope["key"]
            self._note(envelope["key"])
        return envelope
