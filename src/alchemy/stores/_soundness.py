"""What is wrong with the rows of a unit, and keeping them aside. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

import msgspec

from alchemy.errors import StateDamaged
from alchemy.history import backup_name
from alchemy.ports import Problem
from alchemy.soundness import check_backups, check_records
from alchemy.state import Record
from alchemy.stores._rows import unpack


def read_row(fqn: str, row: bytes, *, where: str) -> Record:
    """Read the row that is kept under a name.

    Raises:
        StateDamaged: it cannot be read, or is another's record: that would be written back under the wrong name.
        StateTooNew: a newer version of this package wrote it.
    """
    record = unpack(row, where=where)
    if record.fqn != fqn:
        raise StateDamaged(
            f"{where} holds the record of {record.fqn}",
            path=where,
            hint="restore it from a backup: alchemy scope restore",
        )
    return record


def readable(
    rows: Mapping[str, bytes], place: Callable[[str], str]
) -> tuple[dict[str, Record], dict[str, StateDamaged]]:
    """Give the records that can be read, and why the others cannot, by FQN. Raises `StateTooNew`."""
    records: dict[str, Record] = {}
    damaged: dict[str, StateDamaged] = {}
    for fqn, row in rows.items():
        try:
            records[fqn] = read_row(fqn, row, where=place(fqn))
        except StateDamaged as error:
            damaged[fqn] = error
    return records, damaged


def find_problems(
    unit: str, rows: Mapping[str, bytes], backups: Mapping[str, bytes], place: Callable[[str], str]
) -> Iterator[Problem]:
    """Find what is wrong with a unit's rows and backups."""
    records, damaged = readable(rows, place)
    for fqn, error in damaged.items():
        yield Problem(where=place(fqn), what=error.message, remedy=error.hint or "restore it from a backup", fqn=fqn)
    yield from check_records(records, unit, place=place, unreadable=damaged)
    yield from check_backups({f"{place(unit)}, backup {name}": raw for name, raw in backups.items()}, unit)


def aside_of(rows: Mapping[str, bytes]) -> tuple[str, bytes]:
    """Give a name and a content for all rows of a unit as they are, to be looked into by a person."""
    content = {fqn: row.decode(errors="backslashreplace") for fqn, row in rows.items()}
    return backup_name(datetime.now(UTC)).replace("state-", "damaged-"), msgspec.json.encode(content)


def unsure(record: Record) -> Record:
    """Let a resource be read back from its provider before it is believed: it may be older than what was lost."""
    if record.is_scope:
        return record
    old = [msgspec.structs.replace(generation, verify=True) for generation in record.generations]
    return msgspec.structs.replace(record, verify=True, generations=old)
