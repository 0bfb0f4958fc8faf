"""Checking state: everything wrong with what is stored, wherever a unit's records lie."""

from __future__ import annotations

import msgspec

from alchemy.engine.ledger import forgotten
from alchemy.errors import AlchemyError, StateError
from alchemy.names import is_within, unit_of
from alchemy.ports import Problem
from alchemy.upkeep.stores import Contents, Stores


async def problems_in(stores: Stores, units: list[str], chain: str) -> list[Problem]:
    """Find everything wrong at a chain and below it, also in the stores that nested scopes have of their own.

    Args:
        units: the stages and tests that the chain is, has, or lies in.
        chain: `""` for all there is.
    """
    found = list(await stores.first.problems(chain))
    for unit in units:
        try:
            contents = await stores.contents(unit)
        except StateError:
            continue  # what is wrong with it was found already
        found += _ledger(contents, unit, stores.first.url)
        for fqn, url in contents.kept_in.items():
            if is_within(fqn, chain) or is_within(chain, fqn) or not chain:
                found += await _elsewhere(stores, fqn, url, chain if is_within(chain, fqn) else fqn)
    return [_with_command(problem) for problem in found]


def _with_command(problem: Problem) -> Problem:
    """Name the command to a remedy that only says what is to be done."""
    if problem.fqn is None or "backup" not in problem.remedy or "alchemy scope" in problem.remedy:
        return problem
    command = f"alchemy scope restore {unit_of(problem.fqn)} --list"
    return msgspec.structs.replace(problem, remedy=f"{problem.remedy}: {command}")


async def _elsewhere(stores: Stores, fqn: str, url: str, chain: str) -> list[Problem]:
    try:
        return list(await (await stores.open(url)).problems(chain))
    except AlchemyError as error:
        what = f"the store of {fqn} cannot be used: {error.message}"
        return [Problem(where=url, what=what, remedy=error.hint or "put the store back", fqn=fqn)]


def _ledger(contents: Contents, unit: str, url: str) -> list[Problem]:
    """Check what a reset has put aside: the next deploy will need it."""
    try:
        forgotten(contents.records.get(unit))
    except StateError as error:
        return [Problem(where=url, what=error.message, remedy=error.hint or "restore from a backup", fqn=unit)]
    return []
