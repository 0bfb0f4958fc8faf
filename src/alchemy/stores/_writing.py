"""The writing operations of a store, the same for all: each becomes one change, handed on in the order of the calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Sequence

from alchemy.errors import StateError
from alchemy.ports import Lease
from alchemy.state import Record, encode
from alchemy.stores._commits import Ack, Change, Cleared, Dropped, Saved, Written
from alchemy.stores._layout import check_backup_name, check_commit


class Writing(ABC):
    """What writes, for a store that says in `_add` what becomes of a change."""

    def set(self, lease: Lease, *records: Record, drop: Sequence[str] = ()) -> Awaitable[None]:
        """Write records, and drop others, in one commit."""
        check_commit(lease.unit, *(record.fqn for record in records), *drop)
        return self._add(lease, Written(_encoded(records), tuple(drop)))

    def delete(self, lease: Lease, *fqns: str) -> Awaitable[None]:
        """Drop records in one commit."""
        check_commit(lease.unit, *fqns)
        return self._add(lease, Dropped(fqns))

    def clear_scope(self, lease: Lease, chain: str, *records: Record) -> Awaitable[None]:
        """Drop a scope's records and all below it, and write others, in one commit."""
        check_commit(lease.unit, chain, *(record.fqn for record in records))
        return self._add(lease, Cleared(chain, _encoded(records)))

    def save_backup(self, lease: Lease, name: str, content: bytes) -> Awaitable[None]:
        """Keep a copy of a unit; in the order of the writes."""
        return self._add(lease, Saved(check_backup_name(name), content))

    @abstractmethod
    def _add(self, lease: Lease, change: Change) -> Ack:
        """Take a change to be made under a lease; the order of calls is the order of commits."""


def _encoded(records: Sequence[Record]) -> list[tuple[str, bytes, bool]]:
    written: list[tuple[str, bytes, bool]] = []
    for record in records:
        try:
            written.append((record.fqn, encode(record), record.is_scope))
        except TypeError as error:
            raise StateError(f"{record.fqn} holds something that JSON cannot: {error}") from error
    return written
