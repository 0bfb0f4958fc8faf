"""Resetting: forget a scope's state, and keep in the ledger what may still exist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alchemy.engine.clearing import own_without
from alchemy.engine.run import Run
from alchemy.events import ResourceLog
from alchemy.names import is_within
from alchemy.state import Generation, Record
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
    records = run.all_records()
    inside = {fqn: record for fqn, (record, _) in records.items() if is_within(fqn, chain) and fqn != run.unit}
    if not inside:
        return []
    # The ledger first: should the run end between two stores, a record beside its entry does no harm.
    await run.session.clear(chain, own_without(run, upkeep.scope, inside))
    for nested, session in run.sessions.items():
        part = next((one for one, other in ((nested, chain), (chain, nested)) if is_within(one, other)), None)
        if session is not run.session and part is not None and any(is_within(fqn, part) for fqn in session.records):
            await session.clear(part)
    forgotten = [record for record in inside.values() if not record.is_scope]
    for record in forgotten:
        _report(run, record)
    return forgotten


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
