"""Resetting: forget a scope's state, and keep in the ledger what may still exist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from alchemy.engine import ledger
from alchemy.engine.leaving import ORPHANS
from alchemy.engine.run import Run
from alchemy.engine.session import Session
from alchemy.events import ResourceLog
from alchemy.names import is_within
from alchemy.state import Generation, Record, is_array
from alchemy.upkeep.cleanup import without_orphans
from alchemy.upkeep.working import Upkeep, work_on


async def reset(unit: str, chain: str, **options: Any) -> list[Record]:
    """Forget everything in a chain; nothing is destroyed. What is forgotten goes into the unit's ledger, so that the
    next deploy knows its own objects again.

    Args:
        unit: that the chain lies in; what lies elsewhere in it stays as it is.
        options: as for `alchemy(...)`.

    Returns:
        The records of the resources that were forgotten: what is left behind.

    Raises:
        LockedError, StateError: nothing was forgotten.
    """
    left: list[Record] = []

    async def work(upkeep: Upkeep) -> None:
        left.extend(await _forget(upkeep, chain))

    await work_on(unit, work, **options)
    return left


async def _forget(upkeep: Upkeep, chain: str) -> list[Record]:
    run = upkeep.run
    inside = {fqn: pair for fqn, pair in run.all_records().items() if is_within(fqn, chain) and fqn != run.unit}
    forgotten = [record for record, _ in inside.values() if not record.is_scope]
    if not inside:
        return []
    dropped: dict[Session, list[str]] = {run.session: []}
    for fqn, (_, session) in inside.items():
        dropped.setdefault(session, []).append(fqn)
    # The ledger first: should the run end between two stores, a record beside its entry does no harm.
    await run.session.put(_own(upkeep, inside), drop=dropped.pop(run.session))
    for session, fqns in dropped.items():
        await session.drop(*fqns)
    for record in forgotten:
        _report(run, record)
    return forgotten


def _own(upkeep: Upkeep, inside: Mapping[str, object]) -> Record:
    """Give the unit's own record with the ledger that it is to have."""
    run = upkeep.run
    own = msgspec.structs.replace(run.scope_record(upkeep.scope))
    records = run.all_records()
    ledger.forget(own, (records[fqn][0] for fqn in inside))
    orphans = own.output.get(ORPHANS)
    if is_array(orphans):
        own.output = without_orphans(own.output, [fqn for fqn in orphans if fqn not in inside])
    return own


def _report(run: Run, record: Record) -> None:
    run.emit(ResourceLog(fqn=record.fqn, message=f"left behind: {', '.join(objects_of(record))}"))
    run.finished(record.fqn, record.kind, "forgotten", None, 0.0)


def objects_of(record: Record) -> list[str]:
    """Say which objects a record stands for: what each is called where it lives, its kind and where that is."""
    kept: list[Record | Generation] = [record, *record.generations]
    return [
        f"{of.kind} {name}" + (f" in {of.target}" if of.target else "")
        for of in kept
        if (name := of.physical_name or _known_as(of.attempted or of.props, of.output, record.id))
    ]


def _known_as(props: Mapping[str, Any], output: Mapping[str, Any], id: str) -> str:
    """Name an object that has no physical name: as its provider or the program calls it."""
    for values, keys in ((props, ("name", "path")), (output, ("id", "name"))):
        for key in keys:
            value = values.get(key)
            if isinstance(value, str) and value:
                return value
    return id
