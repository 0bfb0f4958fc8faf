"""Scopes: they group what is declared, own its lifetime, and are left only when all that was started in them ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from alchemy.config import Settings
from alchemy.deferred import Deferred
from alchemy.errors import DeclarationError
from alchemy.finalizing import Finalize
from alchemy.gathering import gathered
from alchemy.names import Naming, check_id, join
from alchemy.nursery import Nursery
from alchemy.options import Strategy
from alchemy.ports import Runner

if TYPE_CHECKING:
    from alchemy.declared import Declared
    from alchemy.nested import Nested

Kind = Literal["app", "stage", "nested", "resource", "test"]
T = TypeVar("T")

_current: ContextVar[Scope | None] = ContextVar("alchemy_scope", default=None)


class _Current:
    """`Scope.current`: the nearest open scope of the running task."""

    def __get__(self, instance: object, owner: type[Scope]) -> Scope:
        return current_scope()


def current_scope() -> Scope:
    """Give the nearest open scope.

    Raises:
        DeclarationError: there is none, or all are finalized.
    """
    scope = _current.get()
    last = scope
    while scope is not None and scope.closed:
        scope.raise_signal()
        scope = scope.before or scope.parent
    if scope is not None and scope.kind != "app":
        return scope
    if last is not None:
        raise DeclarationError(
            f"the scope {last.chain} is finalized already",
            hint="declare everything inside `async with alchemy(...)`, or before `await app.finalize()`",
        )
    raise DeclarationError("not inside a scope", hint='open one first: `async with alchemy("my-app") as app:`')


def set_current(scope: Scope | None) -> None:
    """Make `scope` the one that declarations of this task, and of tasks it starts, go to."""
    _current.set(scope)


def get_current() -> Scope | None:
    """Give the scope last made current in this task, open or not."""
    return _current.get()


class Scope:
    """A group of resources with one lifetime. Made by `alchemy(...)`, `alchemy.run(...)` and `alchemy.test(...)`.

    Attributes:
        kind: `app`, `stage`, `nested`, `resource` or `test`.
        name: its own name; `chain` is the path of names, such as `notes/prod/database`.
        parent: the scope that holds it; an application has none.
        settings: its options, resolved.
    """

    current = _Current()

    def __init__(
        self,
        *,
        kind: Kind,
        name: str,
        parent: Scope | None,
        settings: Settings,
        runner: Runner,
        chain: str | None = None,
    ) -> None:
        self.kind: Kind = kind
        self.name = name
        self.parent = parent
        self.settings = settings
        self.runner = runner
        self.chain: str = chain if chain is not None else (join(parent.chain, name) if parent else name)
        self.given: Mapping[str, Any] = {}
        """The options that were said of this scope itself, checked."""
        self.closed = False
        self.closing = False
        self.left = False
        self.broken = False
        """Whether its body was left by an error, or never begun: what it would have declared is not known."""
        self.resources: dict[str, Declared] = {}
        self.scopes: dict[str, Nested[Any] | Scope] = {}
        self.kept: set[str] = set()
        self.failures: list[Declared | Nested[Any]] = []
        self.signal: BaseException | None = None
        """What ends the program's body when it declares something: the run has destroyed everything."""
        self.before: Scope | None = None
        """What was current when it was opened, for a stage or a test."""
        around: Nursery | None = parent.nursery if parent is not None else None
        self.nursery: Nursery = Nursery(self._stop_here if kind == "nested" else runner.stop, around)
        self.exports: dict[str, Any] = {}
        self.newest = 0
        """The largest `seq` declared in it or below."""
        self._deferred = Deferred()

    def __repr__(self) -> str:
        return f"<{self.kind} scope {self.chain}>"

    @property
    def fqn(self) -> str:
        """Give the chain: a scope's full name."""
        return self.chain

    @property
    def stage(self) -> str:
        """Give the stage this scope belongs to."""
        return self.settings.stage

    @property
    def app(self) -> str:
        """Give the application's name."""
        return self.chain.partition("/")[0]

    @property
    def root(self) -> Scope:
        """Give the stage or test scope that holds it."""
        scope = self
        while scope.parent is not None and scope.parent.kind != "app":
            scope = scope.parent
        return scope

    # What is in it

    def register_resource(self, id: str) -> None:
        """Count `id` as part of this run, so that it is not destroyed as an orphan, without declaring it."""
        self.kept.add(check_id(id, what="resource id"))

    def has_resource(self, id: str) -> bool:
        """Say whether `id` was declared or registered in this scope in this run."""
        return id in self.resources or id in self.kept

    def claim(self, id: str, what: str) -> None:
        """Check that nothing in this scope is called `id` yet.

        Raises:
            DeclarationError: something is; or the scope is closed, or belongs to another event loop.
        """
        self.check_open(f"{what} {id!r}")
        if id in self.resources:
            held = self.resources[id].kind
            raise DeclarationError(
                f"{what} {id!r} is declared twice in {self.chain}: first as {held}",
                hint="give one of them another id",
            )
        if id in self.scopes:
            raise DeclarationError(
                f"{what} {id!r} cannot be declared in {self.chain}: a nested scope has that name",
                hint="rename one of them",
            )

    def raise_signal(self) -> None:
        """End the program's body here, when the engine has said that there is nothing to go on with."""
        if self.root.signal is not None:
            raise self.root.signal

    def check_open(self, what: str) -> None:
        """Raise `DeclarationError` when nothing can be declared here (any more)."""
        if self.closed:
            self.raise_signal()
            raise DeclarationError(f"{what} cannot be declared: the scope {self.chain} is finalized already")
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is not self.nursery.loop:
            raise DeclarationError(
                f"{what} cannot be declared: the scope {self.chain} belongs to another thread or event loop",
                hint="declare it in the coroutine that opened the scope, or in tasks of the same loop",
            )

    def fail(self, item: Declared | Nested[Any]) -> None:
        """Take note that something directly in this scope failed."""
        self.failures.append(item)
        self.runner.note_failure()

    @property
    def unseen_failure(self) -> BaseException | None:
        """A failure in this scope or below that the program has not been told of yet."""
        for item in self.failures:
            if not item.delivered:
                return item.error
        inner = [scope for scope in self.scopes.values() if isinstance(scope, Scope)]
        held = [declared.inner for declared in self.resources.values() if declared.inner is not None]
        for scope in (*inner, *held):
            found = scope.unseen_failure
            if found is not None:
                return found
        return None

    def physical_name(self, id: str, *, naming: Naming | None = None, kind: str = "") -> str:
        """Compute a name for something called `id` in this scope: stable, and unlike any other copy's.

        Args:
            id: what it is called here.
            naming: the rules of whoever holds it; by default 63 of `a-z0-9-`.
            kind: tells apart things of different kinds under one id.
        """
        return self.runner.physical_name(join(self.chain, check_id(id, what="resource id")), kind, naming or Naming())

    # Persisted data

    async def get(self, key: str, default: Any = None) -> Any:
        """Read a value that `set` persisted in this scope, in this run or an earlier one."""
        return (await self.runner.data(self)).get(key, default)

    async def set(self, key: str, value: Any) -> None:
        """Persist a value under `key` in this scope's record; durable when it returns. Secrets are encrypted."""
        await self.runner.set_data(self, key, value)

    async def delete(self, key: str) -> None:
        """Forget the value under `key`; it need not exist."""
        await self.runner.delete_data(self, key)

    def export(self, **values: Any) -> None:
        """Give values to whoever runs the program: shown at the end, and in the event `run.finished`."""
        self.root.exports.update(values)

    def defer(self, fn: Callable[[], T | Awaitable[T]]) -> Awaitable[T]:
        """Call `fn` when this scope is left, after everything in it succeeded and before orphans are destroyed.

        Gives an awaitable of its result. It never runs when the scope failed.
        """
        self.check_open("a deferred function")
        return self._deferred.add(fn, self.nursery.loop)

    async def finalize(
        self,
        *,
        strategy: Strategy | None = None,
        max_retries: int | None = None,
        retry_delay: float | None = None,
        batch_size: int | None = None,
        timeout: float | None = None,
        dry_run: bool = False,
        continue_on_error: bool | None = None,
    ) -> list[str]:
        """Wait for what was started here, and destroy what is in state but not in the program any more.

        Args:
            strategy: `sequential`, `parallel` or `batched`; dependents go first in each.
            max_retries: of a delete that failed in a way that may pass.
            retry_delay: seconds before the first retry; doubled each time, with jitter.
            batch_size: for `batched`.
            timeout: seconds for one delete.
            dry_run: only say what would go, in order; the scope stays open.
            continue_on_error: after a failed delete, go on with what does not depend on it.

        Returns:
            The FQNs of what was (or would be) destroyed, in order.

        Raises:
            ExceptionGroup: everything that failed, each once; nothing was destroyed then, or what could not be
                is still in state.
        """
        options = Finalize(
            self.settings,
            strategy=strategy,
            max_retries=max_retries,
            retry_delay=retry_delay,
            batch_size=batch_size,
            timeout=timeout,
            dry_run=dry_run,
            continue_on_error=continue_on_error,
        )
        if dry_run:
            return await self.runner.finalize(self, options)
        if self.closed:
            return []
        await self.settle(None)
        return await self.end(options)

    async def end(self, options: Finalize) -> list[str]:
        """Finish a scope that has settled without failure. The stage's own form does more."""
        destroyed = [] if self.has_failed else await self.runner.finalize(self, options)
        self.closed = True
        return destroyed

    # Leaving

    async def settle(self, error: BaseException | None) -> None:
        """Wait for everything started here, run what was deferred, and raise what failed, each once.

        Args:
            error: what the body raised, if it did; from then on nothing new starts.

        Raises:
            ExceptionGroup: failures of resources, with the body's own error among them.
        """
        self.closing = self.closing or error is not None
        self.broken = self.broken or error is not None
        if error is None:
            error = self._never_entered()
        try:
            await self.nursery.join(cancelled=isinstance(error, asyncio.CancelledError))
        except asyncio.CancelledError:
            self._cut_short()
            raise
        if error is None and not self.failures:
            error = await self._deferred.run()
            await self.nursery.join()
        self._deferred.cancel()
        self.closing = True
        self._raise(error)

    def _stop_here(self) -> None:
        """A cancellation came while this scope was being left: nothing new starts in it.

        It may be a timeout of the program's own, after which the run goes on; a request to stop the whole run goes on
        to the scopes around it, one by one, or comes from the command line, which tells the run at once.
        """
        self.closing = True

    def _cut_short(self) -> None:
        """It was cancelled while it was being left: what failed in it was reported, and is told by that."""
        self.closing = self.broken = True
        for item in self.failures:
            item.delivered = True
        self._deferred.cancel()

    def _raise(self, error: BaseException | None) -> None:
        failed = [item.error for item in self.failures if not item.delivered and item.error is not None]
        if error is None or isinstance(error, Exception):
            for item in self.failures:
                item.delivered = True
        raised = gathered(self.chain, error, failed)
        if raised is not None:
            raise raised

    @property
    def has_failed(self) -> bool:
        """Whether anything in this scope or below it failed, caught by the program or not."""
        inner = [scope for scope in self.scopes.values() if isinstance(scope, Scope)]
        held = [d.inner for d in self.resources.values() if d.inner is not None]
        return self.broken or bool(self.failures) or any(scope.has_failed for scope in (*inner, *held))

    async def take_back(self, error: BaseException) -> None:
        """The scope has failed with `error`: destroy what was created in it in this run, if its options say so.

        What cannot be destroyed is noted on the error. A request to stop, as by Ctrl-C, is no failure: all is kept.
        """
        if self.settings.on_failure != "destroy" or not isinstance(error, Exception):
            return
        for left in await self.runner.take_back(self):
            error.add_note(f"on_failure: {left}")

    def _never_entered(self) -> DeclarationError | None:
        for name, scope in self.scopes.items():
            if not isinstance(scope, Scope):
                return DeclarationError(
                    f"alchemy.run({name!r}) in {self.chain} was never entered",
                    hint="write `async with alchemy.run(...)`, or pass it a function",
                )
        return None
