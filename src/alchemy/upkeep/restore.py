"""Restoring a backup: what is missing comes back, and no current record goes.

Where a record differs, the current one stays, or the backup's takes its place if that is asked for. But only for the
same object: another one that the current record names would have no record any more.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from alchemy.engine.ledger import LEDGER, forgotten
from alchemy.engine.session import Session
from alchemy.errors import StateError
from alchemy.events import ResourceLog
from alchemy.history import Backup, decode_backup
from alchemy.names import is_within
from alchemy.state import JsonObject, Record, is_object
from alchemy.upkeep.working import Upkeep, work_on

_BOOKKEEPING = frozenset({"rev", "fence", "updated_at", "verify", "version", "seq", "seen"})
_PLACE = ("seq", "seen", "deps", "confirmed", "earlier")
"""What a record says of the order: the current one knows better when its object was made, and from what."""


@dataclass(frozen=True, slots=True)
class Merge:
    """What restoring does.

    Attributes:
        restored: the records that come back, to be verified with their providers.
        overwritten: the records that take the place of current ones, to be verified likewise.
        differing: what is another in the current record, which stays if it is not overwritten, by FQN.
        others: which of them stay because they name another object than the backup's.
        same: how many records are as the backup has them.
        newer: what is in state and not in the backup; it stays.
    """

    restored: Sequence[Record] = ()
    overwritten: Sequence[Record] = ()
    differing: Mapping[str, Sequence[str]] = field(default_factory=dict[str, "Sequence[str]"])
    others: Sequence[str] = ()
    same: int = 0
    newer: Sequence[str] = ()

    def taken(self) -> Sequence[Record]:
        """Give the backup's records that are to be written."""
        return [*self.restored, *self.overwritten]


def merge(
    current: Mapping[str, Record], backup: Mapping[str, Record], *, unit: str, chain: str, overwrite: bool = False
) -> Merge:
    """Compare the records in a chain with those of a backup; the unit's own is left out. Changes nothing.

    Args:
        overwrite: whether what differs is to be as the backup has it.
    """
    restored: list[Record] = []
    overwritten: list[Record] = []
    others: list[str] = []
    differing: dict[str, list[str]] = {}
    same = 0
    for fqn, old in sorted(backup.items()):
        if fqn == unit or not is_within(fqn, chain):
            continue
        if fqn not in current:
            restored.append(_to_be_verified(old))
        elif different := differences(current[fqn], old):
            differing[fqn] = different
            if overwrite and not _is_same_object(current[fqn], old):
                others.append(fqn)
            elif overwrite and differences(current[fqn], taken := _in_place_of(current[fqn], old)):
                overwritten.append(taken)
        else:
            same += 1
    newer = [fqn for fqn in sorted(current) if fqn not in backup and fqn != unit and is_within(fqn, chain)]
    return Merge(restored, overwritten, differing, others, same, newer)


def differences(current: Record, old: Record) -> list[str]:
    """Name what is another in two records of one resource, inputs and outputs one by one; bookkeeping aside."""
    found: list[str] = []
    for name in Record.__struct_fields__:
        mine, theirs = getattr(current, name), getattr(old, name)
        if name in _BOOKKEEPING or mine == theirs:
            continue
        if name in ("props", "output", "data") and is_object(mine) and is_object(theirs):
            keys = sorted({*mine, *theirs})
            found += [f"{name}.{key}" for key in keys if mine.get(key, ...) != theirs.get(key, ...)]
        else:
            found.append(name)
    return found


def _to_be_verified(record: Record) -> Record:
    if record.is_scope:
        return msgspec.structs.replace(record)
    old = [msgspec.structs.replace(generation, verify=True) for generation in record.generations]
    return msgspec.structs.replace(record, verify=True, generations=old)


def _is_same_object(current: Record, old: Record) -> bool:
    """Say whether a backup's record knows every object that the current one knows.

    A resource that was destroyed and made again since has another object, also where that has the same name.
    """
    named = [(of.kind, of.target, of.generation, of.physical_name, of.created_at) for of in (current, old)]
    replaced = [{(g.generation, g.physical_name) for g in of.generations} for of in (current, old)]
    return named[0] == named[1] and replaced[0] <= replaced[1]


def _in_place_of(current: Record, old: Record) -> Record:
    """Give a backup's record as it takes the current one's place. A scope keeps its store: only its data are taken."""
    if current.is_scope:
        return msgspec.structs.replace(current, data=old.data)
    place = {name: getattr(current, name) for name in _PLACE}
    return msgspec.structs.replace(_to_be_verified(old), rev=current.rev, **place)


async def restore(unit: str, chain: str, name: str, *, overwrite: bool = False, **options: Any) -> Merge:
    """Bring back what a backup has and state has not. What there is now is backed up first.

    State that is damaged is put aside, as far as it cannot be read; then all that the backup has comes back, also what
    lies in the same store beside the chain.

    Args:
        unit: that the chain lies in.
        chain: what is restored; a nested scope with a store of its own has its backups there.
        name: the backup's.
        overwrite: take the backup's version also of what is there, where it differs and tells of the same object.
        options: as for `alchemy(...)`.

    Raises:
        StateError: there is no such backup, or it cannot be read; nothing was changed.
        LockedError: somebody else holds the unit; nothing was changed.
    """
    done = Merge()

    async def work(upkeep: Upkeep) -> None:
        nonlocal done
        session = upkeep.run.session_for(chain)
        done = await _restore(upkeep, session, chain, name, overwrite=overwrite)

    await work_on(unit, work, restores=chain, **options)
    return done


async def _restore(upkeep: Upkeep, session: Session, chain: str, name: str, *, overwrite: bool) -> Merge:
    run = upkeep.run
    backup = decode_backup(await session.store.read_backup(session.unit, name), where=name)
    if backup.unit != session.unit:
        raise StateError(f"{name} is a backup of {backup.unit}, not of {session.unit}", hint="choose another backup")
    if upkeep.put_aside:
        chain = session.unit  # others' records in that store may be among those that could not be read
    began = time.monotonic()
    # What a reset forgot is younger than the backup: an older record in its place would lose the object it names.
    there = session.records.keys()
    ledger = forgotten(session.get(session.unit))
    left = {fqn: entry for fqn, entry in ledger.items() if fqn in backup.records and fqn not in there}
    found = {**backup.records, **left}
    result = merge(session.records, found, unit=session.unit, chain=chain, overwrite=overwrite)
    taken = result.taken()
    if taken:
        own = _own(session, backup)
        await session.put_all([*([own] if own is not None else []), *taken])
    for record in taken:
        if not record.is_scope:
            run.finished(record.fqn, record.kind, "restored", None, began)
    overwritten = {record.fqn for record in result.overwritten}
    for fqn, different in result.differing.items():
        how = "is as it was there now" if fqn in overwritten else "stays"
        run.emit(ResourceLog(fqn=fqn, message=f"differs from {name}, and {how}: {', '.join(different)}"))
    return result


def _own(session: Session, backup: Backup) -> Record | None:
    """Give the unit's own record as it is to be: the current one, and what only the backup's knows of passwords' salts
    and of what a reset had forgotten.
    """
    current, old = session.get(session.unit), backup.records.get(session.unit)
    if old is None:
        return None if current is None else msgspec.structs.replace(current)
    if current is None:
        return msgspec.structs.replace(old)
    output: JsonObject = dict(current.output)
    for key in ("salts", "keys", LEDGER):
        before, now = old.output.get(key), output.get(key, {})
        if is_object(before) and is_object(now):
            output[key] = {**before, **now}
    return msgspec.structs.replace(current, output=output)
