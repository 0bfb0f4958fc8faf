"""Resources: what a program declares. A resource says what; its provider says how.

```python
class Folder(Resource, kind="fs::Folder", provider="alchemy.fs._folder:FolderProvider"):
    path: str = prop(replace=True)
    mode: int = 0o755
    inode: int = output()
```
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar, cast, dataclass_transform

from alchemy.declared import Declared
from alchemy.errors import ConfigurationError, DeclarationError, NotAwaitedError
from alchemy.fields import FieldSpec, Spec, describe_mismatch, spec_of
from alchemy.names import check_id
from alchemy.scope import Scope, current_scope
from alchemy.secret import MASK, Secret

Res = TypeVar("Res", bound="Resource")

_ATOMS = frozenset({str, int, float, bool, bytes, type(None)})
MAX_DEPTH = 64
_by_kind: dict[str, type[Resource]] = {}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What can be said of any resource, whatever its kind.

    Attributes:
        adopt: take over an object that exists already under the name the program chose; `None`: as the scope says.
        retain: when the resource leaves the program, forget it and leave its object alone.
        protect: refuse to delete or replace it.
        aliases: ids or FQNs it had before; its record is moved, its object stays.
        depends_on: resources it needs without taking anything from them: they are made before, and destroyed after.
        timeout: seconds that one provider call may take; `None`: as the scope says.
        retry: how often a call that failed in a way that may pass is tried again; `None`: as the scope says.
    """

    adopt: bool | None = None
    retain: bool = False
    protect: bool = False
    aliases: Sequence[str] = ()
    depends_on: Sequence[Resource] = ()
    timeout: float | None = None
    retry: int | None = None

    def __post_init__(self) -> None:
        for name in ("aliases", "depends_on"):
            if isinstance(getattr(self, name), str | _Fields):
                raise DeclarationError(f"the option {name!r} takes a sequence", hint=f"write {name}=[…]")
        for dependency in self.depends_on:
            if not isinstance(dependency, _Fields):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise DeclarationError(f"depends_on holds a {type(dependency).__name__}, not a resource")


def prop(
    *,
    default: Any = dataclasses.MISSING,
    default_factory: Any = dataclasses.MISSING,
    replace: bool = False,
    secret: bool = False,
    kw_only: bool = True,
) -> Any:
    """Describe an input.

    Args:
        default: its value when it is not given; without one it must be given.
        default_factory: a function that makes the default.
        replace: changing it replaces the resource instead of updating it.
        secret: encrypt it in state and mask it wherever it could be seen, also when it is given as plain text.
        kw_only: as for dataclasses.
    """
    metadata = {"alchemy": FieldSpec(replace=replace, secret=secret)}
    return dataclasses.field(default=default, default_factory=default_factory, kw_only=kw_only, metadata=metadata)


def output(*, secret: bool = False, init: Literal[False] = False) -> Any:
    """Describe what the provider gives back: it can be read once the resource was awaited.

    Args:
        secret: encrypt it in state, also when the provider gives plain text.
        init: keeps it out of the constructor; leave it as it is.
    """
    return dataclasses.field(init=False, metadata={"alchemy": FieldSpec(is_output=True, secret=secret)})


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(prop, output))
class _Fields:
    """Turns the annotations of a subclass into fields. Apart from `Resource`, whose own fields must count."""

    _spec: ClassVar[Spec]
    _kind: ClassVar[str | None] = None
    _provider: ClassVar[str | type | None] = None

    def __init_subclass__(
        cls,
        *,
        kind: str | None = None,
        provider: str | type | None = None,
        reference: Sequence[str] | None = None,
        **rest: Any,
    ) -> None:
        super().__init_subclass__(**rest)
        dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=True)(cls)
        for field in dataclasses.fields(cast("Any", cls)):
            if field.name in cls.__dict__:
                delattr(cls, field.name)  # a default is no value: what an object does not hold yet goes to __getattr__
        cls._kind = kind
        if provider is not None:
            cls._provider = provider
        if kind is not None:
            cls._spec = spec_of(cls, reference)
            _by_kind[kind] = cast("type[Resource]", cls)


DEFAULT_OPTIONS = Options()


class Resource(_Fields):
    """Something that exists because the program declares it.

    Constructing one inside a scope starts it; `await` waits for it and gives it back with its outputs. A handler's
    copy of a resource has plain values, belongs to no scope, and awaits nothing.

    Args of a subclass:
        kind: what it is called in state, such as `cloudflare::Worker`.
        provider: its provider's class, or where that is: `module:Class`.
        reference: the fields that count when it is passed to another resource; by default all.
    """

    id: str = prop(kw_only=False)
    scope: Scope | None = prop(default=None, kw_only=True)
    options: Options = prop(default=DEFAULT_OPTIONS, kw_only=True)

    _declared: ClassVar[Declared | None] = None

    def __init__(self, *args: Any, **given: Any) -> None:
        cls = type(self)
        kind = cls._kind
        if kind is None:
            raise DeclarationError(f"{cls.__name__} is a base class: it has no kind to declare")
        if args:
            given["id"] = args[0]
        if len(args) > 1:
            raise DeclarationError(
                f"{cls.__name__}({args[0]!r}, …) takes its id and nothing else by position",
                hint=f"write {next(iter(cls._spec.inputs), 'input')}=…",
            )
        if "id" not in given:
            raise DeclarationError(f"{cls.__name__}(…) needs an id", hint=f'write {cls.__name__}("my-id", …)')
        id = check_id(given.pop("id"), what=f"{kind} id")
        options = given.pop("options", None) or DEFAULT_OPTIONS
        scope = given.pop("scope", None) or current_scope()
        if not isinstance(options, Options):
            raise DeclarationError(f"{kind} {id!r}: options must be Options(…), not {type(options).__name__}")
        scope.claim(id, kind)
        found: list[Resource] = list(options.depends_on)
        values = self.__dict__
        values["id"], values["scope"], values["options"] = id, scope, options
        secretive = _take_inputs(cls, kind, id, given, values, found) or cls._spec.has_secret_output
        if secretive and scope.settings.password is None:
            raise ConfigurationError(
                f"{kind} {id!r} holds a secret, and there is no password to encrypt it with",
                hint="set ALCHEMY_PASSWORD, or alchemy(..., password=...)",
            )
        declared = Declared(self, scope, id, kind, options, found)
        declared.secretive = secretive
        values["_declared"] = declared
        scope.resources[id] = declared
        scope.runner.declare(declared)

    @property
    def fqn(self) -> str:
        """Give its full name: its scope's chain and its id."""
        declared = self._declared
        return declared.fqn if declared else cast("str", self.__dict__.get("_fqn", self.id))

    async def declare(self) -> Mapping[str, Any] | None:
        """Declare what it is made of. Override it in a composite; called on every `up`, in the resource's own scope.

        Returns:
            The outputs that the class names, by name.
        """
        return None

    def fingerprint(self) -> Mapping[str, Any] | None:
        """Give what counts as an input without being passed in, such as the contents of a file: JSON values.

        Override it in a class whose inputs name files. Called before a resource is compared with its record; what
        it gives is stored and compared with the inputs.
        """
        return None

    def __await__(self) -> Generator[Any, None, Self]:
        declared = self._declared
        if declared is None:
            return self
        if not declared.latch.done:
            declared.refuse_inside()
            yield from declared.latch.wait().__await__()
        if declared.error is not None:
            declared.delivered = True
            raise declared.error
        declared.reveal()
        declared.scope.runner.observe(declared)
        return self

    if not TYPE_CHECKING:  # or every misspelt name would pass a type checker

        def __getattr__(self, name: str) -> Any:
            sealed: Mapping[str, Secret[Any]] = self.__dict__.get("_sealed", {})
            if name in sealed:
                value = self.__dict__[name] = sealed[name].reveal()
                return value
            spec: Spec | None = getattr(type(self), "_spec", None)
            if spec is not None and name in spec.outputs:
                what = f"{type(self).__name__} {self.__dict__.get('id')!r}"
                raise NotAwaitedError(f"{name!r} of {what} exists once it is awaited", hint="await it first")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        shown = [repr(self.__dict__.get("id"))]
        for name, field in (*self._spec.inputs.items(), *self._spec.outputs.items()):
            if name in self.__dict__:
                value = self.__dict__[name]
                shown.append(f"{name}={MASK if field.secret and value is not None else _short(value)}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def __format__(self, spec: str) -> str:
        declared = self._declared
        if declared is not None and not declared.revealed:
            raise NotAwaitedError(
                f"{type(self).__name__} {self.id!r} was put into a text before it was awaited",
                hint="await it first, and name the output you want",
            )
        return format(repr(self), spec)

    def __copy__(self) -> Self:
        return detached(self)


def detached(resource: Res, **changes: Any) -> Res:
    """Give a copy of a resource that belongs to no scope, with `changes` to its fields."""
    copy = object.__new__(type(resource))
    copy.__dict__.update({key: value for key, value in resource.__dict__.items() if key != "_declared"})
    copy.__dict__.update(changes, scope=None, _fqn=resource.fqn)
    return copy


def make_detached(cls: type[Resource], *, id: str, fqn: str, values: Mapping[str, Any]) -> Resource:
    """Make a resource that belongs to no scope out of remembered values; what is missing takes its default."""
    made = object.__new__(cls)
    fields = made.__dict__
    fields.update(values, id=id, scope=None, options=DEFAULT_OPTIONS, _fqn=fqn)
    inputs = cls._spec.inputs
    for name in inputs.keys() - values.keys():
        if not inputs[name].required:
            fields[name] = inputs[name].make_default()
    return made


def class_of_kind(kind: str) -> type[Resource] | None:
    """Give the resource class of a kind, if a module that defines one was imported."""
    return _by_kind.get(kind)


def _take_inputs(
    cls: type[Resource], kind: str, id: str, given: dict[str, Any], values: dict[str, Any], found: list[Resource]
) -> bool:
    """Check the inputs and put them into `values`; say whether there is a secret among them."""
    spec, secretive = cls._spec, False
    for name, field in spec.inputs.items():
        if name in given:
            value = given.pop(name)
            if type(value) not in _ATOMS:
                value = _detach(value, found, 0, f"{name!r} of {kind} {id!r}")
                secretive = secretive or _holds_secret(value)
            if field.check is not None and not field.check(value):
                raise DeclarationError(describe_mismatch(f"{name!r} of {kind} {id!r}", field, value))
            values[name] = value
            secretive = secretive or (field.secret and value is not None)
        elif field.required:
            unknown = next((name for name in given if name not in spec.inputs), None)  # misspelt, as like as not
            if unknown is not None:
                raise DeclarationError(*spec.unknown_input(unknown, f"{kind} {id!r}"))
            raise DeclarationError(f"{kind} {id!r} needs the input {name!r} ({field.described})", hint=f"add {name}=…")
        else:
            value = values[name] = field.make_default()
            secretive = secretive or (value is not None and (field.secret or _holds_secret(value)))
    if given:
        raise DeclarationError(*spec.unknown_input(next(iter(given)), f"{kind} {id!r}"))
    return secretive


def _detach(value: Any, found: list[Resource], depth: int, what: str) -> Any:
    """Copy containers, so that the caller may change theirs, and collect the resources in them."""
    if type(value) in _ATOMS:
        return value
    if isinstance(value, Resource):
        found.append(value)
        return value
    if depth > MAX_DEPTH:
        raise DeclarationError(f"{what} is nested deeper than {MAX_DEPTH} levels, or contains itself")
    if isinstance(value, Mapping):
        pairs = cast("Mapping[Any, Any]", value).items()
        return {key: _detach(item, found, depth + 1, what) for key, item in pairs}
    if isinstance(value, list):
        return [_detach(item, found, depth + 1, what) for item in cast("list[Any]", value)]
    if isinstance(value, tuple):
        named = cast("Any", value)
        parts = [_detach(item, found, depth + 1, what) for item in named]
        return tuple(parts) if type(named) is tuple else type(named)(*parts)
    if isinstance(value, set | frozenset):
        items = [_detach(item, found, depth + 1, what) for item in cast("frozenset[Any]", value)]
        return set(items) if isinstance(value, set) else frozenset(items)
    if isinstance(value, Secret):
        return cast("Any", value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            _detach(getattr(cast("Any", value), field.name), found, depth + 1, what)
    return cast("Any", value)


def _holds_secret(value: Any) -> bool:
    if type(value) in _ATOMS:
        return False
    if isinstance(value, Mapping):
        return any(_holds_secret(item) for item in cast("Mapping[Any, Any]", value).values())
    if isinstance(value, list | tuple | set | frozenset):
        return any(_holds_secret(item) for item in cast("Sequence[Any]", value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type | Resource):
        return any(_holds_secret(getattr(value, field.name)) for field in dataclasses.fields(value))
    return isinstance(value, Secret)


def _short(value: Any) -> str:
    if isinstance(value, Resource):
        return f"<{type(value).__name__} {value.id!r}>"
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        return "{" + ", ".join(f"{key!r}: {_short(item)}" for key, item in items) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_short(item) for item in cast("Sequence[Any]", value)) + "]"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
