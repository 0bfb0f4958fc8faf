"""A chain above or below a unit in the hands of its holder. Runs in threads.

What is stored belongs to units: each has one log of commits, with one writer at a time. So whoever holds an
application, or a scope within a unit, takes the unit itself for the moment of each commit: for rare writes by hand,
not for runs. Those who hold scopes beside one another take turns.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Generator, Sequence

from alchemy.errors import AlchemyError, LeaseLost, LockedError
from alchemy.stores._commits import Change, unit_written
from alchemy.stores._folder import Folder
from alchemy.stores._guards import GUARD_WAIT, guard
from alchemy.stores._held import HeldUnit
from alchemy.stores._leases import UnitLock

_PAUSE = 0.005
_TTL = 60.0


class HeldChain:
    """Writes what lies within a chain that is no unit. Its methods block; they are called one at a time.

    Args:
        lock: as taken.
    """

    def __init__(self, folder: Folder, lock: UnitLock) -> None:
        self.lock = lock
        self._folder = folder
        self._mutex = threading.Lock()
        self._written: dict[str, None] = {}
        self._failure: AlchemyError | None = None

    def commit(self, changes: Sequence[Change]) -> None:
        """Write changes; they are durable on return. Those of one unit that follow each other are one commit.

        After a failure nothing more is written: what was called later must not be there without what was called before.
        """
        with self._mutex:
            if self._failure is not None:
                raise self._failure
            groups: list[tuple[str, list[Change]]] = []
            for change in changes:
                unit = unit_written(self.lock.content.unit, change)
                if groups and groups[-1][0] == unit:
                    groups[-1][1].append(change)
                else:
                    groups.append((unit, [change]))
            for unit, some in groups:
                try:
                    with self._tenure(unit) as held:
                        held.commit(some)
                except AlchemyError as error:
                    self._failure = error
                    raise
                self._written[unit] = None

    def fold(self) -> None:
        """Turn the journals of the units that were written into record files."""
        with self._mutex:
            for unit in list(self._written):
                with self._tenure(unit) as held:
                    held.fold()
                del self._written[unit]

    def close(self) -> None:
        """There is nothing to let go of."""

    def abandon(self) -> None:
        """There is nothing to let go of."""

    @contextlib.contextmanager
    def _tenure(self, unit: str) -> Generator[HeldUnit]:
        """Hold a unit for a moment; nobody can take or break this chain meanwhile."""
        lock = self._take(unit)
        try:
            with guard(self.lock.path, exclusive=False):
                self.lock.check()
            held = HeldUnit(self._folder.disk, self._folder.unit_folder(unit), lock)
            try:
                yield held
            finally:
                held.close()
        finally:
            lock.release()

    def _take(self, unit: str) -> UnitLock:
        end = time.monotonic() + GUARD_WAIT
        while True:
            taken = self._folder.take_briefly(unit, self.lock.content.owner, _TTL)
            if isinstance(taken, UnitLock):
                return taken
            if not taken.brief:
                with guard(self.lock.path, exclusive=False):
                    self.lock.check()
                raise LeaseLost(f"{unit} is held by {taken.owner} since {taken.since}", hint="take the lock again")
            if time.monotonic() > end:
                raise LockedError(
                    f"{unit} has been in use for {GUARD_WAIT:g} s: a process was stopped in the middle of a commit",
                    unit=unit,
                    owner=str(taken.owner),
                    hint=f"let it go on or end it ({taken.owner})",
                )
            time.sleep(_PAUSE)
