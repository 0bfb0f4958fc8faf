"""Providers: how a kind of resource is found, made, changed and deleted.

A provider is a class with a handler for each of these; the engine decides which to call, keeps the record, retries
and recovers. Handlers get detached copies of resources and a `Context`.
"""

from __future__ import annotations

import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, Literal, TypeVar, cast

from alchemy.names import Naming
from alchemy.resource import Resource, detached

R = TypeVar("R", bound=Resource)
T = TypeVar("T")

Change = Literal["update", "replace", "none"]
Recover = Literal["name", "token", "list", "again", "none"]


class Context(Generic[R]):
    """What a handler is told, and what it can do.

    Attributes:
        fqn, id: the resource's.
        app, stage: what it belongs to.
        name: what its object is called: the name the program chose, else the physical name; `""` for kinds
            without names.
        target: the account or data set, as `Provider.target` gave it.
        adopt: an object that is there already may be taken over.
        force: do it even where nothing seems to have changed.
        data: what this resource's handlers kept, JSON values by name; stored with the record at the end of the
            handler, or by `checkpoint`.
        local: the run is against the Cloudflare on this machine.
    """

    __slots__ = (
        "_checkpoint",
        "_declares",
        "_kept",
        "_log",
        "_shared",
        "adopt",
        "app",
        "data",
        "force",
        "fqn",
        "id",
        "local",
        "name",
        "stage",
        "target",
        "want",
    )

    def __init__(
        self,
        *,
        want: R,
        app: str,
        stage: str,
        name: str,
        target: str,
        adopt: bool,
        force: bool,
        local: bool,
        data: dict[str, Any],
        log: Callable[[str], None],
        checkpoint: Callable[[dict[str, Any]], Awaitable[None]],
        shared: Callable[[str, Callable[[], Awaitable[Any]]], Awaitable[Any]],
        declares: Callable[[str], bool] = lambda fqn: False,
        kept: Callable[[], Sequence[Mapping[str, Any]]] = tuple,
    ) -> None:
        self.want = want
        self.fqn = want.fqn
        self.id = want.id
        self.app = app
        self.stage = stage
        self.name = name
        self.target = target
        self.adopt = adopt
        self.force = force
        self.local = local
        self.data = data
        self._log = log
        self._checkpoint = checkpoint
        self._shared = shared
        self._declares = declares
        self._kept = kept

    @property
    def physical_name(self) -> str:
        """Give what the object is called: the same as `name`."""
        return self.name

    def result(self, **fields: Any) -> R:
        """Give the resource with these outputs, and with inputs as they were observed where they differ."""
        return detached(self.want, **fields)

    def log(self, message: str) -> None:
        """Say something about the work: it goes to the run's log, and to a terminal that asked for detail."""
        self._log(message)

    async def checkpoint(self, **outputs: Any) -> None:
        """Make outputs so far, and `data`, durable in the middle of a slow create: a crash loses none of them."""
        await self._checkpoint(outputs)

    def declares(self, fqn: str) -> bool:
        """Say whether the program has declared a resource of this name so far, in this run."""
        return self._declares(fqn)

    def kept(self) -> Sequence[Mapping[str, Any]]:
        """Give the `data` of all objects of this kind in the unit, those that were replaced or are leaving included.

        As it is in state at this moment: for objects that hand something over to the next.
        """
        return self._kept()

    def shared(self, key: str, make: Callable[[], Awaitable[T]]) -> Awaitable[T]:
        """Give one object for the whole run, such as a client; made once, closed at the end if it has `close`."""
        return cast("Awaitable[T]", self._shared(key, make))


class Provider(Generic[R]):
    """How one kind of resource is handled. Subclass it as `Provider[Folder]`.

    Attributes:
        naming: the rules for names that the engine makes; `None`: its objects have no names of their own.
        name_input: the input with which a program chooses the name itself.
        recover: how an object is found again after a crash: by its `name`, by a `token` it was created with, by a
            `list`; `again`: creating it twice does no harm, and `delete` can do with its inputs alone; `none`: a
            person must say.
        settle: seconds until an object that was just created is sure to be found.
        concurrency: how many of its calls may run at once; `None`: as many as the run allows.
    """

    naming: ClassVar[Naming | None] = None
    name_input: ClassVar[str] = "name"
    recover: ClassVar[Recover] = "none"
    settle: ClassVar[float] = 0.0
    concurrency: ClassVar[int | None] = None

    async def target(self, ctx: Context[R]) -> str:
        """Say which account or data set calls go to; stored with each object, and checked before any call."""
        return "machine"

    def is_remade(self, stored: str, target: str) -> bool:
        """Say whether `target` may stand in the place of `stored`, which was thrown away with all that it held.

        So it is with data sets that people reset. When a person has forgotten what was there, it is made anew.
        """
        return False

    def change(self, old: R, new: R) -> Change | None:
        """Say what it takes to get from `old` to `new`, whose inputs differ. `None`: as `prop(replace=…)` says."""
        return None

    async def find(self, ctx: Context[R], want: R) -> R | None:
        """Look for an object by `ctx.name`. Only `None` means that there is none; raise when it cannot be known."""
        raise NotImplementedError(f"{type(self).__name__} cannot find its objects by name")

    async def read(self, ctx: Context[R], have: R) -> R | None:
        """Look an object up by its outputs, and give it with the inputs as observed. `None`: it is gone."""
        return await self.find(ctx, have)

    async def create(self, ctx: Context[R], want: R) -> R:
        """Create the object and give `ctx.result(...)` with every output.

        Raises:
            AlreadyExists: an object of that name is there.
            ProviderError: refused; `retryable` and `ambiguous` say what the engine may do.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot create")

    async def update(self, ctx: Context[R], want: R, have: R) -> R:
        """Make the object `have` as `want` says. Raise `Gone` when there is none (any more)."""
        raise NotImplementedError(f"{type(self).__name__} cannot update: mark its inputs with prop(replace=True)")

    async def delete(self, ctx: Context[R], have: R) -> None:
        """Delete the object; one that is gone already is success."""
        raise NotImplementedError(f"{type(self).__name__} cannot delete")


_classes: dict[type, type[Resource]] = {}


def resource_class(provider: type[Provider[Any]]) -> type[Resource]:
    """Give the class that a provider handles: the `Folder` of `Provider[Folder]`."""
    known = _classes.get(provider)
    if known is not None:
        return known
    for base in provider.__mro__:
        for generic in getattr(base, "__orig_bases__", ()):
            args = typing.get_args(generic)
            if args and isinstance(args[0], type) and issubclass(args[0], Resource):
                _classes[provider] = args[0]
                return args[0]
    raise TypeError(f"{provider.__name__} must say what it handles: class {provider.__name__}(Provider[…])")


def overrides(provider: Provider[Any], handler: str) -> bool:
    """Say whether a provider has a handler of its own."""
    return getattr(type(provider), handler) is not getattr(Provider, handler)
