"""Everything that is wrong with an `.alchemy` folder, with remedies. Changes nothing, raises for no damage."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from alchemy.errors import AlchemyError
from alchemy.names import is_within
from alchemy.ports import Problem
from alchemy.state import STAGE_KIND
from alchemy.stores._finding import app_folders, lock_files, name_app, name_unit, unit_folders
from alchemy.stores._folder import Folder
from alchemy.stores._guards import reading
from alchemy.stores._inspection import LOOK, REMOVE, Inspection
from alchemy.stores._layout import ASIDE, LOCKS, RECORD, quote_scope
from alchemy.stores._lockfile import read_lock
from alchemy.stores._reading import read_head

_CUT = "put back its state.json, which says what it is called"
_LINEAGE = (
    "put it back: the names of what exists are computed from it, and with another one the next run would not find"
    " what has no record"
)


def find_problems(folder: Folder, chain: str) -> Sequence[Problem]:
    """Look through all units at a chain and below it, their locks, and the applications that they belong to."""
    found = _Look(folder, chain).run()
    return [problem for problem in found if not chain or problem.fqn is None or is_within(problem.fqn, chain)]


class _Look:
    def __init__(self, folder: Folder, chain: str) -> None:
        self._folder = folder
        self._chain = chain
        self._unreadable_locks: dict[str, AlchemyError | OSError] = {}

    def run(self) -> Iterator[Problem]:
        root, app = self._folder.root, self._chain.partition("/")[0]
        for path in [f"{root}/{quote_scope(app)}"] if app else app_folders(root):
            try:
                name = app or name_app(path)
            except (AlchemyError, OSError) as error:
                yield _told(error, path, _CUT)
            else:
                yield from self._app(path, name)
        yield from self._locks()

    def _app(self, path: str, app: str) -> Iterator[Problem]:
        stages = 0
        for folder in unit_folders(path):
            try:
                unit = name_unit(folder, app)
            except (AlchemyError, OSError) as error:
                yield _told(error, folder, _CUT)
                continue
            if unit is None:
                yield Problem(where=folder, what="nothing says which stage this is", remedy=_CUT)
            elif self._concerns(unit):
                stages += _has_own_record(folder, unit)
                yield from self._unit(folder, unit)
        try:
            application = self._folder.application(app)
        except (AlchemyError, OSError) as error:
            yield _told(error, f"{path}/{RECORD}", _LINEAGE)
        else:
            if application is None and stages:
                yield Problem(
                    where=f"{path}/{RECORD}", what="the record of the application is missing", remedy=_LINEAGE
                )
        yield from (
            Problem(where=f"{path}/{name}", what="it was being written and was never finished", remedy=REMOVE)
            for name in _names(path)
            if name.endswith(ASIDE)
        )

    def _unit(self, folder: str, unit: str) -> Iterator[Problem]:
        lock = self._folder.lock_path(unit)
        try:
            with reading(lock):
                yield from Inspection(folder, unit, live=self._is_live(unit)).run()
        except (AlchemyError, OSError) as error:
            yield _told(error, lock, LOOK)

    def _is_live(self, unit: str) -> bool:
        try:
            leases = self._folder.locks()
        except (AlchemyError, OSError):
            return False  # told with the locks
        return any(is_within(lease.unit, unit) or is_within(unit, lease.unit) for lease in leases)

    def _locks(self) -> Iterator[Problem]:
        top = f"{self._folder.root}/{LOCKS}"
        own = "/".join(quote_scope(part) for part in self._chain.split("/"))
        for path in lock_files(top):
            if self._chain and not path.startswith((f"{top}/{own}/", f"{top}/{own}.")):
                continue
            try:
                read_lock(path)
            except (AlchemyError, OSError) as error:
                yield _told(error, path, "remove it when nobody is working on that stage")

    def _concerns(self, unit: str) -> bool:
        return not self._chain or is_within(unit, self._chain) or is_within(self._chain, unit)


def _has_own_record(folder: str, unit: str) -> bool:
    """Say whether a unit is this store's own, and not the part of one that a nested scope keeps here."""
    try:
        head = read_head(folder, unit)
    except (AlchemyError, OSError):
        return False
    return head is not None and head[1] is not None and head[1].kind == STAGE_KIND


def _told(error: AlchemyError | OSError, path: str, remedy: str) -> Problem:
    if isinstance(error, OSError):
        return Problem(
            where=str(error.filename or path), what=f"it cannot be read: {error.strerror or error}", remedy=LOOK
        )
    return Problem(where=str(getattr(error, "path", None) or path), what=error.message, remedy=remedy)


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return []
