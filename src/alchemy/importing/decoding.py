"""Values as Alchemy for TypeScript writes them into JSON, back to values.

A secret is `{"@secret": envelope}`, or `{"@secret": {"data": envelope}}` for one that is no text; a moment
`{"@date": "…Z"}`; bytes `{"@buffer": base64}`. A resource that was passed to another is its outputs, with keys such as
`Symbol(alchemy::ResourceKind)` that say which one it is. What is only there for the program that wrote it (its scope,
its schemas) becomes `None`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from alchemy.crypto import Cipher
from alchemy.errors import ConfigurationError
from alchemy.importing.found import broken
from alchemy.secret import Secret
from alchemy.state import Json, JsonObject, is_array, is_object

_SYMBOL = "Symbol("
_KIND, _ID, _FQN = (f"Symbol(alchemy::Resource{name})" for name in ("Kind", "ID", "FQN"))


@dataclass(frozen=True, slots=True)
class Reference:
    """A resource that was passed to another, with the outputs it had."""

    kind: str
    id: str
    fqn: str
    output: JsonObject


class Decoder:
    """Turn the JSON of one record into values.

    Args:
        cipher: of the source's password; `None`: there is none.
        fqn: the record, for messages, and for secrets that are bound to it.
    """

    def __init__(self, cipher: Cipher | None, fqn: str, where: str) -> None:
        self._cipher = cipher
        self._fqn = fqn
        self._where = where

    def fields(self, data: JsonObject) -> dict[str, Any]:
        """Give inputs or outputs by name, in snake_case; what tells a resource from others is left out."""
        return {snake_case(name): self.value(value) for name, value in data.items() if not name.startswith(_SYMBOL)}

    def value(self, data: Json) -> Any:
        """Give one value.

        Raises:
            ConfigurationError: it is a secret, and there is no password.
            SecretError: a secret does not open.
            StateDamaged: a tag holds what it cannot.
        """
        if is_array(data):
            return [self.value(item) for item in data]
        if not is_object(data):
            return data
        for tag, read in self._tags.items():
            if tag in data:
                return read(data[tag])
        if _KIND in data:
            return self._reference(data)
        return {key: self.value(item) for key, item in data.items()}

    @property
    def _tags(self) -> dict[str, Callable[[Json], Any]]:
        return {
            "@secret": self._secret,
            "@date": self._date,
            "@buffer": self._bytes,
            "@schema": lambda _: None,
            "@symbol": lambda _: None,
            "@scope": lambda _: None,
        }

    def _secret(self, payload: Json) -> Secret[Any]:
        if self._cipher is None:
            raise ConfigurationError(
                f"{self._fqn} holds a secret, and there is no password to open it with",
                hint="set ALCHEMY_PASSWORD to the one it was encrypted with; nothing was imported",
            )
        boxed = is_object(payload) and "data" in payload
        opened = self._cipher.open(payload["data"] if boxed else payload, context=self._fqn)
        try:
            return Secret(json.loads(opened) if boxed else opened.decode())
        except ValueError:
            pass
        raise broken(self._where, "a secret in it opens, and holds neither text nor JSON")  # not chained: it has it

    def _date(self, text: Json) -> datetime:
        try:
            return datetime.fromisoformat(text)
        except (TypeError, ValueError) as error:
            raise broken(self._where, f"{text!r} is not a date") from error

    def _bytes(self, text: Json) -> bytes:
        try:
            return base64.b64decode(text, validate=True)
        except (TypeError, ValueError) as error:
            raise broken(self._where, "a buffer in it is not base64") from error

    def _reference(self, data: JsonObject) -> Reference:
        names = [data.get(key) for key in (_KIND, _ID, _FQN)]
        kind, id, fqn = (name if isinstance(name, str) else "" for name in names)
        return Reference(kind, id, fqn, self.fields(data))


def snake_case(name: str) -> str:
    """Give the name of an input or output as it is called here: `migrationsDir` is `migrations_dir`."""
    return "".join(f"_{char.lower()}" if char.isupper() and index else char.lower() for index, char in enumerate(name))
