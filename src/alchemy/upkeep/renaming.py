"""Renaming: a resource or a scope gets another name in state, with everything below it; its object stays as it is."""

from __future__ import annotations

from typing import Any

import msgspec

from alchemy.engine.leaving import ORPHANS
from alchemy.engine.ledger import names_in
from alchemy.engine.moves import move_records
from alchemy.engine.run import Run
from alchemy.errors import ConfigurationError
from alchemy.events import ResourceLog
from alchemy.names import check_id, is_within, leaf, parent, unit_of
from alchemy.state import JsonObject, Record, is_array, is_object
from alchemy.upkeep.working import Upkeep, work_on


async def rename(old: str, new: str, **options: Any) -> list[tuple[str, str]]:
    """Call what is at an FQN, and everything below it, otherwise, in one commit.

    What other records say of it follows, and so does what a reset has forgotten there. Objects keep their names: the
    record knows them. The program has to be changed likewise, or the next deploy destroys what it does not find there.

    Args:
        options: as for `alchemy(...)`.

    Returns:
        The FQNs of the resources, before and after.

    Raises:
        ConfigurationError: there is nothing of the one name, or something of the other; it would leave its stage; or
            there is a secret, which is bound to its record's name, and no password.
        SecretError: the password is another one.
        LockedError, StateError: nothing was renamed.
    """
    unit = unit_of(old)
    if unit_of(new) != unit or unit in (old, new):
        raise ConfigurationError(
            f"{old} cannot become {new}: what is renamed stays in its stage",
            hint="a stage is copied by deploying it again under another name",
        )
    moved: list[tuple[str, str]] = []

    async def work(upkeep: Upkeep) -> None:
        moved.extend(await _rename(upkeep.run, old, new))

    await work_on(unit, work, **options)
    return moved


async def _rename(run: Run, old: str, new: str) -> list[tuple[str, str]]:
    session = run.session
    _check(run, old, new)
    own = session.get(run.unit)
    along = [] if own is None else [_own(own, old, new)]
    resources = {fqn for fqn, record in session.records.items() if not record.is_scope}
    inside = [fqn for fqn in {*resources, *names_in(own)} if is_within(fqn, old)]
    moving = move_records(run, session, old, new, *along, settings=run.settings)
    if moving is not None:
        await moving
    pairs = [(fqn, new + fqn[len(old) :]) for fqn in sorted(inside)]
    for before, after in pairs:
        run.emit(ResourceLog(fqn=after, message=f"was called {before}"))
    return pairs


def _check(run: Run, old: str, new: str) -> None:
    records = run.all_records()
    known = [*records, *names_in(run.session.get(run.unit))]
    if not any(fqn == old or (fqn not in records and is_within(fqn, old)) for fqn in known):
        raise ConfigurationError(f"there is no {old} in state", hint="`alchemy state list` shows what there is")
    if is_within(new, old) or is_within(old, new):
        raise ConfigurationError(f"{old} cannot become {new}: one lies in the other", hint="choose another name")
    check_id(leaf(new), what="name")
    taken = [fqn for fqn in known if is_within(fqn, new)]
    if taken:
        raise ConfigurationError(f"{taken[0]} is there already", hint="choose another name")
    above = records.get(parent(new))
    if parent(new) not in (parent(old), run.unit) and (above is None or not above[0].is_scope):
        raise ConfigurationError(
            f"there is no scope {parent(new)} in state",
            hint="deploy a program that has it, or move into one that is there",
        )
    others = [chain for chain in run.sessions if chain != run.unit]
    kept = [chain for chain in others if any(is_within(chain, fqn) or is_within(fqn, chain) for fqn in (old, new))]
    if kept:
        raise ConfigurationError(
            f"{kept[0]} keeps its state in a store of its own: nothing in it can be renamed",
            hint="deploy once without its resources, then as the program is to be",
        )


def _own(own: Record, old: str, new: str) -> Record:
    """Give the unit's own record, with what it says of the names."""

    def renamed(fqn: str) -> str:
        return new + fqn[len(old) :] if is_within(fqn, old) else fqn

    output: JsonObject = dict(own.output)
    orphans = output.get(ORPHANS)
    if is_array(orphans):
        output[ORPHANS] = [renamed(fqn) for fqn in orphans]
    for what in ("salts", "keys"):
        by_scope = output.get(what)
        if is_object(by_scope):
            output[what] = {renamed(chain): value for chain, value in by_scope.items()}
    return msgspec.structs.replace(own, output=output)
