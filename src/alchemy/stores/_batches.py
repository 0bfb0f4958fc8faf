"""Turning a group of changes into commits that a storage makes in one step. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from alchemy.stores._commits import Change, Cleared, Dropped, Saved, Written, unit_written
from alchemy.stores._rows import pack
from alchemy.stores.backend import Commit


@dataclass(slots=True)
class Batch:
    """Changes to one unit that become one commit.

    Attributes:
        unit: they lie in.
        size: bytes, about.
    """

    unit: str
    clear: str | None = None
    drops: dict[str, None] = field(default_factory=dict[str, None])
    puts: dict[str, bytes] = field(default_factory=dict[str, bytes])
    size: int = 0

    def __len__(self) -> int:
        return len(self.drops) + len(self.puts) + (self.clear is not None)

    def drop(self, fqn: str) -> None:
        """Take in that a record goes."""
        self.puts.pop(fqn, None)
        self.drops[fqn] = None
        self.size += len(fqn)

    def put(self, fqn: str, row: bytes) -> None:
        """Take in that a record is written."""
        self.drops.pop(fqn, None)
        self.puts[fqn] = row
        self.size += len(fqn) + len(row)

    def commit(self) -> Commit:
        """Give it as a commit."""
        return Commit(secrets.token_hex(8), self.clear, tuple(self.drops), self.puts)


def batches(changes: Sequence[Change], chain: str, *, max_changes: int, max_bytes: int) -> Iterator[Batch | Saved]:
    """Put changes together into as few commits as there can be, keeping their order; backups stand between them.

    A change is never divided, however large: that is what makes it happen as a whole.

    Args:
        chain: what is held; a change belongs to a unit within it, or around it.
    """
    batch: Batch | None = None
    for change in changes:
        if isinstance(change, Saved):
            if batch is not None:
                yield batch
            batch = None
            yield change
            continue
        unit, (count, size) = unit_written(chain, change), _measure(change)
        full = batch is not None and (len(batch) + count > max_changes or batch.size + size > max_bytes)
        if batch is None or batch.unit != unit or full or isinstance(change, Cleared):
            if batch is not None:
                yield batch
            batch = Batch(unit)
        _take_in(change, batch)
    if batch is not None:
        yield batch


def _measure(change: Written | Dropped | Cleared) -> tuple[int, int]:
    match change:
        case Written(records, dropped):
            return len(records) + len(dropped), sum(len(raw) for _, raw, _ in records)
        case Dropped(fqns):
            return len(fqns), 0
        case Cleared(_, records):
            return 1 + len(records), sum(len(raw) for _, raw, _ in records)


def _take_in(change: Written | Dropped | Cleared, batch: Batch) -> None:
    match change:
        case Written(records, dropped):
            for fqn in dropped:
                batch.drop(fqn)
            for fqn, raw, _ in records:
                batch.put(fqn, pack(raw))
        case Dropped(fqns):
            for fqn in fqns:
                batch.drop(fqn)
        case Cleared(chain, records):
            batch.clear = chain
            for fqn, raw, _ in records:
                batch.put(fqn, pack(raw))
