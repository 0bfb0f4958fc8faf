"""What the tests of files share: the contexts of one run without an engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from alchemy.provider import Context
from alchemy.resource import Resource, make_detached

R = TypeVar("R", bound=Resource)


class OneRun:
    """Makes resources and contexts as the engine would in one run; `logs` holds what handlers said."""

    def __init__(self) -> None:
        self.logs: list[str] = []
        self._shared: dict[str, Any] = {}
        self._data: dict[str, dict[str, Any]] = {}

    def make(self, cls: type[R], id: str = "it", **values: Any) -> R:
        """Make a handler's copy of a resource."""
        made = make_detached(cls, id=id, fqn=f"app/prod/{id}", values=values)
        assert isinstance(made, cls)
        return made

    def data(self, id: str = "it") -> dict[str, Any]:
        """Give what the handlers of a resource kept."""
        return self._data.setdefault(id, {})

    def next(self) -> OneRun:
        """Begin another run: what handlers kept is there, what they shared is not."""
        other = OneRun()
        other._data = self._data
        return other

    def context(self, want: R, *, adopt: bool = False) -> Context[R]:
        """Make what a handler is told."""

        async def checkpoint(outputs: dict[str, Any]) -> None:
            raise AssertionError(f"nothing here takes long enough for a checkpoint: {outputs}")

        async def shared(key: str, make: Callable[[], Awaitable[Any]]) -> Any:
            if key not in self._shared:
                self._shared[key] = await make()
            return self._shared[key]

        return Context(
            want=want,
            app="app",
            stage="prod",
            name="",
            target="machine",
            adopt=adopt,
            force=False,
            local=False,
            data=self.data(want.id),
            log=self.logs.append,
            checkpoint=checkpoint,
            shared=shared,
        )


@pytest.fixture
def run() -> OneRun:
    """Give the one run of a test."""
    return OneRun()
