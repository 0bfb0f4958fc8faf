"""What a resource class says of its inputs and outputs, worked out once a class. Pure."""

from __future__ import annotations

import dataclasses
import difflib
import sys
import typing
from collections.abc import Mapping, Sequence
from typing import Any, cast

from alchemy.errors import DeclarationError
from alchemy.secret import Secret
from alchemy.validate import Check, checker, describe

UNSET: Any = object()
"""No default."""

COMMON = frozenset({"id", "scope", "options"})


@dataclasses.dataclass(slots=True)
class FieldSpec:
    """One input or output.

    Attributes:
        replace: changing it replaces the resource.
        secret: encrypted in state even when it is plain text.
        wrapped: its annotation is a `Secret`, so that it comes back from state as one.
        check: the test of its type; `None`: anything passes.
        described: its type, as a person would write it.
    """

    replace: bool = False
    secret: bool = False
    is_output: bool = False
    wrapped: bool = False
    default: Any = UNSET
    default_factory: Any = UNSET
    check: Check | None = None
    described: str = "any value"

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is UNSET and self.default_factory is UNSET

    def make_default(self) -> Any:
        """Give its default."""
        return self.default if self.default_factory is UNSET else self.default_factory()


class Spec:
    """The inputs and outputs of a resource class; types are resolved when first needed.

    Attributes:
        reference: the fields that are kept when a resource of this class is passed to another; `None`: all.
    """

    def __init__(self, cls: type, reference: Sequence[str] | None) -> None:
        self._cls = cls
        self._resolved: dict[str, FieldSpec] | None = None
        self._gives_secret = False
        self._opened: frozenset[str] = frozenset()
        self._outputs: dict[str, FieldSpec] = {}
        self._inputs: dict[str, FieldSpec] = {}
        self.reference = frozenset(reference) if reference is not None else None
        for field in dataclasses.fields(cls):
            if field.name in COMMON:
                continue
            given: FieldSpec = field.metadata.get("alchemy", FieldSpec())
            made = dataclasses.replace(given, default=_set(field.default), default_factory=_set(field.default_factory))
            (self._outputs if made.is_output else self._inputs)[field.name] = made

    @property
    def inputs(self) -> dict[str, FieldSpec]:
        """Give the inputs by name, in the order of the class."""
        if self._resolved is None:
            self._resolve()
        return self._inputs

    @property
    def outputs(self) -> dict[str, FieldSpec]:
        """Give the outputs by name."""
        return self._outputs

    @property
    def has_secret_output(self) -> bool:
        """Whether its provider gives back a secret."""
        if self._resolved is None:
            self._resolve()
        return self._gives_secret

    @property
    def opened(self) -> frozenset[str]:
        """Name the fields that are encrypted in state, though their values are plain to the program."""
        if self._resolved is None:
            self._resolve()
        return self._opened

    def _resolve(self) -> None:
        hints = _hints(self._cls)
        self._resolved = {**self._inputs, **self._outputs}
        for name, field in self._resolved.items():
            hint = hints.get(name, Any)
            field.check = checker(hint)
            field.described = describe(hint)
            field.wrapped = _mentions_secret(hint)
        self._opened = frozenset(name for name, field in self._resolved.items() if field.secret and not field.wrapped)
        self._gives_secret = any(field.secret or field.wrapped for field in self._outputs.values())

    def unknown_input(self, name: str, what: str) -> tuple[str]:
        """Say that there is no such input, and which was meant."""
        if name in self._outputs:
            return (f"{name!r} is an output of {what}: it is given back, not passed in",)
        near = difflib.get_close_matches(name, self._inputs, 1)
        known = ", ".join(self._inputs) or "none"
        hint = f"did you mean {near[0]!r}?" if near else f"it has {known}"
        return (f"{what} has no input {name!r} ({hint})",)


def _set(value: Any) -> Any:
    return UNSET if value is dataclasses.MISSING else value


def _hints(cls: type) -> dict[str, Any]:
    """Resolve a class's annotations; one that cannot be resolved (a name local to a function) is left unchecked."""
    try:
        return typing.get_type_hints(cls)
    except NameError:
        found: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            for name, hint in _annotations(base).items():
                try:
                    alone = type("_", (), {"__annotations__": {name: hint}})
                    alone.__module__ = base.__module__
                    found[name] = typing.get_type_hints(alone)[name]
                except NameError:
                    found[name] = Any
        return found


def _annotations(cls: type) -> Mapping[str, Any]:
    """Give a class's own annotations, as far as they can be known."""
    if sys.version_info >= (3, 14):  # they are worked out only when asked for
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    found: Mapping[str, Any] = cls.__dict__.get("__annotations__", {})
    return found


def _mentions_secret(hint: Any) -> bool:
    return hint is Secret or typing.get_origin(hint) is Secret or any(map(_mentions_secret, typing.get_args(hint)))


def spec_of(cls: type, reference: Sequence[str] | None) -> Spec:
    """Work out a class's spec.

    Raises:
        DeclarationError: `reference` names a field that the class does not have.
    """
    spec = Spec(cls, reference)
    names = {field.name for field in dataclasses.fields(cls)}
    for name in spec.reference or ():
        if name not in names:
            raise DeclarationError(f"{cls.__name__} has no field {name!r} to refer to it by")
    return spec


def describe_mismatch(what: str, field: FieldSpec, value: object) -> str:
    """Say that a value is of the wrong type, without showing one that may be secret."""
    shown = "" if field.secret or isinstance(value, Secret) else f" {_shortened(value)}"
    return f"{what} must be {field.described}, not {type(cast('object', value)).__qualname__}{shown}"


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
