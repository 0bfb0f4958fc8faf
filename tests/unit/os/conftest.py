"""What the tests of commands share: contexts without an engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from alchemy.os import Exec
from alchemy.provider import Context
from alchemy.resource import make_detached


class Bench:
    """Makes commands and contexts as the engine would.

    Attributes:
        logs: what was logged, each line at its time.
        data: what handlers kept; `checkpoints` what of it was durable, each time.
    """

    def __init__(self) -> None:
        self.logs: list[str] = []
        self.data: dict[str, Any] = {}
        self.checkpoints: list[dict[str, Any]] = []
        self.log: Callable[[str], None] = self.logs.append

    def make(self, *command: str, **values: Any) -> Exec:
        """Make a handler's copy of a command."""
        made = make_detached(Exec, id="it", fqn="app/prod/it", values={"command": list(command), **values})
        assert isinstance(made, Exec)
        return made

    def shell(self, script: str, **values: Any) -> Exec:
        """Make a handler's copy of a shell's command."""
        return self.make("sh", "-c", script, **values)

    def _say(self, line: str) -> None:
        self.log(line)

    def context(self, want: Exec, *, force: bool = False) -> Context[Exec]:
        """Make what a handler is told."""

        async def checkpoint(outputs: dict[str, Any]) -> None:
            self.checkpoints.append({**self.data, **outputs})

        async def shared(key: str, make: Callable[[], Awaitable[Any]]) -> Any:
            raise AssertionError(f"commands share nothing: {key}, {make}")

        return Context(
            want=want,
            app="app",
            stage="prod",
            name="",
            target="machine",
            adopt=False,
            force=force,
            local=False,
            data=self.data,
            log=self._say,
            checkpoint=checkpoint,
            shared=shared,
        )


@pytest.fixture
def bench() -> Bench:
    """Give a bench."""
    return Bench()
