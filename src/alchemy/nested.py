"""Nested scopes: what `alchemy.run(...)` gives."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from alchemy.config import given_options
from alchemy.errors import AlchemyError, DeclarationError
from alchemy.names import check_id
from alchemy.nursery import Latch
from alchemy.scope import Scope, get_current, set_current

T = TypeVar("T")


class AsyncOnly:
    """What is entered with `async with`: a plain `with` gets an error that says so, and type checkers know anyway."""

    if not TYPE_CHECKING:

        def __enter__(self) -> None:
            raise DeclarationError("a scope is entered with `async with`, not with `with`", hint="write `async with`")

        def __exit__(self, *_: object) -> None:
            """Is never called; without it `with` would not get as far as `__enter__`."""


class Nested(AsyncOnly, Generic[T]):
    """What `alchemy.run(...)` gives: a nested scope to enter with `async with`, or a function's result to await.

    Until it is entered it stands in its parent for the scope; entering replaces it.
    """

    def __init__(
        self,
        parent: Scope,
        name: str,
        fn: Callable[..., Awaitable[T] | T] | None,
        options: Mapping[str, Any],
    ) -> None:
        check_id(name, what="scope name")
        if name in parent.scopes:
            raise DeclarationError(
                f"the scope {name!r} is opened twice in {parent.chain}", hint="give one of them another name"
            )
        parent.claim(name, "the scope")
        self.parent = parent
        self.name = name
        self.error: BaseException | None = None
        self.delivered = False
        self._given = given_options(options)
        self._settings = parent.settings.nested(options)
        self._fn = fn
        self._latch = Latch()
        self._result: T | None = None
        self._scope: Scope | None = None
        self._before: Scope | None = None
        parent.scopes[name] = self
        if fn is not None:
            scope = self._open()
            parent.nursery.start(self._run(scope, fn))

    def _open(self) -> Scope:
        scope = Scope(
            kind="nested", name=self.name, parent=self.parent, settings=self._settings, runner=self.parent.runner
        )
        scope.given = self._given
        self.parent.runner.enter(scope)
        self.parent.scopes[self.name] = scope
        self._scope = scope
        return scope

    async def _run(self, scope: Scope, fn: Callable[..., Awaitable[T] | T]) -> None:
        set_current(scope)
        try:
            await scope.runner.open(scope)
            try:
                outcome = fn(scope) if _takes_argument(fn) else fn()
                self._result = await outcome if inspect.isawaitable(outcome) else outcome
            except BaseException as error:
                await scope.settle(error)
                raise
            await self._leave(scope)
        except BaseException as error:
            scope.broken = True
            await self._take_back(scope, error)
            scope.closed = True
            scope.runner.leave(scope)
            self.error = error
            self.parent.fail(self)
        finally:
            self._latch.set()

    async def _take_back(self, scope: Scope, error: BaseException) -> None:
        """Destroy what the scope created, if it is to; a second request to stop ends that, and the error goes on."""
        try:
            await scope.take_back(error)
        except BaseException as raised:
            error.add_note(f"on_failure: it was cut short: {raised!r}")

    async def _leave(self, scope: Scope) -> None:
        await scope.settle(None)
        scope.closed = True
        scope.runner.leave(scope)

    def __await__(self) -> Generator[Any, None, T]:
        if self._fn is None:
            raise DeclarationError(
                f"alchemy.run({self.name!r}) without a function cannot be awaited",
                hint="write `async with alchemy.run(...)`, or pass it a function",
            )
        yield from self._latch.wait().__await__()
        if self.error is not None:
            self.delivered = True
            raise self.error
        if self._scope is not None:
            self._scope.runner.leave(self._scope)
        return cast("T", self._result)

    async def __aenter__(self) -> Scope:
        if self._fn is not None or self._scope is not None:
            raise DeclarationError(
                f"alchemy.run({self.name!r}) is running already", hint="await it, or leave out the function"
            )
        scope = self._open()
        try:
            await scope.runner.open(scope)
        except BaseException:
            scope.broken = True
            raise
        self._before = get_current()
        set_current(scope)
        return scope

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        scope = self._scope
        assert scope is not None
        try:
            try:
                if error is None:
                    await self._leave(scope)
                else:
                    await self._fail(scope, error)
            except BaseException as raised:
                scope.broken = True
                await scope.take_back(raised)
                raise
            if error is not None:
                await scope.take_back(error)
        finally:
            scope.closed = True
            scope.runner.leave(scope)
            set_current(self._before)

    async def _fail(self, scope: Scope, error: BaseException) -> None:
        try:
            await scope.settle(error)
        except BaseException as raised:
            if raised is not error:
                raise raised from None if isinstance(raised, AlchemyError) else error
            return


def _takes_argument(fn: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return False
    wanted = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    # one with a default is there to bind a loop's variable: `lambda name=name: …`
    return any(p.kind is p.VAR_POSITIONAL or (p.kind in wanted and p.default is p.empty) for p in parameters)
