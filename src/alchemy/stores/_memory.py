"""A store in memory, for tests: the same promises as the others, except that it is gone with its `Memory`."""

from __future__ import annotations

import asyncio
import builtins
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from alchemy.errors import LeaseLost, LockedError, StateError
from alchemy.names import is_within, unit_of
from alchemy.ports import Lease, Owner, Problem, Snapshot
from alchemy.soundness import check_backups, check_records
from alchemy.state import Application, Record, decode, encode, now
from alchemy.stores._commits import Ack, Group
from alchemy.stores._layout import check_backup_name, check_log_name, check_unit, check_within
from alchemy.stores._views import all_in, count_in, resources_in, scopes_in

_PAUSE = 0.01


@dataclass(slots=True)
class _Unit:
    """A unit's records, encoded, so that nobody holds a piece of them."""

    records: dict[str, bytes] = field(default_factory=dict[str, bytes])
    logs: dict[str, bytes] = field(default_factory=dict[str, bytes])
    backups: dict[str, bytes] = field(default_factory=dict[str, bytes])
    token: int = 0
    ttl: float = 60.0
    lease: Lease | None = None


class Memory:
    """What a `MemoryStore` keeps; two stores given the same one are like two processes at one place."""

    def __init__(self) -> None:
        self.applications: dict[str, Application] = {}
        self.units: dict[str, _Unit] = {}
        self.mutex = threading.RLock()

    def unit(self, unit: str) -> _Unit:
        """Give a unit's place, making it if need be."""
        return self.units.setdefault(check_unit(unit), _Unit())

    def records(self, chain: str) -> dict[str, Record]:
        """Give the records of a chain and below it."""
        with self.mutex:
            raw = {fqn: raw for unit in self.units.values() for fqn, raw in unit.records.items()}
        kept = {fqn: raw for fqn, raw in raw.items() if not chain or is_within(fqn, chain)}
        return {fqn: decode(raw, where=f"memory:{fqn}") for fqn, raw in kept.items()}


class MemoryStore:
    """State in memory.

    Args:
        memory: shared with other stores; a new one by default.
    """

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()
        self._failed: Group | None = None
        self._taken: dict[str, int] = {}

    @property
    def url(self) -> str:
        """Where it is."""
        return "memory:"

    async def init(self) -> None:
        """There is nothing to make ready."""

    async def deinit(self) -> None:
        """There is nothing to let go of."""

    def abandon(self, *, kept: bool) -> None:
        """Let go as the end of the process would, for tests of what a crash leaves: its leases are free at once, as
        they are on one host, and writes were made at the call, so there is nothing to be `kept`.
        """
        with self.memory.mutex:
            for unit, token in self._taken.items():
                place = self.memory.unit(unit)
                if place.token == token:
                    place.lease = None

    async def application(self, app: str) -> Application | None:
        """Read an application's record."""
        return self.memory.applications.get(app)

    async def create_application(self, application: Application) -> Application:
        """Write an application's record once; give the one that stands."""
        with self.memory.mutex:
            return self.memory.applications.setdefault(application.app, application)

    async def acquire(self, unit: str, *, owner: Owner, timeout: float, ttl: float = 60.0) -> Lease:
        """Take a unit; one whose deadline has passed is free."""
        end = time.monotonic() + timeout
        while True:
            with self.memory.mutex:
                place = self.memory.unit(unit)
                holder = place.lease
                if holder is None or holder.deadline < time.time():
                    place.token += 1
                    place.ttl = ttl
                    self._taken[unit] = place.token
                    place.lease = Lease(
                        unit=unit, token=place.token, owner=owner, since=now(), deadline=time.time() + ttl
                    )
                    return place.lease
            left = end - time.monotonic()
            if left <= 0:
                raise LockedError(
                    f"{unit} is held by {holder.owner} since {holder.since}",
                    unit=unit,
                    owner=f"{holder.owner}, since {holder.since}",
                    hint="wait for that run to end, or break the lock",
                )
            await asyncio.sleep(min(_PAUSE, left))

    async def renew(self, lease: Lease) -> Lease:
        """Move the deadline by the lease's ttl from now."""
        with self.memory.mutex:
            place = self._held(lease)
            place.lease = msgspec.structs.replace(lease, deadline=time.time() + place.ttl)
            return place.lease

    async def release(self, lease: Lease) -> None:
        """Give the unit back; raise what went wrong with a write that nobody awaited."""
        with self.memory.mutex:
            place = self.memory.unit(lease.unit)
            if place.lease is not None and place.token == lease.token:
                place.lease = None
        self._tell()

    async def locks(self) -> Sequence[Lease]:
        """List the leases that are held now."""
        with self.memory.mutex:
            leases = [place.lease for place in self.memory.units.values() if place.lease is not None]
        return sorted((lease for lease in leases if lease.deadline >= time.time()), key=lambda lease: lease.unit)

    async def break_(self, unit: str) -> None:
        """Take a unit from its holder."""
        with self.memory.mutex:
            place = self.memory.unit(unit)
            if place.lease is not None:
                place.token += 1
                place.lease = None

    async def load(self, unit: str, *, lease: Lease | None = None) -> Snapshot:
        """Read a unit."""
        check_unit(unit)
        if lease is not None:
            with self.memory.mutex:
                self._held(lease)
        return Snapshot(records=self.memory.records(unit))

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

    def set(self, lease: Lease, *records: Record, drop: Sequence[str] = ()) -> Awaitable[None]:
        """Write records, and drop others, in one commit; it is made at the call."""
        dropped = tuple(drop)
        for fqn in dropped:
            check_within(fqn, lease.unit)
        written: dict[str, bytes] = {}
        for record in records:
            check_within(record.fqn, lease.unit)
            try:
                written[record.fqn] = encode(record)
            except TypeError as error:
                raise StateError(f"{record.fqn} holds something that JSON cannot: {error}") from error

        def write(place: _Unit) -> None:
            for fqn in dropped:
                place.records.pop(fqn, None)
            place.records.update(written)

        return self._change(lease, write)

    def delete(self, lease: Lease, *fqns: str) -> Awaitable[None]:
        """Drop records in one commit; it is made at the call."""
        for fqn in fqns:
            check_within(fqn, lease.unit)
        return self._change(lease, lambda place: [place.records.pop(fqn, None) for fqn in fqns])

    def clear_scope(self, lease: Lease, chain: str) -> Awaitable[None]:
        """Drop a scope's records and all below it in one commit; it is made at the call."""
        check_within(chain, lease.unit)

        def clear(place: _Unit) -> None:
            for fqn in [fqn for fqn in place.records if is_within(fqn, chain)]:
                del place.records[fqn]

        return self._change(lease, clear)

    async def fold(self, lease: Lease) -> None:
        """There is no log to fold; tells what went wrong with a write that nobody awaited."""
        self._tell()
        with self.memory.mutex:
            self._held(lease)

    def save_backup(self, lease: Lease, name: str, content: bytes) -> Awaitable[None]:
        """Keep a copy of a unit; it is made at the call."""
        check_backup_name(name)

        def save(place: _Unit) -> None:
            if name in place.backups:
                raise StateError(f"{lease.unit} has a backup {name} already: none was made", hint="try again")
            place.backups[name] = content

        return self._change(lease, save)

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

    def _change(self, lease: Lease, make: Callable[[_Unit], object]) -> Ack:
        group = Group()
        group.untold = 1
        earlier = self._failed if self._failed is not None and self._failed.untold else None
        try:
            with self.memory.mutex:
                make(self._held(lease))
        except StateError as error:
            group.settle(error)
            self._failed = group
        else:
            group.settle(None)
        return Ack(group, earlier)

    def _held(self, lease: Lease) -> _Unit:
        place = self.memory.unit(lease.unit)
        if place.lease is None or place.token != lease.token:
            whom = f": {place.lease.owner} has it since {place.lease.since}" if place.lease is not None else ""
            raise LeaseLost(f"{lease.unit} is no longer held by this run{whom}", hint="take the unit again")
        return place

    def _tell(self) -> None:
        failed = self._failed
        if failed is not None and failed.untold and failed.error is not None:
            failed.untold = 0
            raise failed.error


def _one_of(kept: Mapping[str, bytes], name: str, message: str) -> bytes:
    if name not in kept:
        known = ", ".join(sorted(kept, reverse=True))
        raise StateError(f"{message} {name}", hint=f"there are {known}" if known else "it has none")
    return kept[name]
