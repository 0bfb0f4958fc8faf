"""A run that puts a unit in order from outside the program: it holds the unit, leaves a log, and does one thing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from alchemy import config
from alchemy.config import Launch
from alchemy.names import RESERVED_STAGE, is_within
from alchemy.opening import Opening
from alchemy.scope import get_current, set_current

Work = Callable[["Upkeep"], Awaitable[None]]


class Upkeep(Opening):
    """A unit that is held and loaded, with the stores of its nested scopes, while `work` is done on it.

    Args:
        restores: the chain that a backup is restored of: damage there is put aside, and stores that it does not lie in
            are left alone.
        also: another password that state may be encrypted with.
    """

    def __init__(self, *, work: Work, restores: str | None = None, also: str | None = None, **rest: Any) -> None:
        self.work = work
        super().__init__(**rest)
        self._holdings.also = also
        if restores is not None:
            self._holdings.salvages = lambda chain: chain == restores
            self._holdings.reopens = lambda chain: is_within(restores, chain)
        self.run.doing = self._launch.operation

    async def _destroy_all(self) -> None:
        self._may_cancel = False  # what has begun is ended
        try:
            await self.work(self)
        except BaseException as error:
            await self.close(ok=False, error=error)
            raise
        await self.close(ok=True)

    @property
    def put_aside(self) -> bool:
        """Whether the state was damaged, and only what could be read of it was loaded."""
        return self._holdings.put_aside

    async def done(self) -> None:
        """Wait until the work is done, and raise what came of it."""
        await self._wait_ready()
        if self._error is not None:
            raise self._error


async def work_on(
    unit: str, work: Work, *, restores: str | None = None, also: str | None = None, **options: Any
) -> None:
    """Take a unit, do `work` on it, fold what was written and give the unit back.

    Args:
        unit: `notes/prod`, or `notes/test/<id>`; it need not hold anything.
        restores, also: as for `Upkeep`.
        options: as for `alchemy(...)`.

    Raises:
        LockedError: somebody else holds it; nothing was done.
        StateError: its state cannot be read; nothing was done.
    """
    app, _, rest = unit.partition("/")
    is_test = rest.startswith(f"{RESERVED_STAGE}/")
    settings = replace(config.resolve(options), phase="destroy", stage=RESERVED_STAGE if is_test else rest)
    launch = config.launch.get() or Launch(operation="upkeep")
    before = get_current()
    opening = Upkeep(
        work=work,
        restores=restores,
        also=also,
        app=app,
        unit=unit,
        settings=settings,
        kind="test" if is_test else "stage",
        launch=launch,
    )
    try:
        await opening.done()
    finally:
        set_current(before)
