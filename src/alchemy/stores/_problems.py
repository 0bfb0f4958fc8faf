"""Everything that is wrong with an `.alchemy` folder, with remedies. Changes nothing, raises for no damage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from alchemy.errors import AlchemyError
from alchemy.names import is_within
from alchemy.ports import Problem
from alchemy.soundness import check_backups, check_records
from alchemy.stores._folder import Folder
from alchemy.stores._layout import BACKUPS, RECORD


def find_problems(folder: Folder, chain: str) -> Sequence[Problem]:
    """Look through all units at a chain and below it."""
    found: list[Problem] = []
    for app in [chain.partition("/")[0]] if chain else folder.apps():
        for unit in folder.units(app):
            if not chain or is_within(unit, chain) or is_within(chain, unit):
                found += [problem for problem in _in_unit(folder, unit) if is_within(problem.fqn or chain, chain)]
    return found


def _in_unit(folder: Folder, unit: str) -> Iterator[Problem]:
    path = folder.unit_folder(unit)
    try:
        reading = folder.read(unit)
    except (AlchemyError, OSError) as error:
        yield _told(error, path)
    else:
        paths = reading.tree.paths
        yield from check_records(reading.records, unit, place=lambda fqn: paths.get(fqn, f"{path}/{RECORD}"))
    backups = folder.backups(unit)
    for name in backups.names():
        where = f"{path}/{BACKUPS}/{name}"
        try:
            raw = backups.read(name)
        except (AlchemyError, OSError) as error:
            yield _told(error, where)
        else:
            yield from check_backups({where: raw}, unit)


def _told(error: AlchemyError | OSError, where: str) -> Problem:
    if isinstance(error, OSError):
        path = error.filename or where
        return Problem(
            where=path, what=f"cannot be read: {error.strerror or error}", remedy="check its rights and its disk"
        )
    return Problem(where=str(getattr(error, "path", None) or where), what=error.message, remedy=error.hint or "")
