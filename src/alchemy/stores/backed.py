"""A store over any `Backend`: what is the same for all of them."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import ParamSpec, TypeVar

import msgspec

from alchemy.errors import AlchemyError, StateDamaged, StateError
from alchemy.names import is_within, unit_of
from alchemy.owner import owner_of
from alchemy.ports import Lease, LogEnd, Owner, Problem, Snapshot
from alchemy.state import Application, Record, now
from alchemy.stores._clocks import elapsed
from alchemy.stores._commits import Ack, Change, Group
from alchemy.stores._grip import Grip
from alchemy.stores._layout import check_backup_name, check_chain, check_log_end, check_log_name, check_unit, is_unit
from alchemy.stores._patience import PATIENCE, persist
from alchemy.stores._portal import Portal
from alchemy.stores._refusals import locked_error, no_such, not_held
from alchemy.stores._soundness import aside_of, find_problems, read_row, readable, unsure
from alchemy.stores._views import all_in, count_in, resources_in, scopes_in
from alchemy.stores._writing import Writing
from alchemy.stores.backend import Backend, BlobKind, Blocked, Ending, Taken, write_ending

P = ParamSpec("P")
T = TypeVar("T")
_FIRST_PAUSE = 0.05
_OPENING = 10.0
"""Seconds for a place that may never have been there: its name may be wrong."""


class BackedStore(Writing):
    """State in a `Backend`. The object may be used from one event loop after the other.

    Args:
        backend: the place.
        patience: seconds for which a place that does not answer is asked again.
    """

    def __init__(self, backend: Backend, *, patience: float = PATIENCE) -> None:
        self.backend = backend
        self._patience = patience
        self._portal = Portal(f"alchemy-store {backend.url}")
        self._grips: dict[str, Grip] = {}
        self._taken: dict[str, Taken] = {}
        self._applications: dict[str, bytes] = {}
        """Rows that came along with a lease: they never change."""
        self._warnings: builtins.list[str] = []

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        return self.backend.url

    async def init(self) -> None:
        """Connect, and make or check the schema."""
        opening = persist(self.backend.open, patience=min(self._patience, _OPENING))
        self._warnings = [*(await self._portal.run(opening))]

    async def deinit(self) -> None:
        """Write what is queued, give back what is held and disconnect."""
        errors: builtins.list[AlchemyError] = []
        try:
            for grip in builtins.list(self._grips.values()):
                try:
                    await self.release(grip.lease)
                except AlchemyError as error:
                    errors.append(error)  # the others are given back all the same
            self._applications.clear()
            await self._portal.run(self.backend.close())
            if errors:
                raise errors[0]
        finally:
            await asyncio.to_thread(self._portal.close)

    def abandon(self, *, kept: bool) -> None:
        """Let go of everything as the end of the process would, for tests of what a crash leaves. Blocks.

        Args:
            kept: what is queued is written first, though nobody hears of it; else it is lost.
        """
        grips, self._grips = self._grips, {}
        for grip in grips.values():
            grip.abandon(kept=kept)
        self._portal.call(self.backend.close())
        self._portal.close()

    async def application(self, app: str) -> Application | None:
        """Read an application's record."""
        row = self._applications.get(app) or await self._ask(self.backend.application, app)
        return None if row is None else self._application(app, row)

    async def create_application(self, application: Application) -> Application:
        """Write an application's record once; give the one that stands."""
        app, row = application.app, msgspec.json.encode(application)
        return self._application(app, await self._ask(self.backend.create_application, app, row))

    async def acquire(self, chain: str, *, owner: Owner, timeout: float, ttl: float = 60.0) -> Lease:
        """Take a chain; one whose holder has not renewed it for a ttl is free."""
        check_chain(chain)
        end = time.monotonic() + timeout
        pause = _FIRST_PAUSE
        while True:
            asked = elapsed()
            taken = await self._take(chain, owner, ttl)
            if isinstance(taken, Taken):
                break
            left = end - time.monotonic()
            if left <= 0:
                raise locked_error(chain, taken.holder, shared=True)
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.5, max(self.backend.pause, _FIRST_PAUSE))
        lost = self._grips.get(chain)
        loop = asyncio.get_running_loop()
        self._grips[chain] = Grip(
            loop, self._portal, self.backend, taken.lease, ttl=ttl, taken=asked, patience=self._patience
        )
        self._taken[chain] = taken
        if taken.application is not None:
            self._applications[chain.partition("/")[0]] = taken.application
        if lost is not None:
            await asyncio.to_thread(lost.stop)  # it was taken away, and never given back
        return taken.lease

    def check(self, lease: Lease) -> bool:
        """Say without asking anybody whether a chain is surely held still."""
        return self._held(lease).is_sure()

    async def renew(self, lease: Lease) -> Lease:
        """Move the deadline; a thread does it by itself every quarter of the ttl."""
        return await self._portal.run(self._held(lease).renew())

    async def release(self, lease: Lease, *, log: LogEnd | None = None) -> None:
        """Write what is queued and give the chain back; raise what went wrong with a write that nobody awaited."""
        ending = None if log is None else _ending(check_log_end(lease.unit, log))
        grip = self._grips.get(lease.unit)
        if grip is None or grip.lease.token != lease.token:
            if ending is not None:
                with contextlib.suppress(AlchemyError):
                    await self._ask(write_ending, self.backend, lease.unit, ending)
            return
        del self._grips[lease.unit]
        self._taken.pop(lease.unit, None)
        try:
            await grip.committer.flush()
        finally:
            await asyncio.to_thread(grip.stop)
            await self._give_up(grip.lease, ending)

    async def _give_up(self, lease: Lease, log: Ending | None) -> None:
        """Release with the log; when that is refused, each by itself: neither may be lost with the other."""
        try:
            await self._ask(self.backend.release, lease, log)
        except AlchemyError as error:
            if log is None:
                raise
            with contextlib.suppress(AlchemyError):
                await self._once(write_ending, self.backend, lease.unit, log)
            try:
                await self._once(self.backend.release, lease)
            except AlchemyError:
                raise error from None

    async def locks(self) -> Sequence[Lease]:
        """List the leases that are held now."""
        return sorted(await self._ask(self.backend.locks), key=lambda lease: lease.unit)

    async def break_(self, chain: str) -> None:
        """Take a chain from its holder."""
        why = f": its lock was broken by {owner_of('unlock')}, at {now()}"
        await self._ask(self.backend.break_, check_chain(chain), why=why)

    async def load(self, unit: str, *, lease: Lease | None = None) -> Snapshot:
        """Read a unit; with its lease, after what is queued."""
        check_unit(unit)
        taken: Taken | None = None
        if lease is not None:
            grip = self._held(lease)
            if lease.unit == unit:  # what came with another lease, that was lost, may be old
                taken = self._taken.pop(unit, None)
            await grip.committer.flush()
        rows = taken.rows if taken is not None else None
        if rows is None:
            rows = await self._ask(self.backend.load, unit, lease=lease)
        warnings, self._warnings = (self._warnings, []) if lease is not None else ([], self._warnings)
        logs = None if taken is None or taken.logs is None else sorted(taken.logs)
        return Snapshot(records=self._decode(rows), notices=warnings, logs=logs)

    async def salvage(self, lease: Lease) -> str | None:
        """Put aside what is damaged; give the name it is kept under, next to the backups."""
        unit, grip = check_unit(lease.unit), self._held(lease)
        await grip.committer.flush()
        rows = await self._ask(self.backend.load, unit, lease=lease)
        records, damaged = readable(rows, self._place)
        if not damaged:
            return None
        name, content = aside_of(rows)
        await self._ask(self.backend.save, lease, unit, "aside", name, content)
        verify = [unsure(record) for record in records.values() if not record.is_scope]
        await self.set(lease, *verify, drop=sorted(damaged))
        return f"{self.url}, {unit}, aside/{name}"

    async def list(self, chain: str) -> Sequence[str]:
        """List the ids of the resources directly in a scope."""
        return resources_in(await self.all(chain), chain)

    async def list_scopes(self, chain: str) -> Sequence[str]:
        """List the chains directly below `chain`."""
        if not chain:
            return sorted(await self._ask(self.backend.applications))
        if is_unit(unit_of(chain)):
            return scopes_in(await self.all(chain), chain)
        return sorted(await self._units(chain))

    async def count(self, chain: str) -> int:
        """Count the resources in a scope and below it."""
        records = await self.all(chain)
        return count_in(records, chain) if chain else sum(not record.is_scope for record in records.values())

    async def get(self, fqn: str) -> Record | None:
        """Read one record."""
        return (await self.get_batch([fqn])).get(fqn)

    async def get_batch(self, fqns: Sequence[str]) -> Mapping[str, Record]:
        """Read several records."""
        found: dict[str, bytes] = {}
        for unit in dict.fromkeys(unit_of(fqn) for fqn in fqns if is_unit(unit_of(fqn))):
            wanted = [fqn for fqn in fqns if unit_of(fqn) == unit]
            found |= await self._ask(self.backend.read, unit, wanted)
        return self._decode({fqn: found[fqn] for fqn in fqns if fqn in found})

    async def all(self, chain: str) -> Mapping[str, Record]:
        """Read every record of a scope and below it."""
        units = [unit_of(chain)] if is_unit(unit_of(chain)) else await self._units(chain)
        found: dict[str, Record] = {}
        for unit in units:
            found |= self._decode(await self._ask(self.backend.load, unit))
        return all_in(found, chain) if chain else found

    async def fold(self, lease: Lease) -> None:
        """Do what makes the next load quick."""
        grip = self._held(lease)
        await grip.committer.flush()
        for unit in [*grip.written] or ([lease.unit] if is_unit(lease.unit) else []):
            await self._ask(self.backend.fold, lease, unit)
        grip.written.clear()

    async def backups(self, unit: str) -> Sequence[str]:
        """List the names of a unit's backups, oldest first."""
        return await self._names(unit, "backups")

    async def read_backup(self, unit: str, name: str) -> bytes:
        """Read a backup whole."""
        return await self._fetch(unit, "backups", check_backup_name(name))

    async def drop_backups(self, unit: str, *names: str) -> None:
        """Remove backups."""
        checked = [check_backup_name(name) for name in names]
        if checked:
            await self._ask(self.backend.discard, check_unit(unit), "backups", checked)

    async def append_log(self, unit: str, name: str, lines: bytes) -> None:
        """Add lines to a run's log."""
        await self._ask(self.backend.append, check_unit(unit), check_log_name(name), _part(), lines)

    async def logs(self, unit: str) -> Sequence[str]:
        """List the names of a unit's logs, oldest first."""
        return await self._names(unit, "logs")

    async def read_log(self, unit: str, name: str) -> bytes:
        """Read a log whole."""
        return await self._fetch(unit, "logs", check_log_name(name))

    async def drop_logs(self, unit: str, *names: str) -> None:
        """Remove logs."""
        checked = [check_log_name(name) for name in names]
        if checked:
            await self._ask(self.backend.discard, check_unit(unit), "logs", checked)

    async def problems(self, chain: str) -> Sequence[Problem]:
        """Find everything wrong with what is stored at a chain and below it."""
        found: builtins.list[Problem] = []
        for unit in [unit_of(chain)] if is_unit(unit_of(chain)) else await self._units(chain):
            rows = await self._ask(self.backend.load, unit)
            backups = {name: await self._fetch(unit, "backups", name) for name in await self.backups(unit)}
            found += find_problems(unit, rows, backups, self._place)
        return [problem for problem in found if not chain or problem.fqn is None or is_within(problem.fqn, chain)]

    def _held(self, lease: Lease) -> Grip:
        grip = self._grips.get(lease.unit)
        if grip is None or grip.lease.token != lease.token:
            raise not_held(lease)
        return grip

    def _add(self, lease: Lease, change: Change) -> Ack:
        self._taken.pop(lease.unit, None)  # what came with the lease is no longer all there is
        try:
            return self._held(lease).committer.add(change)
        except StateError as error:
            group = Group()
            group.settle(error)
            return Ack(group, None)

    async def _ask(self, ask: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._portal.run(persist(partial(ask, *args, **kwargs), patience=self._patience))

    async def _once(self, ask: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask without patience: it was had already."""
        return await self._portal.run(persist(partial(ask, *args, **kwargs), patience=0))

    async def _take(self, chain: str, owner: Owner, ttl: float) -> Taken | Blocked:
        nonce = secrets.token_hex(8)
        attempt = self._portal.submit(
            persist(lambda: self.backend.take(chain, owner=owner, ttl=ttl, nonce=nonce), patience=self._patience)
        )
        try:
            return await asyncio.shield(asyncio.wrap_future(attempt))
        except asyncio.CancelledError:
            attempt.add_done_callback(self._give_back)  # it may succeed all the same
            raise

    def _give_back(self, attempt: Future[Taken | Blocked]) -> None:
        if not attempt.cancelled() and attempt.exception() is None:
            taken = attempt.result()
            if isinstance(taken, Taken):
                self._portal.submit(persist(lambda: self.backend.release(taken.lease), patience=self._patience))

    async def _units(self, chain: str) -> builtins.list[str]:
        """List the units at a chain above them, and below it."""
        apps = [chain.partition("/")[0]] if chain else await self._ask(self.backend.applications)
        found = [unit for app in apps for unit in await self._ask(self.backend.units, app)]
        return [unit for unit in found if not chain or is_within(unit, chain)]

    async def _names(self, unit: str, kind: BlobKind) -> Sequence[str]:
        return sorted(await self._ask(self.backend.names, check_unit(unit), kind))

    async def _fetch(self, unit: str, kind: BlobKind, name: str) -> bytes:
        content = await self._ask(self.backend.fetch, check_unit(unit), kind, name)
        if content is None:
            raise no_such(f"{unit} has no {kind.removesuffix('s')}", name, await self._names(unit, kind))
        return content

    def _application(self, app: str, row: bytes) -> Application:
        try:
            return msgspec.json.decode(row, type=Application)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            where = f"{self.url}, the application {app}"
            raise StateDamaged(f"{where} is no application's record: {error}", path=where) from error

    def _decode(self, rows: Mapping[str, bytes]) -> dict[str, Record]:
        return {fqn: read_row(fqn, row, where=self._place(fqn)) for fqn, row in rows.items()}

    def _place(self, fqn: str) -> str:
        return f"{self.url}, {fqn}"


def _part() -> str:
    """Give the name of a part of a log: later ones come later, and two are never alike."""
    return f"{time.time_ns():020d}-{secrets.token_hex(4)}"


def _ending(log: LogEnd) -> Ending:
    return Ending(log.name, _part(), log.lines, log.drop)
