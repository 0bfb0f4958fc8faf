"""Forgetting for good: a record goes, and nobody looks after its object any more."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from alchemy.engine import ledger
from alchemy.engine.leaving import ORPHANS, without_orphans
from alchemy.engine.run import Run
from alchemy.engine.session import Session
from alchemy.errors import ConfigurationError
from alchemy.events import ResourceLog
from alchemy.names import is_within, unit_of
from alchemy.state import Generation, Record, is_array
from alchemy.upkeep.reset import objects_of
from alchemy.upkeep.stores import Contents
from alchemy.upkeep.working import Upkeep, work_on

T = TypeVar("T", Record, Generation)


def remembered(contents: Contents, fqn: str) -> list[Record]:
    """Give the resources at an FQN and below it that `forget` would drop; those that a reset has forgotten too."""
    found = {**ledger.forgotten(contents.records.get(unit_of(fqn))), **contents.records}
    return [record for name, record in sorted(found.items()) if is_within(name, fqn) and not record.is_scope]


async def forget(fqn: str, **options: Any) -> list[Record]:
    """Drop the records at an FQN and below it; nothing is destroyed, and nothing is kept to find it by.

    Unlike after a reset, a name that a program chose is a stranger's from then on. What depended on it does so no more.

    Args:
        fqn: of a resource or a scope; also of what a reset has forgotten.
        options: as for `alchemy(...)`.

    Returns:
        The records of the resources that were dropped: what is left behind.

    Raises:
        ConfigurationError: there is nothing of that name, or it is a whole stage.
        LockedError, StateError: nothing was dropped.
    """
    if unit_of(fqn) == fqn:
        raise ConfigurationError(
            f"{fqn} is a stage, which is not forgotten as a whole", hint=f"alchemy scope reset {fqn}, or destroy it"
        )
    left: list[Record] = []

    async def work(upkeep: Upkeep) -> None:
        left.extend(await _forget(upkeep.run, fqn))

    await work_on(unit_of(fqn), work, **options)
    return left


async def _forget(run: Run, fqn: str) -> list[Record]:
    inside = {name: pair for name, pair in run.all_records().items() if is_within(name, fqn)}
    remembered = {
        name: record
        for session in _sessions(run)
        for name, record in ledger.forgotten(session.get(session.unit)).items()
        if is_within(name, fqn)
    }
    if not inside and not remembered:
        raise ConfigurationError(f"there is no {fqn} in state", hint="`alchemy state list` shows what there is")
    # What lies in a store of its own goes first: should the run end in between, the way there is known still.
    for session in reversed(_sessions(run)):
        changed = [*_strike(session, fqn), *_without_dependence(session, fqn)]
        dropped = [name for name, (_, holder) in inside.items() if holder is session]
        if changed or dropped:
            await session.put_all(changed, drop=dropped)
    gone = {**remembered, **{name: record for name, (record, _) in inside.items() if not record.is_scope}}
    for record in gone.values():
        run.emit(ResourceLog(fqn=record.fqn, message=f"left behind: {', '.join(objects_of(record))}"))
        run.finished(record.fqn, record.kind, "forgotten", None, 0.0)
    return list(gone.values())


def _sessions(run: Run) -> list[Session]:
    return list({id(session): session for session in run.sessions.values()}.values())


def _strike(session: Session, fqn: str) -> list[Record]:
    """Give the unit's own record without what it says of the names, if it said anything."""
    own = session.get(session.unit)
    if own is None:
        return []
    struck = msgspec.structs.replace(own)
    names = {name for name in ledger.forgotten(own) if is_within(name, fqn)}
    changed = ledger.strike(struck, names)
    orphans = struck.output.get(ORPHANS)
    if is_array(orphans):
        stay = [name for name in orphans if not is_within(name, fqn)]
        changed = changed or stay != orphans
        struck.output = without_orphans(struck.output, stay)
    return [struck] if changed else []


def _without_dependence(session: Session, fqn: str) -> list[Record]:
    """Give the records that stay and depended on what goes, without that."""
    changed: list[Record] = []
    for name, record in session.records.items():
        if is_within(name, fqn) or name == session.unit:
            continue
        old = [_freed(one, fqn) for one in record.generations]
        now = msgspec.structs.replace(_freed(record, fqn), generations=old)
        if now != record:
            changed.append(now)
    return changed


def _freed(of: T, fqn: str) -> T:
    """Give a record, or an old generation, that depends on nothing at an FQN or below it, nor ever did."""
    earlier = [msgspec.structs.replace(place, deps=_others(place.deps, fqn)) for place in of.earlier]
    return msgspec.structs.replace(of, deps=_others(of.deps, fqn), earlier=earlier)


def _others(deps: list[str], fqn: str) -> list[str]:
    return [dep for dep in deps if not is_within(dep, fqn)]
