"""The default store: the `.alchemy` folder. See `_layout` for where things lie and `_folding` for their order."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from alchemy.errors import AlchemyError, StateError
from alchemy.names import is_within, unit_of
from alchemy.ports import Lease, LogEnd, Owner, Problem, Snapshot
from alchemy.state import Application, Record
from alchemy.stores._accepting import Edited
from alchemy.stores._clocks import awake
from alchemy.stores._commits import Ack, Change, Group
from alchemy.stores._disk import Disk
from alchemy.stores._folder import Folder
from alchemy.stores._guards import GUARD_WAIT
from alchemy.stores._held import HeldUnit
from alchemy.stores._holding import Holding
from alchemy.stores._layout import (
    check_backup_name,
    check_chain,
    check_log_end,
    check_log_name,
    check_unit,
)
from alchemy.stores._leases import UnitLock
from alchemy.stores._lockfile import Held, Sighting
from alchemy.stores._mounts import network_warnings
from alchemy.stores._problems import find_problems
from alchemy.stores._refusals import locked_error, not_held, remedy
from alchemy.stores._views import all_in, count_in, resources_in, scopes_in
from alchemy.stores._writing import Writing

_P = ParamSpec("_P")
_T = TypeVar("_T")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5
_THREADS = 4


class FileStore(Writing):
    """State in a folder on this machine, `.alchemy` by default.

    A commit is durable when its group is in the journal and synced. The object belongs to the event loop that
    uses it first, until `deinit`.

    Args:
        root: the folder; made by `init`.
        disk: the calls that change the disk; another one is for tests.
    """

    def __init__(self, root: str | Path, *, disk: Disk | None = None) -> None:
        self._folder = Folder(str(Path(root).absolute()), disk or Disk())
        self._units: dict[str, Holding] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._has_warned = False

    @property
    def url(self) -> str:
        """Where it is."""
        return f"file://{self._folder.root}"

    async def init(self) -> None:
        """Make the folder."""
        await self._run(self._folder.make)

    async def deinit(self) -> None:
        """Write what is queued and give back all that was taken through this object, by whoever did."""
        errors: builtins.list[AlchemyError] = []
        try:
            for held in builtins.list(self._units.values()):
                try:
                    await self.release(held.lock.content.lease())
                except AlchemyError as error:
                    errors.append(error)  # the others are given back all the same
            if errors:
                raise errors[0]
        finally:
            pool, self._pool, self._loop = self._pool, None, None
            if pool is not None:
                pool.shutdown(wait=False)

    def abandon(self, *, kept: bool) -> None:
        """Let go of everything as the end of the process would, for tests of what a crash leaves: nothing is given
        back, and the kernel's locks are dropped. Blocks.

        Args:
            kept: what is queued is written first, though nobody hears of it; else it is lost.
        """
        units, self._units = self._units, {}
        for held in units.values():
            held.abandon(kept=kept)
        pool, self._pool, self._loop = self._pool, None, None
        if pool is not None:
            pool.shutdown(wait=False)

    async def application(self, app: str) -> Application | None:
        """Read an application's record."""
        return await self._run(self._folder.application, app)

    async def create_application(self, application: Application) -> Application:
        """Write an application's record once; give the one that stands."""
        return await self._run(self._folder.create_application, application)

    async def acquire(self, chain: str, *, owner: Owner, timeout: float, ttl: float = 60.0) -> Lease:
        """Take a chain; a holder on this machine that has died is noticed at once."""
        check_chain(chain)
        began = time.monotonic()
        pause = _FIRST_PAUSE
        sightings: dict[str, Sighting] = {}
        while True:
            taken = await self._take(chain, owner, ttl, sightings)
            if isinstance(taken, UnitLock):
                break
            seen = sightings.get(taken.unit)
            if seen is None or (seen.token, seen.deadline) != (taken.token, taken.deadline):
                sightings[taken.unit] = Sighting(taken.token, taken.deadline, awake())
            # Nobody is refused because of a commit that is over in a moment.
            left = began + (max(timeout, GUARD_WAIT) if taken.brief else timeout) - time.monotonic()
            if left <= 0:
                raise locked_error(chain, taken.lease(), shared=True)
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        lost = self._units.get(chain)
        self._units[chain] = Holding(asyncio.get_running_loop(), self._folder, taken)
        if lost is not None:
            await self._run(lost.close)  # it was taken away, and never given back
        return taken.content.lease()

    def check(self, lease: Lease) -> bool:
        """Say without asking anybody whether a chain is surely held still."""
        held = self._held(lease)
        if held is None:
            raise not_held(lease)
        return held.lock.is_sure()

    async def renew(self, lease: Lease) -> Lease:
        """Move the deadline; a thread does it by itself every quarter of the ttl."""
        held = self._held(lease)
        if held is None:
            raise not_held(lease)
        return await self._run(held.lock.renew)

    async def release(self, lease: Lease, *, log: LogEnd | None = None) -> None:
        """Write what is queued and give the unit back; raise what went wrong with a write that nobody awaited."""
        ending = None if log is None else check_log_end(lease.unit, log)
        held = self._held(lease)
        if held is not None:
            del self._units[lease.unit]
        try:
            if ending is not None:
                await self._end_log(lease.unit, ending)
            if held is not None:
                await held.committer.flush()
        finally:
            if held is not None:
                await self._run(held.close)

    async def _end_log(self, unit: str, log: LogEnd) -> None:
        with contextlib.suppress(StateError):  # a log is not state
            if log.lines:
                await self.append_log(unit, log.name, log.lines)
            if log.drop:
                await self.drop_logs(unit, *log.drop)

    async def locks(self) -> Sequence[Lease]:
        """List the leases that are held now."""
        return await self._run(self._folder.locks)

    async def break_(self, chain: str) -> None:
        """Take a chain from its holder."""
        await self._run(self._folder.break_, check_chain(chain))

    async def load(self, unit: str, *, lease: Lease | None = None) -> Snapshot:
        """Read a unit; with its lease, after what is queued."""
        if lease is None:
            reading = await self._run(self._folder.read, unit)
            return Snapshot(records=reading.records, notices=reading.notices)
        held = self._held(lease)
        if held is None:
            raise not_held(lease)
        await held.committer.flush()
        if isinstance(held.unit, HeldUnit) and lease.unit == unit:
            reading = await self._run(held.unit.load)
        else:
            reading = await self._run(self._folder.read, check_unit(unit))
        return Snapshot(records=reading.records, notices=reading.notices + await self._warnings())

    async def _warnings(self) -> builtins.list[str]:
        """Say, once, that locks may not hold where the folder lies."""
        if self._has_warned:
            return []
        self._has_warned = True
        return await self._run(network_warnings, self._folder.root)

    async def salvage(self, lease: Lease) -> str | None:
        """Put aside what is damaged; give the folder where it is."""
        held = self._held(lease)
        if held is None or not isinstance(held.unit, HeldUnit):
            raise not_held(lease)
        aside = self._folder.aside(lease.unit)
        return aside if await self._run(held.unit.salvage, aside) else None

    async def list(self, chain: str) -> Sequence[str]:
        """List the ids of the resources directly in a scope."""
        return resources_in(await self.all(chain), chain)

    async def list_scopes(self, chain: str) -> Sequence[str]:
        """List the chains directly below `chain`."""
        if not chain:
            return await self._run(self._folder.apps)
        if _in_unit(chain):
            return scopes_in(await self.all(chain), chain)
        return await self._run(self._below, chain)

    async def count(self, chain: str) -> int:
        """Count the resources in a scope and below it."""
        return count_in(await self.all(chain), chain)

    async def get(self, fqn: str) -> Record | None:
        """Read one record."""
        return (await self.get_batch([fqn])).get(fqn)

    async def get_batch(self, fqns: Sequence[str]) -> Mapping[str, Record]:
        """Read several records."""
        found: dict[str, Record] = {}
        for unit in dict.fromkeys(unit_of(fqn) for fqn in fqns if _in_unit(fqn)):
            records = await self.all(unit)
            found |= {fqn: records[fqn] for fqn in fqns if fqn in records}
        return found

    async def all(self, chain: str) -> Mapping[str, Record]:
        """Read every record of a scope and below it."""
        return await self._run(self._all, chain)

    async def fold(self, lease: Lease) -> None:
        """Turn the journal into record files."""
        held = self._held(lease)
        if held is None:
            raise not_held(lease)
        await held.committer.flush()
        await self._run(held.unit.fold)

    async def backups(self, unit: str) -> Sequence[str]:
        """List the names of a unit's backups, oldest first."""
        return await self._run(self._folder.backups(unit).names)

    async def read_backup(self, unit: str, name: str) -> bytes:
        """Read a backup whole."""
        return await self._run(self._folder.backups(unit).read, check_backup_name(name))

    async def drop_backups(self, unit: str, *names: str) -> None:
        """Remove backups."""
        checked = [check_backup_name(name) for name in names]
        await self._run(self._folder.drop, unit, self._folder.backups(unit), checked)

    async def append_log(self, unit: str, name: str, lines: bytes) -> None:
        """Add lines to a run's log."""
        await self._run(self._folder.logs(unit).append, check_log_name(name), lines)

    async def logs(self, unit: str) -> Sequence[str]:
        """List the names of a unit's logs, oldest first."""
        return await self._run(self._folder.logs(unit).names)

    async def read_log(self, unit: str, name: str) -> bytes:
        """Read a log whole."""
        return await self._run(self._folder.logs(unit).read, check_log_name(name))

    async def drop_logs(self, unit: str, *names: str) -> None:
        """Remove logs."""
        checked = [check_log_name(name) for name in names]
        await self._run(self._folder.drop, unit, self._folder.logs(unit), checked)

    async def problems(self, chain: str) -> Sequence[Problem]:
        """Find everything wrong with the folder at a chain and below it."""
        return await self._run(find_problems, self._folder, chain)

    async def unit_at(self, path: Path) -> str:
        """Give the unit that a file of this store belongs to. Raises `StateError` when it belongs to none."""
        return await self._run(self._folder.unit_at, str(path))

    async def accept(
        self, lease: Lease, paths: Sequence[Path], *, force: bool = False, dry_run: bool = False
    ) -> Sequence[Edited]:
        """Take back record files that a person has edited, or removed, in one commit.

        Args:
            paths: all that were edited in the unit.
            force: also when the record was changed, since the file was written, by a run that was cut short.
            dry_run: check, and change nothing.

        Raises:
            StateDamaged, StateTooNew: one cannot be taken, or something else is wrong too; nothing was changed.
        """
        held = self._held(lease)
        if held is None or not isinstance(held.unit, HeldUnit):
            raise not_held(lease)
        await held.committer.flush()
        return await self._run(held.unit.accept, [str(path) for path in paths], force=force, dry_run=dry_run)

    def _add(self, lease: Lease, change: Change) -> Ack:
        self._check_loop()
        held = self._held(lease)
        if held is None:
            group = Group()
            group.settle(not_held(lease))
            return Ack(group, None)
        return held.committer.add(change)

    def _held(self, lease: Lease) -> Holding | None:
        held = self._units.get(lease.unit)
        return held if held is not None and held.lock.content.token == lease.token else None

    def _all(self, chain: str) -> dict[str, Record]:
        if _in_unit(chain):
            return all_in(self._folder.read(unit_of(chain)).records, chain)
        found: dict[str, Record] = {}
        for app in [chain.partition("/")[0]] if chain else self._folder.apps():
            for unit in self._folder.units(app):
                if not chain or is_within(unit, chain):
                    found |= self._folder.read(unit).records
        return found

    def _below(self, chain: str) -> Sequence[str]:
        return [unit for unit in self._folder.units(chain.partition("/")[0]) if is_within(unit, chain)]

    async def _take(self, chain: str, owner: Owner, ttl: float, seen: Mapping[str, Sighting]) -> UnitLock | Held:
        attempt = self._submit(self._folder.take, chain, owner, ttl, seen)
        try:
            return await asyncio.shield(asyncio.wrap_future(attempt))
        except asyncio.CancelledError:
            attempt.add_done_callback(_give_back)  # it may succeed all the same
            raise
        except OSError as error:
            raise self._refused(error) from error

    async def _run(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return await asyncio.wrap_future(self._submit(function, *args, **kwargs))
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> StateError:
        return StateError(
            f"cannot use {error.filename or self._folder.root}: {error.strerror or error}",
            hint=remedy(error),
        )

    def _submit(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        self._check_loop()
        if self._pool is None:
            # Not the loop's own pool: there, a provider's slow work could keep state from being written.
            self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="alchemy-state")
        return self._pool.submit(partial(function, *args, **kwargs))

    def _check_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise StateError(
                f"the state store {self.url} is in use by another event loop",
                hint="give each event loop a store of its own",
            )


def _give_back(attempt: Future[UnitLock | Held]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        taken = attempt.result()
        if isinstance(taken, UnitLock):
            taken.release()


def _in_unit(chain: str) -> bool:
    parts = chain.split("/")
    return len(parts) > (2 if parts[1:2] == ["test"] else 1)
