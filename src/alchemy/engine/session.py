"""One unit in one store, for the length of a run: the lease, what was loaded, and what was written since."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator, Sequence
from datetime import UTC, datetime
from typing import Any

from alchemy import state
from alchemy.engine.ledger import recall
from alchemy.history import backup_name, encode_backup
from alchemy.names import is_within
from alchemy.ports import Lease, LogEnd, StateStore
from alchemy.state import Record, Status

_LEAVING = (Status.DELETING, Status.DELETED)


class Session:
    """The records of a unit while it is held.

    Because it is leased, what was loaded is the truth until the end of the run: nothing is read again.

    Attributes:
        records: by FQN, as they are now.
        lease: `None` in a run that only reads.
        written: whether anything was.
        backup: the name of the backup, when one was made, which is before the first write: a record that is about to
            be written is changed as a copy, for the one in `records` goes into the backup.

    Args:
        operation: what is about to change the unit, for the backup; `None`: there is to be none.
    """

    def __init__(
        self,
        store: StateStore,
        unit: str,
        lease: Lease | None,
        records: dict[str, Record],
        *,
        operation: str | None = None,
    ) -> None:
        self.store = store
        self.unit = unit
        self.lease = lease
        self.records = records
        self.written = False
        self.backup = ""
        self._operation = operation
        self._asking = asyncio.Lock()
        self._backup: Awaitable[None] | None = None
        self._newest: Awaitable[None] | None = None
        self._leaving: list[str] = []
        self._left: Awaitable[None] | None = None
        self.unwritten: Record | None = None
        """The unit's own record, when it is new: it is written with whatever is written first."""
        self.unnamed: dict[str, dict[bytes, str]] = {}
        """FQNs by kind and by what tells apart objects without names, where that was asked for; see `claims`."""
        self._names: dict[tuple[str, str], str] | None = None

    def get(self, fqn: str) -> Record | None:
        """Give a record, or `None`."""
        own = self.unwritten
        return own if own is not None and own.fqn == fqn else self.records.get(fqn)

    def recall(self, fqn: str) -> Record | None:
        """Give the record of something that a reset has forgotten, to be verified; it is written by who uses it."""
        return recall(self.get(self.unit), fqn)

    def holder_of(self, kind: str, name: str) -> str | None:
        """Give the FQN of the record whose object, of whatever generation, has a physical name."""
        if self._names is None:
            self._names = {}
            for record in self.records.values():
                self._note_names(record, self._names)
        wanted = (kind, name)
        fqn = self._names.get(wanted)
        holder = self.records.get(fqn) if fqn is not None else None
        return fqn if holder is not None and wanted in _names_of(holder) else None

    def _note_names(self, record: Record, names: dict[tuple[str, str], str]) -> None:
        own = (record.kind, record.physical_name or "")
        # What was restored, or is to go, has no claim before others; nor has what was replaced.
        yields = record.verify or record.status in _LEAVING
        for name in _names_of(record):
            if (name == own and not yields) or name not in names:
                names[name] = record.fqn

    def _was_noted(self, record: Record) -> bool:
        """Whether a record that is to go has claimed the one name that it has before: it claims none anew."""
        before = self.records.get(record.fqn)
        return (
            record.status in _LEAVING
            and before is not None
            and before.kind == record.kind
            and before.physical_name == record.physical_name
            and not record.generations
        )

    def put(self, record: Record, *, drop: Sequence[str] = ()) -> Awaitable[None]:
        """Write a record, and drop others in the same commit; durable when awaited.

        The order of calls is the order of commits, so that one need not wait for a write before the next.
        """
        return self.put_all((record,), drop=drop)

    def put_all(self, records: Sequence[Record], *, drop: Sequence[str] = ()) -> Awaitable[None]:
        """Write several records in one commit."""
        lease = self._held()
        if self._leaving:
            drop = self._take_leaving(records, drop)
        if not self.written:
            self._back_up(lease)
        for fqn in drop:
            self.records.pop(fqn, None)
        return self._after_backup(self.store.set(lease, *self._take_in(records, lease), drop=drop))

    def clear(self, chain: str, *records: Record) -> Awaitable[None]:
        """Forget everything in a chain, and write records, in one commit; durable when awaited."""
        lease = self._held()
        self._drop_leaving()
        if not self.written:
            self._back_up(lease)
        for fqn in [fqn for fqn in self.records if is_within(fqn, chain)]:
            del self.records[fqn]
        return self._after_backup(self.store.clear_scope(lease, chain, *self._take_in(records, lease)))

    def _take_in(self, records: Sequence[Record], lease: Lease) -> Sequence[Record]:
        """Take records for what is there from now on; give all that is to be written along with them."""
        own, self.unwritten = self.unwritten, None
        if own is not None and all(record.fqn != own.fqn for record in records):
            records = (own, *records)
        now, names = state.now(), self._names
        for record in records:
            if names is not None and not self._was_noted(record):
                self._note_names(record, names)
            record.rev += 1
            record.fence = lease.token
            record.updated_at = now
            record.created_at = record.created_at or now
            self.records[record.fqn] = record
        return records

    async def rewrite(self, records: Sequence[Record]) -> None:
        """Write records that say the same in another form, in one commit; durable when it returns.

        Their times stay: nothing happened to what they stand for.
        """
        lease = self._held()
        await self.back_up()
        self._drop_leaving()
        self.records.update({record.fqn: record for record in records})
        await self.store.set(lease, *records)

    async def back_up(self) -> None:
        """Keep a copy of the unit as it is, unless that was done in this run; durable when it returns."""
        self.begin_backup()
        backup, self._backup = self._backup, None
        if backup is not None:
            await backup

    def begin_backup(self) -> None:
        """Begin with that before something is ready to be written: a large one takes the disk a while."""
        if not self.written:
            self._back_up(self._held())

    def drop(self, *fqns: str) -> Awaitable[None]:
        """Forget records; durable when awaited."""
        lease = self._held()
        if not self.written:
            self._back_up(lease)
        for fqn in fqns:
            self.records.pop(fqn, None)
        leaving, self._leaving = self._leaving, []
        return self._after_backup(self.store.delete(lease, *leaving, *fqns))

    def drop_soon(self, fqn: str) -> None:
        """Forget a record with whatever is written next, or else at the end of this turn of the loop.

        For records that go by the thousand, and whose loss nobody waits for; see `until_dropped`.
        """
        self.records.pop(fqn, None)
        if not self._leaving:
            asyncio.get_running_loop().call_soon(self._drop_leaving)
        self._leaving.append(fqn)

    async def until_dropped(self) -> None:
        """Wait until all is durable that was dropped soon. What went along with other records is not waited for:
        whoever wrote those does that.
        """
        self._drop_leaving()
        left, self._left = self._left, None
        if left is not None:
            await left

    def _drop_leaving(self) -> None:
        if self._leaving:
            try:
                self._left = self.drop()
            except Exception as error:  # a callback of the loop can raise it to nobody
                failed = self._left = asyncio.get_running_loop().create_future()
                failed.set_exception(error)

    def _take_leaving(self, records: Sequence[Record], drop: Sequence[str]) -> Sequence[str]:
        """Give what is to be dropped along with records."""
        if not {record.fqn for record in records}.isdisjoint(self._leaving):
            self._drop_leaving()  # and written again: in two commits, for in one a store may do it in any order
            return drop
        leaving, self._leaving = self._leaving, []
        return (*leaving, *drop)

    def _back_up(self, lease: Lease) -> None:
        """Begin to keep a copy of the unit as it is, if there is anything to keep. The store keeps the order."""
        self.written = True
        if self._operation is None or not self.records:
            return
        content = encode_backup(
            unit=self.unit, made_at=state.now(), operation=self._operation, records=self.records.values()
        )
        self.backup = backup_name(datetime.now(UTC))
        self._backup = self.store.save_backup(lease, self.backup, content)

    def _after_backup(self, write: Awaitable[None]) -> Awaitable[None]:
        """Let who waits for the first write hear of a backup that could not be made."""
        backup, self._backup = self._backup, None
        self._newest = write
        return write if backup is None else _Both(backup, write)

    async def settle(self) -> None:
        """Wait until all is durable that was written so far. Raises what came of the newest write."""
        newest = self._newest
        if newest is not None:
            await newest
            if self._newest is newest:
                self._newest = None

    def _held(self) -> Lease:
        if self.lease is None:
            raise RuntimeError(f"{self.unit} was opened for reading")
        return self.lease

    async def ensure_held(self) -> None:
        """Make sure that the unit is held still, without asking anybody if that is sure. Raises `LeaseLost`."""
        if self.store.check(self._held()):
            return
        async with self._asking:
            if not self.store.check(self._held()):
                self.lease = await self.store.renew(self._held())

    async def fold(self) -> None:
        """Fold what was written; nothing more is to be written then."""
        if self.lease is not None:
            self._drop_leaving()
            if self.written:
                await self.store.fold(self.lease)

    async def release(self, log: LogEnd | None = None) -> None:
        """Give the unit back, and its run's log its end."""
        if self.lease is not None:
            await self.store.release(self.lease, log=log)


class _Both:
    """Two writes that are made; whoever awaits them waits for one after the other. They need not be awaited."""

    def __init__(self, first: Awaitable[None], second: Awaitable[None]) -> None:
        self._first = first
        self._second = second

    def __await__(self) -> Generator[Any, None, None]:
        yield from self._first.__await__()
        yield from self._second.__await__()


def _names_of(record: Record) -> Sequence[tuple[str, str]]:
    own = ((record.kind, record.physical_name),) if record.physical_name else ()
    if not record.generations:
        return own
    return (*own, *((old.kind, old.physical_name) for old in record.generations if old.physical_name))
