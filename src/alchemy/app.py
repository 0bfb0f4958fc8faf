"""`alchemy`: open an application, nested scopes and tests; secrets and the environment.

This is where engine, store and scope are put together.
"""

from __future__ import annotations

import asyncio
import difflib
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, Unpack, cast, overload

from alchemy import config
from alchemy.config import AppOptions, Launch, NestedOptions, given_options
from alchemy.engine.removal import remove
from alchemy.errors import ConfigurationError, DeclarationError
from alchemy.names import RESERVED_STAGE, check_app, check_id, check_stage, join
from alchemy.nested import Nested
from alchemy.opening import Opening, TestOpening
from alchemy.resource import Resource
from alchemy.scope import Scope, current_scope, get_current
from alchemy.secret import Secret

T = TypeVar("T")


class _Secrets:
    """`alchemy.secret(value)`, and `alchemy.secret.env("NAME")`."""

    @overload
    def __call__(self, value: str, *, name: str | None = None) -> Secret[str]: ...
    @overload
    def __call__(self, value: T, *, name: str | None = None) -> Secret[T]: ...
    def __call__(self, value: Any, *, name: str | None = None) -> Secret[Any]:
        """Make a value secret: it never prints itself, and is encrypted in state with the password.

        Raises:
            ConfigurationError: the value is `None`, or the scope it is made in has no password.
        """
        what = f"the secret {name!r}" if name else "a secret"
        if value is None:
            raise ConfigurationError(f"{what} has no value", hint="was an environment variable meant to be set?")
        scope = get_current()
        if scope is not None and not scope.closed and scope.settings.password is None:
            raise ConfigurationError(
                f"{what} is used in {scope.chain}, and there is no password to encrypt it with",
                hint="set ALCHEMY_PASSWORD, or alchemy(..., password=...)",
            )
        return cast("Secret[Any]", value) if isinstance(value, Secret) else Secret(value, name=name)

    def env(self, name: str) -> Secret[str]:
        """Make the value of an environment variable secret. Raises `ConfigurationError` when it is not set."""
        return self(_environment(name), name=name)


def _environment(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        near = difflib.get_close_matches(name, os.environ, 1)
        raise ConfigurationError(
            f"the environment variable {name} is not set",
            hint=f"did you mean {near[0]}?" if near else f"set it: export {name}=…",
        )
    return value


class Alchemy:
    """The one thing that programs import.

    ```python
    from alchemy import alchemy

    async with alchemy("notes", stage="prod") as app:
        ...
    ```
    """

    secret = _Secrets()

    def __call__(self, app: str, **options: Unpack[AppOptions]) -> Opening:
        """Open an application's stage.

        It begins at the call: what is declared next belongs to it. Use it as `async with alchemy(...) as app`, or
        as `app = await alchemy(...)` and `await app.finalize()`.

        Args:
            app: its name.
            options: see `alchemy.options`, or the page of options in the documentation.

        Raises:
            DeclarationError: a name that cannot be used; no event loop is running.
            ConfigurationError: an option that does not exist, or cannot have that value.
            LockedError: somebody else holds the stage (when it is entered or awaited).
            StateError: its state cannot be read; nothing was changed.
        """
        _require_loop(f"alchemy({app!r})")
        name = check_app(app)
        settings = config.resolve(options)
        stage = check_stage(settings.stage)
        launch = config.launch.get() or Launch()
        given = given_options(options)
        unit = join(name, stage)
        return Opening(app=name, unit=unit, settings=settings, kind="stage", launch=launch, given=given)

    @overload
    def run(self, name: str, fn: None = None, **options: Unpack[NestedOptions]) -> Nested[None]: ...
    @overload
    def run(self, name: str, fn: Callable[[], Awaitable[T]], **options: Unpack[NestedOptions]) -> Nested[T]: ...
    @overload
    def run(self, name: str, fn: Callable[[Scope], Awaitable[T]], **options: Unpack[NestedOptions]) -> Nested[T]: ...
    def run(self, name: str, fn: Callable[..., Awaitable[Any]] | None = None, **options: Any) -> Nested[Any]:
        """Open a nested scope in the current one.

        With a function it starts at the call, and awaiting it gives the function's result; without one, enter it
        with `async with`.

        Args:
            name: unique among the scopes and resources of the current scope.
            fn: called with the scope, if it takes an argument.
            options: `state_store`, `password`, `adopt`, `destroy_strategy`, `quiet` and others for this scope alone.
        """
        return Nested(current_scope(), name, fn, options)

    def test(
        self,
        id: str,
        *,
        prefix: str | None = None,
        auto_cleanup: bool = True,
        app: str | None = None,
        **options: Unpack[AppOptions],
    ) -> TestOpening:
        """Open a scope of its own for a test; everything in it is destroyed when it is left, also after a failure.

        What an interrupted test of the same id left behind is destroyed first.

        Args:
            id: the test; state lies under `<app>/test/<prefix>-<id>`.
            prefix: tells apart runs that share an account, such as `pr-12`.
            auto_cleanup: `False` leaves everything in place, to look at it.
            app: the application; by default `app` of `[tool.alchemy]`, the project's name, or the folder's.
            options: as for `alchemy(...)`.
        """
        _require_loop(f"alchemy.test({id!r})")
        launch = config.launch.get() or Launch(operation="test")
        name = check_app(app or default_app(launch.root))
        test = check_id(f"{prefix}-{id}" if prefix else id, what="test id")
        if "stage" in options:
            raise ConfigurationError("a test has no stage: its id is what isolates it", hint="leave stage= out")
        settings = replace(config.resolve(options), stage=RESERVED_STAGE)
        unit = join(name, RESERVED_STAGE, test)
        return TestOpening(
            app=name,
            unit=unit,
            settings=settings,
            kind="test",
            launch=launch,
            given=given_options(options),
            auto_cleanup=auto_cleanup,
        )

    def env(self, name: str) -> str:
        """Give the value of an environment variable. Raises `ConfigurationError` when it is not set."""
        return _environment(name)

    async def destroy(self, what: Scope | Resource) -> list[str]:
        """Destroy a resource or everything in a scope now, dependents first.

        Raises:
            DeclarationError: something that stays depends on it, or it belongs to no open scope.
            ExceptionGroup: what could not be destroyed.
        """
        return await remove(what)


alchemy = Alchemy()


def default_app(root: Path) -> str:
    """Name an application that a test did not name: `[tool.alchemy] app`, the project's name, or the folder's."""
    named = config.project_table(root).get("app")
    if isinstance(named, str):
        return named
    return re.sub(r"[^A-Za-z0-9._-]+", "-", root.resolve().name).strip("-.") or "app"


def _require_loop(what: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise DeclarationError(
            f"{what} needs a running event loop",
            hint="call it in a coroutine: `async def main(): ...`, then `alchemy deploy`, or `asyncio.run(main())`",
        ) from None
