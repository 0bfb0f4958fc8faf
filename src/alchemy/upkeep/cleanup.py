"""Cleaning up: destroy what earlier runs left behind, without running the program."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from alchemy.engine.deleting import doom
from alchemy.engine.leaving import ORPHANS, without_orphans
from alchemy.engine.teardown import Destroyer
from alchemy.finalizing import Finalize
from alchemy.names import is_within, parent, unit_of
from alchemy.state import Record, Status, is_array
from alchemy.upkeep.working import Upkeep, work_on


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing that is to go.

    Attributes:
        why: it was left: a few words.
        whole: the resource itself, or only the objects that it has replaced.
    """

    fqn: str
    kind: str
    why: str
    whole: bool


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What is to go, by FQN, and what would if nothing needed it: why it stays, by FQN."""

    doomed: Mapping[str, Leftover]
    kept: Mapping[str, str]


def leftovers_in(records: Mapping[str, Record], chain: str) -> Leftovers:
    """Tell from a unit's records what earlier runs left behind at a chain and below it.

    That is: what could not be destroyed, what was never made to its end, objects that were replaced, and what had left
    the program when a run ended too early to destroy it. What the program still has, and may be in use, stays.
    """
    doomed = _whole(records)
    kept: dict[str, str] = {}
    while held := _held(doomed, records):
        for fqn, why in held.items():
            del doomed[fqn]
            kept[fqn] = why
    needed_by = _dependents(records)
    for fqn, record in records.items():
        if fqn in doomed or not record.generations or not record.is_stable:
            continue
        waits = _not_moved_on(record, needed_by.get(fqn, []))
        if waits:
            kept[fqn] = f"what it replaced may still be in use by {waits}"
        else:
            doomed[fqn] = Leftover(fqn, record.generations[0].kind, "was replaced", whole=False)
    return Leftovers(
        {fqn: item for fqn, item in sorted(doomed.items()) if is_within(fqn, chain)},
        {fqn: why for fqn, why in sorted(kept.items()) if is_within(fqn, chain)},
    )


def _whole(records: Mapping[str, Record]) -> dict[str, Leftover]:
    """Give the resources and scopes that are to go, with everything in them."""
    gone = {fqn for fqn in _orphans(records) if fqn in records}
    found: dict[str, Leftover] = {}
    for fqn, record in records.items():
        why = ""
        if record.status in (Status.DELETING, Status.DELETED):
            why = "could not be destroyed"
        elif lies_in(fqn, gone):
            why = "is not in the program any more"
        elif record.status is Status.CREATING and not record.is_scope and not record.generations:
            why = "was never made to its end"
        if why:
            found[fqn] = Leftover(fqn, record.kind, why, whole=True)
    going = {item.fqn for item in found.values() if item.why != "was never made to its end"}
    for fqn, record in records.items():
        if fqn not in found and lies_in(fqn, going):
            found[fqn] = Leftover(fqn, record.kind, "belongs to something that could not be destroyed", whole=True)
    return found


def _orphans(records: Mapping[str, Record]) -> set[str]:
    found: set[str] = set()
    for fqn, record in records.items():
        listed = record.output.get(ORPHANS) if fqn == unit_of(fqn) else None
        if is_array(listed):
            found |= {name for name in listed if isinstance(name, str)}
    return found


def _held(doomed: Mapping[str, Leftover], records: Mapping[str, Record]) -> dict[str, str]:
    """Name what must stay because of something that stays: what was made from it, or lies in it."""
    held: dict[str, str] = {}
    below: dict[str, list[str]] = {}
    for name in doomed:
        for above in lineage_of(name):
            below.setdefault(above, []).append(name)
    for fqn, record in records.items():
        if fqn in doomed:
            continue
        for dep in record.needs:
            held |= dict.fromkeys(below.get(dep, ()), f"{fqn} depends on it")
        held |= {name: f"{fqn} belongs to it" for name in lineage_of(fqn) if name in doomed}
    return held


def lineage_of(fqn: str) -> Iterator[str]:
    """Give an FQN and everything that it lies in."""
    while fqn:
        yield fqn
        fqn = parent(fqn)


def lies_in(fqn: str, names: Container[str]) -> bool:
    """Say whether an FQN is one of these names, or lies in one."""
    return any(name in names for name in lineage_of(fqn))


def _dependents(records: Mapping[str, Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records.values():
        for dep in record.needs:
            found.setdefault(dep, []).append(record)
    return found


def _not_moved_on(record: Record, dependents: Iterable[Record]) -> str | None:
    """Name something made from a resource that was written for the last time before the resource was replaced."""
    for other in dependents:
        if not other.is_stable or other.updated_at < record.updated_at:
            return other.fqn
    return None


async def clean_up(unit: str, chain: str, *, only: Collection[str] | None = None, **options: Any) -> None:
    """Destroy what earlier runs left behind in a chain, dependents first, from state alone.

    Args:
        unit: that the chain lies in.
        only: of these; what was left behind since somebody was asked about them stays.
        options: as for `alchemy(...)`.

    Raises:
        ExceptionGroup: what could not be destroyed; it is still in state.
        LockedError, StateError, TargetMismatch: nothing was destroyed.
    """

    async def work(upkeep: Upkeep) -> None:
        run = upkeep.run
        found = run.all_records()
        left = leftovers_in({fqn: record for fqn, (record, _) in found.items()}, chain)
        for fqn, why in left.kept.items():
            run.warn(f"{fqn} stays: {why}")
        wanted = [item for fqn, item in left.doomed.items() if only is None or fqn in only]
        whole = [found[item.fqn] for item in wanted if item.whole]
        replaced = [found[item.fqn] for item in wanted if not item.whole]
        destroyer = Destroyer(run, upkeep.scope.nursery, Finalize(run.settings))
        try:
            await destroyer.destroy([*doom(whole, whole=True), *doom(replaced, whole=False)])
        finally:
            await _strike_orphans(upkeep)

    await work_on(unit, work, **options)


async def _strike_orphans(upkeep: Upkeep) -> None:
    """Take out of the list of orphans what is gone."""
    session = upkeep.run.session
    own = session.get(session.unit)
    listed = own.output.get(ORPHANS) if own is not None else None
    if own is None or not is_array(listed):
        return
    records = upkeep.run.all_records()
    left = [fqn for fqn in listed if fqn in records]
    if left != listed:
        await session.put(msgspec.structs.replace(own, output=without_orphans(own.output, left)))
