"""What stores in memory keep: units, and who holds which chain. Stores may share it, as processes share a disk."""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from alchemy.names import is_within
from alchemy.ports import Lease, Owner
from alchemy.state import Application, Record, decode, now
from alchemy.stores._clocks import elapsed
from alchemy.stores._commits import Change, Cleared, Dropped, Saved, Written
from alchemy.stores._layout import check_unit
from alchemy.stores._refusals import backup_exists, not_held, taken_away


@dataclass(slots=True)
class MemoryUnit:
    """A unit's records, encoded, so that nobody holds a piece of them."""

    records: dict[str, bytes] = field(default_factory=dict[str, bytes])
    logs: dict[str, bytes] = field(default_factory=dict[str, bytes])
    backups: dict[str, bytes] = field(default_factory=dict[str, bytes])

    def make(self, change: Change, unit: str) -> None:
        """Make a change to `unit`, whose place this is. Raises `NameTaken` for the name of a backup that stands."""
        match change:
            case Written(records, dropped):
                self._drop(dropped)
                self.records.update((fqn, raw) for fqn, raw, _ in records)
            case Dropped(dropped):
                self._drop(dropped)
            case Cleared(chain, records):
                self._drop([fqn for fqn in self.records if is_within(fqn, chain)])
                self.records.update((fqn, raw) for fqn, raw, _ in records)
            case Saved(name, content):
                if name in self.backups:
                    raise backup_exists(unit, name)
                self.backups[name] = content

    def _drop(self, fqns: Iterable[str]) -> None:
        for fqn in fqns:
            self.records.pop(fqn, None)


@dataclass(slots=True)
class MemoryLock:
    """Who holds a chain; the token outlives its holders.

    Attributes:
        renewed: by the clock of the `Memory`.
        lost: who had it, or took it away, last, in words.
    """

    token: int = 0
    ttl: float = 60.0
    renewed: float = 0.0
    lease: Lease | None = None
    lost: str = ""


_memories: weakref.WeakValueDictionary[str, Memory] = weakref.WeakValueDictionary()
_numbers = itertools.count(1)


class Memory:
    """What a `MemoryStore` keeps; two stores given the same one are like two processes at one place.

    Args:
        name: by which `named` finds it as long as it is there; a number by default.
        clock: what leases are judged by, in seconds; another one is for tests.
    """

    def __init__(self, name: str | None = None, *, clock: Callable[[], float] = elapsed) -> None:
        self.name = name or next(text for text in map(str, _numbers) if text not in _memories)
        self.clock = clock
        self.applications: dict[str, Application] = {}
        self.units: dict[str, MemoryUnit] = {}
        self.locks: dict[str, MemoryLock] = {}
        self.mutex = threading.RLock()
        _memories[self.name] = self

    @classmethod
    def named(cls, name: str) -> Memory:
        """Give the memory of that name; a new one when there is none (any more)."""
        return _memories.get(name) or cls(name)

    def unit(self, unit: str) -> MemoryUnit:
        """Give a unit's place, making it if need be."""
        return self.units.setdefault(check_unit(unit), MemoryUnit())

    def records(self, chain: str) -> dict[str, Record]:
        """Give the records of a chain and below it."""
        with self.mutex:
            raw = {fqn: raw for unit in self.units.values() for fqn, raw in unit.records.items()}
        kept = {fqn: raw for fqn, raw in raw.items() if not chain or is_within(fqn, chain)}
        return {fqn: decode(raw, where=f"memory:{fqn}") for fqn, raw in kept.items()}

    def take(self, chain: str, owner: Owner, ttl: float) -> Lease | MemoryLock:
        """Try once to take a chain; give the lease, or the lock that is in the way."""
        with self.mutex:
            around = [lock for other, lock in self.locks.items() if is_within(other, chain) or is_within(chain, other)]
            for lock in around:
                if lock.lease is not None and self.is_held(lock):
                    return lock
            for lock in around:
                if lock.lease is not None:
                    self.take_away(lock, f": {owner} has taken {chain} since {now()}")
            lock = self.locks.setdefault(chain, MemoryLock())
            lock.token += 1
            lock.ttl, lock.renewed, lock.lost = ttl, self.clock(), ""
            lock.lease = Lease(unit=chain, token=lock.token, owner=owner, since=now(), deadline=time.time() + ttl)
            return lock.lease

    def take_away(self, lock: MemoryLock, whom: str) -> None:
        """Have a chain's holder be none any more."""
        with self.mutex:
            lock.token += 1
            lock.lease, lock.lost = None, whom

    def holder(self, chain: str) -> Lease | None:
        """Give the lease that a chain is held under now."""
        lock = self.locks.get(chain)
        return lock.lease if lock is not None and self.is_held(lock) else None

    def is_held(self, lock: MemoryLock) -> bool:
        """Say whether a lock's holder has renewed less than a ttl ago."""
        return lock.lease is not None and self.clock() - lock.renewed < lock.ttl

    def held(self, lease: Lease) -> MemoryLock:
        """Give a lease's lock, unless it is lost."""
        lock = self.locks.get(lease.unit)
        if lock is None or (lock.lease is None and lock.token == lease.token):
            raise not_held(lease)
        if lock.lease is None or lock.token != lease.token:
            whom = f": {lock.lease.owner} has it since {lock.lease.since}" if lock.lease is not None else lock.lost
            raise taken_away(lease, whom)
        return lock
