"""The ledger: what a reset has forgotten, and what may exist all the same.

It is kept in the unit's own record, under `output["ledger"]`, as whole records by FQN. An entry counts as an intent:
when the program declares a resource of that name, which has no record, the entry becomes its record again, to be
verified with the provider (`Record.verify`), so that its object is found and not taken for a stranger's. An entry
that nobody declares stays as it is: it is never destroyed as an orphan.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

import msgspec

from alchemy.state import Json, JsonObject, Record, from_json, is_object, to_json

LEDGER = "ledger"


def forgotten(own: Record | None) -> Mapping[str, Record]:
    """Give what the unit whose own record this is has forgotten, by FQN.

    Raises:
        StateDamaged, StateTooNew: an entry cannot be used; names it.
    """
    if own is None:
        return {}
    return {fqn: _entry(own, fqn, data) for fqn, data in _entries(own).items()}


def forget(own: Record, records: Iterable[Record]) -> None:
    """Put resources' records into the ledger; an entry of the same name is replaced. Nothing is written.

    What the record says of the objects of earlier generations is kept with it. Scopes' records are left out: there
    is no object that could be lost.
    """
    added: JsonObject = {record.fqn: _plain(record) for record in records if not record.is_scope}
    if added:
        own.output = {**own.output, LEDGER: {**_entries(own), **added}}


def names_in(own: Record | None) -> Iterable[str]:
    """Give the FQNs of what was forgotten, without looking at what is known of it."""
    return _entries(own).keys() if own is not None else ()


def take_back(own: Record, fqn: str) -> Record | None:
    """Take an entry out of the ledger; gives its record, to be verified. Nothing is written."""
    entries = _entries(own)
    if fqn not in entries:
        return None
    record = _entry(own, fqn, entries[fqn])
    strike(own, {fqn})
    return record


def recall(own: Record | None, fqn: str) -> Record | None:
    """Give an entry's record, to be verified, and leave the entry: it does not count once there is a record again."""
    data = _entries(own).get(fqn) if own is not None else None
    return _displaced(_entry(own, fqn, data)) if own is not None and data is not None else None


def strike(own: Record, fqns: Container[str]) -> bool:
    """Take entries out of the ledger, those that are there; say whether any was. Nothing is written."""
    entries = _entries(own)
    left = {name: data for name, data in entries.items() if name not in fqns}
    if len(left) == len(entries):
        return False
    own.output = {name: data for name, data in own.output.items() if name != LEDGER}
    if left:
        own.output[LEDGER] = left
    return True


def _entries(own: Record) -> JsonObject:
    entries: Json = own.output.get(LEDGER)
    return entries if is_object(entries) else {}


def _entry(own: Record, fqn: str, data: Json) -> Record:
    record = from_json(data if is_object(data) else {}, where=f"{own.fqn}: {fqn} in the ledger")
    record.verify = True
    for old in record.generations:
        old.verify = True
    return record


def _displaced(record: Record) -> Record:
    """Take its place away: the ticks of a program that was forgotten say nothing beside today's."""
    record.seq, record.seen, record.confirmed, record.earlier = 0, None, 0, []
    return record


def _plain(record: Record) -> Json:
    return msgspec.to_builtins(to_json(record))
