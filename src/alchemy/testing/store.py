"""A state store that fails as it is told, around any other; and what it knows of every write, to check against."""

from __future__ import annotations

import asyncio
import builtins
import itertools
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from alchemy.errors import LeaseLost
from alchemy.names import is_within
from alchemy.ports import Lease, LogEnd, Owner, Problem, Snapshot, StateStore
from alchemy.state import Application, Record, encode
from alchemy.testing.faults import Begun, Faults

T = TypeVar("T")


@dataclass(eq=False)
class Commit:
    """One call of `set`, `delete`, `clear_scope` or `save_backup`.

    Attributes:
        written: what it wrote, encoded, by FQN; `dropped` the FQNs that went, `cleared` the chain;
            `backup` the name of what was kept.
        token: of the lease it was made under.
        acknowledged: somebody was told that it is durable. `refused`: that it was not written.
        number: counts the commits of all stores of this Python process.
    """

    unit: str
    token: int
    written: dict[str, bytes]
    dropped: tuple[str, ...] = ()
    cleared: str | None = None
    backup: str | None = None
    acknowledged: bool = False
    refused: bool = False
    number: int = field(default_factory=itertools.count(1).__next__)

    def apply(self, records: dict[str, bytes]) -> dict[str, bytes]:
        """Give the records of the unit after it."""
        gone = {*self.dropped, *(fqn for fqn in records if self.cleared is not None and is_within(fqn, self.cleared))}
        return {fqn: raw for fqn, raw in records.items() if fqn not in gone} | self.written


@dataclass(eq=False)
class History:
    """What one process did to a unit: what it loaded, and the commits it made since, in order."""

    loaded: dict[str, bytes] = field(default_factory=dict[str, bytes])
    commits: list[Commit] = field(default_factory=list[Commit])

    def after(self, count: int) -> dict[str, bytes]:
        """Give the records after the first so many commits."""
        records = self.loaded
        for commit in self.commits[:count]:
            records = commit.apply(records)
        return records

    @property
    def acknowledged(self) -> int:
        """How many commits, counted from the first, must not be lost."""
        return max((n for n, commit in enumerate(self.commits, 1) if commit.acknowledged), default=0)


class FaultyStore:
    """Any store, as one process sees it that has no luck.

    Every operation is a call that `Faults` knows by `store.` and its name, and by what it is about: `store.set
    app/dev/a` (the first record's FQN), `store.acquire app/dev`, `store.fold app/dev`. A failed write, as every store
    promises, is raised where it is awaited, and no later one is accepted. When the process dies, the store is
    abandoned as a dead process leaves it: nothing is released, and what the operating system would drop is dropped.

    Args:
        inner: the store; one whose `abandon` is missing just hears no more of this process.
        faults: the script; shared with the `Cloud` of the same process.

    Attributes:
        writes: every record written or dropped, such as `created app/dev/a` and `drop app/dev/a`.
        histories: what this process loaded and did, by unit.
    """

    def __init__(self, inner: StateStore, faults: Faults | None = None) -> None:
        self.inner = inner
        self.faults = faults or Faults()
        self.writes: builtins.list[str] = []
        self.histories: dict[str, History] = {}
        self._failure: Exception | None = None
        self._untold = False
        self.faults.on_death(self._abandon)

    @property
    def url(self) -> str:
        """Where it is."""
        return self.inner.url

    async def init(self) -> None:
        """Do as the store does."""
        await self._ask("init", "", self.inner.init)

    async def deinit(self) -> None:
        """Do as the store does."""
        await self._ask("deinit", "", self.inner.deinit)

    async def application(self, app: str) -> Application | None:
        """Do as the store does."""
        return await self._ask("application", app, lambda: self.inner.application(app))

    async def create_application(self, application: Application) -> Application:
        """Do as the store does."""
        return await self._ask(
            "create_application", application.app, lambda: self.inner.create_application(application)
        )

    async def acquire(self, chain: str, *, owner: Owner, timeout: float, ttl: float = 60.0) -> Lease:
        """Do as the store does."""
        return await self._ask(
            "acquire", chain, lambda: self.inner.acquire(chain, owner=owner, timeout=timeout, ttl=ttl)
        )

    def check(self, lease: Lease) -> bool:
        """Ask whether it is surely held still; that is no call to a store's place, and cannot fail."""
        return self.inner.check(lease)

    async def renew(self, lease: Lease) -> Lease:
        """Do as the store does."""
        return await self._ask("renew", lease.unit, lambda: self.inner.renew(lease))

    async def release(self, lease: Lease, *, log: LogEnd | None = None) -> None:
        """Do as the store does; a failed write that nobody awaited is raised."""
        await self._ask("release", lease.unit, lambda: self.inner.release(lease, log=log))
        if self._untold and self._failure is not None:
            self._untold = False
            raise self._failure

    async def locks(self) -> Sequence[Lease]:
        """Do as the store does."""
        return await self._ask("locks", "", self.inner.locks)

    async def break_(self, chain: str) -> None:
        """Do as the store does."""
        await self._ask("break_", chain, lambda: self.inner.break_(chain))

    async def load(self, unit: str, *, lease: Lease | None = None) -> Snapshot:
        """Do as the store does; what a holder loads begins the unit's history."""
        snapshot = await self._ask("load", unit, lambda: self.inner.load(unit, lease=lease))
        if lease is not None:
            self.histories[unit] = History({fqn: encode(record) for fqn, record in snapshot.records.items()})
        return snapshot

    async def salvage(self, lease: Lease) -> str | None:
        """Do as the store does."""
        return await self._ask("salvage", lease.unit, lambda: self.inner.salvage(lease))

    async def list(self, chain: str) -> Sequence[str]:
        """Do as the store does."""
        return await self._ask("list", chain, lambda: self.inner.list(chain))

    async def list_scopes(self, chain: str) -> Sequence[str]:
        """Do as the store does."""
        return await self._ask("list_scopes", chain, lambda: self.inner.list_scopes(chain))

    async def count(self, chain: str) -> int:
        """Do as the store does."""
        return await self._ask("count", chain, lambda: self.inner.count(chain))

    async def get(self, fqn: str) -> Record | None:
        """Do as the store does."""
        return await self._ask("get", fqn, lambda: self.inner.get(fqn))

    async def get_batch(self, fqns: Sequence[str]) -> Mapping[str, Record]:
        """Do as the store does."""
        return await self._ask("get_batch", ",".join(fqns), lambda: self.inner.get_batch(fqns))

    async def all(self, chain: str) -> Mapping[str, Record]:
        """Do as the store does."""
        return await self._ask("all", chain, lambda: self.inner.all(chain))

    def set(self, lease: Lease, *records: Record, drop: Sequence[str] = ()) -> Awaitable[None]:
        """Do as the store does."""
        self.writes += [f"{record.status} {record.fqn}" for record in records] + [f"drop {fqn}" for fqn in drop]
        commit = Commit(lease.unit, lease.token, {record.fqn: encode(record) for record in records}, tuple(drop))
        about = records[0].fqn if records else lease.unit
        return self._write("set", about, commit, lambda: self.inner.set(lease, *records, drop=drop))

    def delete(self, lease: Lease, *fqns: str) -> Awaitable[None]:
        """Do as the store does."""
        self.writes += [f"drop {fqn}" for fqn in fqns]
        commit = Commit(lease.unit, lease.token, {}, fqns)
        return self._write("delete", fqns[0] if fqns else "", commit, lambda: self.inner.delete(lease, *fqns))

    def clear_scope(self, lease: Lease, chain: str, *records: Record) -> Awaitable[None]:
        """Do as the store does."""
        self.writes += [f"clear {chain}", *(f"{record.status} {record.fqn}" for record in records)]
        commit = Commit(lease.unit, lease.token, {record.fqn: encode(record) for record in records}, cleared=chain)
        return self._write("clear_scope", chain, commit, lambda: self.inner.clear_scope(lease, chain, *records))

    def save_backup(self, lease: Lease, name: str, content: bytes) -> Awaitable[None]:
        """Do as the store does."""
        commit = Commit(lease.unit, lease.token, {}, backup=name)
        return self._write("save_backup", lease.unit, commit, lambda: self.inner.save_backup(lease, name, content))

    async def fold(self, lease: Lease) -> None:
        """Do as the store does."""
        if self._failure is not None:
            self.faults.check()
            self._untold = False
            raise self._failure
        await self._ask("fold", lease.unit, lambda: self.inner.fold(lease))

    async def append_log(self, unit: str, name: str, lines: bytes) -> None:
        """Do as the store does."""
        await self._ask("append_log", unit, lambda: self.inner.append_log(unit, name, lines))

    async def logs(self, unit: str) -> Sequence[str]:
        """Do as the store does."""
        return await self._ask("logs", unit, lambda: self.inner.logs(unit))

    async def read_log(self, unit: str, name: str) -> bytes:
        """Do as the store does."""
        return await self._ask("read_log", unit, lambda: self.inner.read_log(unit, name))

    async def drop_logs(self, unit: str, *names: str) -> None:
        """Do as the store does."""
        await self._ask("drop_logs", unit, lambda: self.inner.drop_logs(unit, *names))

    async def backups(self, unit: str) -> Sequence[str]:
        """Do as the store does."""
        return await self._ask("backups", unit, lambda: self.inner.backups(unit))

    async def read_backup(self, unit: str, name: str) -> bytes:
        """Do as the store does."""
        return await self._ask("read_backup", unit, lambda: self.inner.read_backup(unit, name))

    async def drop_backups(self, unit: str, *names: str) -> None:
        """Do as the store does."""
        await self._ask("drop_backups", unit, lambda: self.inner.drop_backups(unit, *names))

    async def problems(self, chain: str) -> Sequence[Problem]:
        """Do as the store does."""
        return await self._ask("problems", chain, lambda: self.inner.problems(chain))

    # Faults

    async def _ask(self, operation: str, about: str, effect: Callable[[], Awaitable[T]]) -> T:
        """Carry out an operation that answers."""
        call = f"store.{operation} {about}".rstrip()
        await self.faults.stand(call)
        begun = self.faults.begin(call)
        await _pause(begun, after=False)
        self.faults.check()
        if begun.error_before is not None:
            raise begun.error_before
        answer = await effect()
        await _pause(begun, after=True)
        self.faults.end(begun)
        return answer

    def _write(
        self, operation: str, about: str, commit: Commit, effect: Callable[[], Awaitable[None]]
    ) -> Awaitable[None]:
        """Make a commit: at the call, as the protocol has it."""
        call = f"store.{operation} {about}"
        begun = self.faults.begin(call)
        error = self._failure or begun.error_before
        if error is not None:
            self._fail(error)
            return Ack(self, begun, call, None, _no_commit, error)
        made = effect()
        history = self.histories.setdefault(commit.unit, History())
        history.commits.append(commit)
        if begun.dies:
            self.faults.end(begun)
        if begun.error_after is not None:
            self._fail(begun.error_after)
        return Ack(self, begun, call, made, self._acknowledge(history, len(history.commits)), begun.error_after)

    def _acknowledge(self, history: History, count: int) -> Callable[[Exception | None], None]:
        def acknowledge(error: Exception | None) -> None:
            for commit in history.commits[:count]:
                commit.acknowledged = commit.acknowledged or (error is None and not commit.refused)
            history.commits[count - 1].refused = isinstance(error, LeaseLost)

        return acknowledge

    def _fail(self, error: BaseException) -> None:
        if self._failure is None and isinstance(error, Exception):
            self._failure, self._untold = error, True

    def told(self) -> None:
        """Take note that somebody heard of the failed write."""
        self._untold = False

    def _abandon(self, kept: bool) -> None:
        abandon: Callable[..., Any] | None = getattr(self.inner, "abandon", None)
        if abandon is not None:
            abandon(kept=kept)


class Ack:
    """What a write gives: awaited, it says how the write ended. Nobody has to await it."""

    def __init__(
        self,
        store: FaultyStore,
        begun: Begun,
        call: str,
        made: Awaitable[None] | None,
        acknowledge: Callable[[Exception | None], None],
        error: BaseException | None,
    ) -> None:
        self._store = store
        self._begun = begun
        self._call = call
        self._made = made
        self._acknowledge = acknowledge
        self._error = error

    def __await__(self) -> Generator[Any, None, None]:
        faults = self._store.faults
        yield from faults.stand(self._call).__await__()
        for after in (False, True):
            if self._begun.seconds(after=after):
                yield from asyncio.sleep(self._begun.seconds(after=after)).__await__()
        try:
            if self._made is not None:
                yield from self._made.__await__()
        except Exception as error:
            faults.check()
            self._acknowledge(error)
            raise
        faults.check()
        if self._error is not None:
            self._store.told()
            raise self._error
        self._acknowledge(None)


def _no_commit(_error: Exception | None) -> None:
    """Nothing was written that could be acknowledged."""


async def _pause(begun: Begun, *, after: bool) -> None:
    seconds = begun.seconds(after=after)
    if seconds:
        await asyncio.sleep(seconds)
