"""A store in memory, for tests: the same promises as the others, except that it is gone with its `Memory`."""

from __future__ import annotations

import asyncio
import builtins
import time
from collections.abc import Mapping, Sequence

import msgspec

from alchemy.errors import LeaseLost, StateError
from alchemy.names import is_within, unit_of
from alchemy.owner import owner_of
from alchemy.ports import Lease, LogEnd, Owner, Problem, Snapshot
from alchemy.soundness import check_backups, check_records
from alchemy.state import Application, Record, now
from alchemy.stores._commits import Ack, Change, Group, unit_written
from alchemy.stores._layout import (
    check_backup_name,
    check_chain,
    check_log_end,
    check_log_name,
    check_unit,
)
from alchemy.stores._memory_place import Memory, MemoryLock
from alchemy.stores._refusals import locked_error, no_such
from alchemy.stores._renewal import Renewal
from alchemy.stores._views import all_in, count_in, resources_in, scopes_in
from alchemy.stores._writing import Writing

__all__ = ["Memory", "MemoryStore"]

_PAUSE = 0.01


class MemoryStore(Writing):
    """State in memory.

    Args:
        memory: shared with other stores; a new one by default.
    """

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()
        self._failed: Group | None = None
        self._lost: dict[str, str] = {}
        self._renewals: dict[str, tuple[Lease, Renewal]] = {}

    @property
    def url(self) -> str:
        """Where it is: no two memories share a URL."""
        return f"memory:{self.memory.name}"

    async def init(self) -> None:
        """There is nothing to make ready."""

    async def deinit(self) -> None:
        """There is nothing to let go of."""

    def abandon(self, *, kept: bool) -> None:
        """Let go as the end of the process would, for tests of what a crash leaves: its leases are free at once, as
        they are on one host, and writes were made at the call, so there is nothing to be `kept`.
        """
        with self.memory.mutex:
            for lease, _ in list(self._renewals.values()):
                lock = self.memory.locks[lease.unit]
                if lock.token == lease.token:
                    lock.lease = None
                self._forget(lease.unit)

    async def application(self, app: str) -> Application | None:
        """Read an application's record."""
        return self.memory.applications.get(app)

    async def create_application(self, application: Application) -> Application:
        """Write an application's record once; give the one that stands."""
        with self.memory.mutex:
            return self.memory.applications.setdefault(application.app, application)

    async def acquire(self, chain: str, *, owner: Owner, timeout: float, ttl: float = 60.0) -> Lease:
        """Take a chain; one whose holder has not renewed it for a ttl is free."""
        check_chain(chain)
        end = time.monotonic() + timeout
        while True:
            taken = self.memory.take(chain, owner, ttl)
            if isinstance(taken, Lease):
                break
            left = end - time.monotonic()
            if left <= 0:
                assert taken.lease is not None
                raise locked_error(chain, taken.lease, shared=False)
            await asyncio.sleep(min(_PAUSE, left))
        self._forget(chain)
        renewal = Renewal(
            asyncio.get_running_loop(),
            ttl=ttl,
            renew=lambda: self._renew(taken),
            give_up=lambda why: self._give_up(taken, why),
            name=chain,
        )
        self._renewals[chain] = (taken, renewal)
        return taken

    def check(self, lease: Lease) -> bool:
        """Say whether a chain is surely held still."""
        with self.memory.mutex:
            return self.memory.is_held(self._held(lease))

    async def renew(self, lease: Lease) -> Lease:
        """Move the deadline by the lease's ttl from now; a thread does it by itself every quarter of the ttl."""
        return self._renew(lease)

    async def release(self, lease: Lease, *, log: LogEnd | None = None) -> None:
        """Give the chain back; raise what went wrong with a write that nobody awaited."""
        with self.memory.mutex:
            if log is not None:
                self._end_log(lease.unit, check_log_end(lease.unit, log))
            lock = self.memory.locks.get(lease.unit)
            if lock is not None and lock.lease is not None and lock.token == lease.token:
                lock.lease, lock.lost = None, f": {lease.owner} had it since {lease.since}"
        known = self._renewals.get(lease.unit)
        if known is not None and known[0].token == lease.token:
            self._forget(lease.unit)
        self._tell()

    async def locks(self) -> Sequence[Lease]:
        """List the leases that are held now."""
        with self.memory.mutex:
            held = [lock.lease for lock in self.memory.locks.values() if lock.lease and self.memory.is_held(lock)]
        return sorted(held, key=lambda lease: lease.unit)

    async def break_(self, chain: str) -> None:
        """Take a chain from its holder."""
        with self.memory.mutex:
            lock = self.memory.locks.get(check_chain(chain))
            if lock is not None and lock.lease is not None:
                self.memory.take_away(lock, f": its lock was broken by {owner_of('unlock')}, at {now()}")

    async def load(self, unit: str, *, lease: Lease | None = None) -> Snapshot:
        """Read a unit."""
        check_unit(unit)
        if lease is not None:
            with self.memory.mutex:
                self._held(lease)
        return Snapshot(records=self.memory.records(unit))

    async def salvage(self, lease: Lease) -> str | None:
        """Put aside what is damaged: nothing is, in memory."""
        with self.memory.mutex:
            self._held(lease)
        return None

    async def list(self, chain: str) -> Sequence[str]:
        """List the ids of the resources directly in a scope."""
        return resources_in(self.memory.records(chain), chain)

    async def list_scopes(self, chain: str) -> Sequence[str]:
        """List the chains directly below `chain`."""
        records = self.memory.records(chain)
        if not chain:
            return sorted({*self.memory.applications, *(fqn.partition("/")[0] for fqn in records)})
        units = sorted({unit_of(fqn) for fqn in records})
        return scopes_in(records, chain) if unit_of(chain) in units else units

    async def count(self, chain: str) -> int:
        """Count the resources in a scope and below it."""
        records = self.memory.records(chain)
        return count_in(records, chain) if chain else sum(not record.is_scope for record in records.values())

    async def get(self, fqn: str) -> Record | None:
        """Read one record."""
        return self.memory.records(fqn).get(fqn)

    async def get_batch(self, fqns: Sequence[str]) -> Mapping[str, Record]:
        """Read several records."""
        records = self.memory.records("")
        return {fqn: records[fqn] for fqn in fqns if fqn in records}

    async def all(self, chain: str) -> Mapping[str, Record]:
        """Read every record of a scope and below it."""
        return self.memory.records(chain) if not chain else all_in(self.memory.records(chain), chain)

    async def fold(self, lease: Lease) -> None:
        """There is no log to fold; tells what went wrong with a write that nobody awaited."""
        self._tell()
        with self.memory.mutex:
            self._held(lease)

    async def backups(self, unit: str) -> Sequence[str]:
        """List the names of a unit's backups, oldest first."""
        return sorted(self.memory.unit(unit).backups)

    async def read_backup(self, unit: str, name: str) -> bytes:
        """Read a backup whole."""
        check_backup_name(name)
        return _one_of(self.memory.unit(unit).backups, name, f"{unit} has no backup")

    async def drop_backups(self, unit: str, *names: str) -> None:
        """Remove backups."""
        for name in names:
            self.memory.unit(unit).backups.pop(check_backup_name(name), None)

    async def append_log(self, unit: str, name: str, lines: bytes) -> None:
        """Add lines to a run's log."""
        check_log_name(name)
        with self.memory.mutex:
            logs = self.memory.unit(unit).logs
            logs[name] = logs.get(name, b"") + lines

    def _end_log(self, unit: str, log: LogEnd) -> None:
        logs = self.memory.unit(unit).logs
        if log.lines:
            logs[log.name] = logs.get(log.name, b"") + log.lines
        for name in log.drop:
            logs.pop(name, None)

    async def logs(self, unit: str) -> Sequence[str]:
        """List the names of a unit's logs, oldest first."""
        return sorted(self.memory.unit(unit).logs)

    async def read_log(self, unit: str, name: str) -> bytes:
        """Read a log whole."""
        check_log_name(name)
        return _one_of(self.memory.unit(unit).logs, name, f"{unit} has no log")

    async def drop_logs(self, unit: str, *names: str) -> None:
        """Remove logs."""
        for name in names:
            self.memory.unit(unit).logs.pop(check_log_name(name), None)

    async def problems(self, chain: str) -> Sequence[Problem]:
        """Find what is wrong with the records of a chain and below it, and with the backups of its units."""
        found: builtins.list[Problem] = []
        with self.memory.mutex:
            units = {name: (self.memory.records(name), dict(unit.backups)) for name, unit in self.memory.units.items()}
        for unit, (records, backups) in sorted(units.items()):
            if chain and not is_within(unit, chain) and not is_within(chain, unit):
                continue
            wrong = check_records(records, unit, place=lambda fqn: f"memory:{fqn}")
            found += [problem for problem in wrong if not chain or is_within(problem.fqn or unit, chain)]
            keys = {f"memory:{unit}, backup {name}": raw for name, raw in backups.items()}
            found += check_backups(keys, unit)
        return found

    def _add(self, lease: Lease, change: Change) -> Ack:
        """Make a change at once."""
        unit = unit_written(lease.unit, change)
        group = Group()
        group.untold = 1
        earlier = self._failed if self._failed is not None and self._failed.untold else None
        try:
            with self.memory.mutex:
                self._held(lease)
                self.memory.unit(unit).make(change, unit)
        except StateError as error:
            group.settle(error)
            self._failed = group
        else:
            group.settle(None)
        return Ack(group, earlier)

    def _held(self, lease: Lease) -> MemoryLock:
        """Give a lease's lock, unless it is lost or this store has given it up."""
        why = self._lost.get(lease.unit)
        if why is not None:
            raise LeaseLost(f"{lease.unit} {why}", hint="nothing more was written; run again")
        return self.memory.held(lease)

    def _renew(self, lease: Lease) -> Lease:
        with self.memory.mutex:
            lock = self._held(lease)
            lock.renewed = self.memory.clock()
            lock.lease = msgspec.structs.replace(lease, deadline=time.time() + lock.ttl)
            return lock.lease

    def _give_up(self, lease: Lease, why: str) -> None:
        with self.memory.mutex:
            self._lost[lease.unit] = why

    def _forget(self, chain: str) -> None:
        self._lost.pop(chain, None)
        known = self._renewals.pop(chain, None)
        if known is not None:
            known[1].stop()

    def _tell(self) -> None:
        failed = self._failed
        if failed is not None and failed.untold and failed.error is not None:
            failed.untold = 0
            raise failed.error


def _one_of(kept: Mapping[str, bytes], name: str, message: str) -> bytes:
    if name not in kept:
        raise no_such(message, name, kept)
    return kept[name]
