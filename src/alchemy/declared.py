"""One resource in one run: its place, what it waits for, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from alchemy.errors import DeclarationError
from alchemy.names import join
from alchemy.nursery import Latch
from alchemy.scope import Scope, get_current

if TYPE_CHECKING:
    from alchemy.resource import Options, Resource


class Declared:
    """One resource in one run: its place, what it waits for, and how it ended.

    Attributes:
        deps: every resource passed in, or named in `depends_on`.
        latch: opens when it is done, well or not.
        error: why it failed; `delivered` once the program has got to see it.
        inner: the scope of its own children, when it is a composite.
        secretive: a secret is among its inputs, or will be among its outputs.
        seq, seen: its ticks; see `alchemy.order`.
        decode: gives the outputs by name; called when they are first needed.
    """

    __slots__ = (
        "_outputs",
        "decode",
        "delivered",
        "deps",
        "error",
        "fqn",
        "id",
        "inner",
        "kind",
        "latch",
        "options",
        "resource",
        "revealed",
        "scope",
        "secretive",
        "seen",
        "seq",
    )

    def __init__(
        self, resource: Resource, scope: Scope, id: str, kind: str, options: Options, deps: list[Resource]
    ) -> None:
        self.resource = resource
        self.scope = scope
        self.id = id
        self.fqn = join(scope.chain, id)
        self.kind = kind
        self.options = options
        self.deps: list[Declared] = []
        for dependency in deps:
            declared = dependency._declared
            if declared is not None and declared not in self.deps:
                self.deps.append(declared)
        self.latch = Latch()
        self.error: BaseException | None = None
        self.delivered = False
        self.revealed = False
        self.inner: Scope | None = None
        self.secretive = False
        self.seq = 0
        self.seen: int | None = None
        self.decode: Callable[[], Mapping[str, Any]] | None = None
        self._outputs: Mapping[str, Any] = {}

    def outputs(self) -> Mapping[str, Any]:
        """Give the outputs by name; empty before it is done."""
        if self.decode is not None:
            self._outputs, self.decode = self.decode(), None
        return self._outputs

    def refuse_inside(self) -> None:
        """Raise `DeclarationError` when what would wait for it is a part of it: it would wait for ever."""
        scope = get_current() if self.inner is not None else None
        while scope is not None:
            if scope is self.inner:
                raise DeclarationError(
                    f"{self.fqn} is awaited in its own declare(), and would wait for itself",
                    hint="use its inputs, or await its parts",
                )
            scope = scope.parent

    def reveal(self) -> None:
        """Put the outputs where the program can read them."""
        if not self.revealed:
            self.resource.__dict__.update(self.outputs())
            self.revealed = True

    def fail(self, error: BaseException) -> None:
        """End it with `error`."""
        self.error = error
        self.scope.fail(self)
        self.latch.set()
