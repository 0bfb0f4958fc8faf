"""A resource's values <-> what its record holds, secrets and references to other resources included."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

from alchemy.crypto import Cipher
from alchemy.declared import Declared
from alchemy.errors import ConfigurationError, ResourceFailed, SecretError
from alchemy.fields import FieldSpec
from alchemy.resource import Resource, class_of_kind, detached, make_detached
from alchemy.secret import Secret
from alchemy.serde import canonical, decode, encode
from alchemy.state import Json, JsonObject, is_array, is_object

FINGERPRINT = "@fingerprint"
_ATOMS = frozenset({str, int, float, bool, bytes, type(None)})
_PLAIN = frozenset({str, bool, type(None)})
"""What is its own JSON; an `int` may be too large, and a text may not be one that can be written."""
_AS_STORED = frozenset({str, int, float, bool, type(None)})
"""JSON that is its own value."""


class Sealed(Secret[Any]):
    """A secret from state that is decrypted when it is first revealed: nobody needs the password before."""

    __slots__ = ("_open", "_opened")

    def __init__(self, open_: Callable[[], Any]) -> None:
        self._open: Callable[[], Any] | None = open_
        self._opened: Any = None
        self.name = None

    @property
    def _value(self) -> Any:
        if self._open is not None:
            self._opened, self._open = self._open(), None
        return self._opened


class Codec:
    """Encode and decode for one record.

    Args:
        cipher: gives that of the record's scope when a secret is at hand; `None` when there is no password.
        fqn: the record; secrets are bound to it.
        stored: what the record holds now: a secret whose value did not change keeps its envelope.
    """

    def __init__(self, cipher: Callable[[], Cipher | None], fqn: str, stored: Json = None) -> None:
        self._cipher = cipher
        self._fqn = fqn
        self._stored = stored
        self._known: list[tuple[Json, bytes]] | None = None

    def inputs(self, resource: Resource) -> JsonObject:
        """Encode what a resource was given, and the fingerprint of what its inputs name."""
        data = self._fields(resource, resource._spec.inputs)
        fingerprint = resource.fingerprint()
        if fingerprint is not None:
            data[FINGERPRINT] = encode(fingerprint)
        return data

    def outputs(self, resource: Resource) -> JsonObject:
        """Encode what a provider gave back.

        Raises:
            ResourceFailed: it left an output out, or gave one of another type.
        """
        for name, field in resource._spec.outputs.items():
            value = given_values(resource).get(name, SimpleNamespace)
            if isinstance(value, Sealed) and field.secret and not field.wrapped:
                value = value.reveal()  # the provider gave back what it was given
            wrong = "left out" if value is SimpleNamespace else None
            if wrong is None and field.check is not None and not field.check(value):
                wrong = f"gave a {type(value).__name__} for"
            if wrong:
                raise ResourceFailed(
                    f"the provider of {self._fqn} {wrong} the output {name!r} ({field.described})",
                    fqn=self._fqn,
                    action="create",
                    hint="this is a mistake in the provider; the object may exist",
                )
        return self._fields(resource, resource._spec.outputs)

    def value(self, value: object, *, name: str | None = None) -> Json:
        """Encode any value, such as one of a scope's data; `name` says which, for messages."""
        return encode(value, seal=self._seal, refer=self._refer, at=() if name is None else (name,))

    def some(self, fields: Mapping[str, FieldSpec], values: Mapping[str, Any]) -> JsonObject:
        """Encode those of `fields` that are in `values`."""
        data: JsonObject = {}
        for name, field in fields.items():
            if name in values:
                value: Any = values[name]
                if type(value) in _PLAIN and (type(value) is not str or value.isascii()):
                    data[name] = (
                        {"@secret": self._seal(Secret(value), ())} if field.secret and value is not None else value
                    )
                else:
                    hide = field.secret and value is not None and not isinstance(value, Secret)
                    data[name] = self.value(Secret(cast("Any", value)) if hide else cast("Any", value), name=name)
        return data

    def _fields(self, resource: Resource, fields: Mapping[str, FieldSpec]) -> JsonObject:
        return self.some(fields, given_values(resource))

    def _seal(self, secret: Secret[Any], _path: tuple[str | int, ...]) -> Json:
        cipher = self._cipher()
        if cipher is None:
            raise ConfigurationError(
                f"{self._fqn} holds a secret, and there is no password to encrypt it with",
                hint="set ALCHEMY_PASSWORD, or alchemy(..., password=...)",
            )
        value = secret.reveal()
        plain = value.encode() if isinstance(value, str) else canonical(encode(value))
        opened = self._opened(cipher)
        for payload, known in opened:
            if known == plain and isinstance(value, str) == ("data" not in payload):
                return payload
        envelope = cipher.seal(plain, context=self._fqn)
        payload = envelope if isinstance(value, str) else {"data": envelope}
        opened.append((payload, plain))  # one envelope a value: the next run cannot tell which of two was whose
        return payload

    def _opened(self, cipher: Cipher) -> list[tuple[Json, bytes]]:
        """Open the secrets that the record holds already.

        An older form of envelope is not taken over: what was read from it is sealed anew.
        """
        if self._known is None:
            self._known = [
                (payload, cipher.open(_envelope(payload), context=self._fqn))
                for payload in _payloads(self._stored)
                if _envelope(payload).get("version") == "v2"
            ]
        return self._known

    def open(self, payload: Json) -> Secret[Any]:
        """Give the secret for a `@secret` payload; it is decrypted when revealed."""
        return Sealed(lambda: self._open(payload))

    def _open(self, payload: Json) -> Any:
        cipher = self._cipher()
        if cipher is None:
            raise SecretError(
                f"a secret of {self._fqn} is needed, and there is no password to open it with",
                hint="set ALCHEMY_PASSWORD",
            )
        is_text = not (is_object(payload) and "data" in payload)
        plain = cipher.open(payload if is_text else payload["data"], context=self._fqn)
        return plain.decode() if is_text else decode(json.loads(plain))

    def decoded(self, data: JsonObject) -> dict[str, Any]:
        """Decode a record's inputs or outputs, all but the fingerprint."""
        if FINGERPRINT not in data and _AS_STORED.issuperset(map(type, data.values())):
            return data.copy()
        return {
            name: item if type(item) in _AS_STORED else decode(item, open_=self.open, build=self.build)
            for name, item in data.items()
            if name != FINGERPRINT
        }

    def resource(self, cls: type[Resource], *, id: str, props: JsonObject, output: JsonObject) -> Resource:
        """Make the resource that a record remembers, for a handler."""
        return _remembered(cls, id, self._fqn, {**self.decoded(props), **self.decoded(output)})

    def _refer(self, value: object) -> JsonObject | None:
        if not isinstance(value, Resource):
            return None
        declared = value._declared
        spec = value._spec
        names = spec.reference
        fields = {**spec.inputs, **spec.outputs}
        kept = fields if names is None else {name: field for name, field in fields.items() if name in names}
        source = given_values(value) if declared is None else {**declared.outputs(), **value.__dict__}
        return {
            "kind": cast("str", type(value)._kind),
            "id": value.id,
            "fqn": value.fqn,
            "values": self.some(kept, source),
        }

    def build(self, payload: JsonObject) -> Any:
        """Give what stands for a resource that was passed in: of its class when that is imported, else a namespace."""
        values = self.decoded(payload["values"])
        cls = class_of_kind(payload["kind"])
        if cls is None:
            return SimpleNamespace(id=payload["id"], fqn=payload["fqn"], kind=payload["kind"], **values)
        return _remembered(cls, payload["id"], payload["fqn"], values)


def _remembered(cls: type[Resource], id: str, fqn: str, values: dict[str, Any]) -> Resource:
    """Make a resource out of remembered values; plain text that was encrypted is opened when it is first read."""
    made = make_detached(cls, id=id, fqn=fqn, values=values)
    if cls._spec.opened:
        fields = made.__dict__
        sealed = {name: fields.pop(name) for name in cls._spec.opened if isinstance(fields.get(name), Secret)}
        if sealed:
            fields["_sealed"] = sealed
    return made


def given_values(resource: Resource) -> Mapping[str, Any]:
    """Give the values of a resource's fields; what was encrypted, and not read yet, as the secret it is."""
    values = resource.__dict__
    return {**values["_sealed"], **values} if "_sealed" in values else values


def _envelope(payload: Json) -> Json:
    return payload.get("data", payload) if is_object(payload) else {}


def _payloads(data: Json) -> list[Json]:
    if is_object(data):
        if data.keys() == {"@secret"}:
            return [data["@secret"]]
        return [found for item in data.values() for found in _payloads(item)]
    if is_array(data):
        return [found for item in data for found in _payloads(item)]
    return []


def wanted(declared: Declared) -> Resource:
    """Give a handler's copy of a declared resource: containers copied, resources in it with their outputs."""
    copy = detached(declared.resource)
    for name in declared.resource._spec.inputs:
        value = copy.__dict__[name]
        if type(value) not in _ATOMS:
            copy.__dict__[name] = _plain(value)
    return copy


def _plain(value: Any) -> Any:
    if isinstance(value, Resource):
        declared = value._declared
        return value if declared is None else detached(value, **declared.outputs())
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in cast("dict[Any, Any]", value).items()}
    if type(value) is list:
        return [_plain(item) for item in cast("list[Any]", value)]
    if type(value) is tuple:
        return tuple(_plain(item) for item in cast("tuple[Any, ...]", value))
    if isinstance(value, tuple):
        return type(cast("Any", value))(*map(_plain, cast("tuple[Any, ...]", value)))  # a named one
    if isinstance(value, set | frozenset):
        return type(cast("Any", value))(map(_plain, cast("frozenset[Any]", value)))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value) if field.init]
        return dataclasses.replace(value, **{name: _plain(getattr(value, name)) for name in fields})
    return value
