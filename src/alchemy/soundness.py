"""What must be true of a unit's records, whatever store they are in. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from alchemy.epochs import node_of
from alchemy.errors import StateDamaged, StateError
from alchemy.history import decode_backup, is_sealed_backup
from alchemy.names import is_within, leaf, parent
from alchemy.order import Teardown
from alchemy.ports import Problem
from alchemy.state import Generation, Record, is_object

_RESTORE = "restore the scope from a backup (`alchemy scope restore`)"
_LOST = f"deploy again, which writes what it depends on now; or {_RESTORE}"
_SHOWN = 5


def check_records(
    records: Mapping[str, Record], unit: str, *, place: Callable[[str], str], unreadable: Collection[str] = ()
) -> Iterator[Problem]:
    """Check a unit's records: whether they belong there, what they refer to, and their order.

    Args:
        records: by FQN.
        place: gives the file, or the store's key, of a record.
        unreadable: the FQNs of records that are there and cannot be read.
    """
    known = _Known(records, unit, unreadable)
    for fqn, record in records.items():
        for what, remedy in _wrong_with(record, unit, known):
            yield Problem(where=place(fqn), what=what, remedy=remedy, fqn=fqn)
    held = _holding_each_other(records)
    if held:
        yield Problem(
            where=place(held[0]),
            what=f"each of {_listed(held)} would have to be destroyed before the others",
            remedy=_RESTORE,
            fqn=held[0],
        )


def check_backups(backups: Mapping[str, bytes], unit: str) -> Iterator[Problem]:
    """Check that a unit's backups can be read, and are of that unit.

    Args:
        backups: by file, or by the store's key.
    """
    for where, raw in backups.items():
        try:
            backup = decode_backup(raw, where=where)
        except StateError as error:
            if isinstance(error, StateDamaged) or not is_sealed_backup(raw):  # what is encrypted is not looked into
                yield Problem(where=where, what=error.message, remedy="remove it: it cannot be restored from")
        else:
            if backup.unit != unit:
                yield Problem(where=where, what=f"it is a backup of {backup.unit}", remedy="move it to where it was")


class _Known:
    """Which FQNs a record may refer to."""

    def __init__(self, records: Mapping[str, Record], unit: str, unreadable: Collection[str]) -> None:
        self._records = records
        self._unreadable = unreadable
        own = records.get(unit)
        ledger = own.output.get("ledger") if own is not None else None
        self._forgotten: Collection[str] = ledger if is_object(ledger) else ()
        # What a nested scope keeps in a store of its own is not here; nor, there, is what lies outside of it.
        self._elsewhere = [fqn for fqn, record in records.items() if record.is_scope and "state_store" in record.props]
        self._whole = own is not None and not own.is_sealed  # or what a reset has forgotten cannot be seen

    def is_lost(self, fqn: str) -> bool:
        """Say whether a name should be here and is not."""
        if fqn in self._records or fqn in self._forgotten or fqn in self._unreadable:
            return False
        if any(is_within(fqn, chain) for chain in self._elsewhere):
            return False
        return self._whole or parent(fqn) in self._records


def _wrong_with(record: Record, unit: str, known: _Known) -> Iterator[tuple[str, str]]:
    if not is_within(record.fqn, unit):
        yield f"the record of {record.fqn} does not belong in {unit}", _RESTORE
    elif record.id != leaf(record.fqn):
        yield f"the record of {record.fqn} says that its id is {record.id!r}", _RESTORE
    kept: list[Record | Generation] = [record, *record.generations]
    for of in kept:
        which = "" if of is record else f" (generation {of.generation})"
        if of.seq < 0 or (of.seen is not None and of.seen <= of.seq):
            yield f"its order cannot be: declared at {of.seq}, seen at {of.seen}{which}", _RESTORE
        lost = [dep for dep in of.deps if known.is_lost(dep)]
        if lost:
            yield f"it depends on {_listed(lost)}, which is not in state{which}", _LOST


def _holding_each_other(records: Mapping[str, Record]) -> list[str]:
    """Destroy them in thought; what is left holds each other."""
    order = Teardown(node_of(fqn, record) for fqn, record in records.items())
    while ready := order.ready():
        for fqn in ready:
            order.gone(fqn)
    return order.remaining


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
