"""Opening and closing an application's stage or a test: lease, load, run, destroy what left, fold, unlock."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Generator
from dataclasses import replace
from types import TracebackType
from typing import Any

from alchemy import config, state
from alchemy.config import Launch, Settings
from alchemy.engine.engine import Engine
from alchemy.engine.run import Destroyed, Run
from alchemy.engine.session import Session
from alchemy.errors import AlchemyError, LockedError, StateError
from alchemy.events import Bus, Notice, RunFinished, RunStarted, Waiting
from alchemy.finalizing import Finalize
from alchemy.names import RESERVED_STAGE, unit_of
from alchemy.owner import owner_of
from alchemy.ports import Lease, StateStore
from alchemy.resource import Resource
from alchemy.runlog import RunLog
from alchemy.scope import Scope, get_current, set_current
from alchemy.serde import encode, masked
from alchemy.state import Application, Record


class StageScope(Scope):
    """The scope of a stage or a test: what `alchemy(...)` gives. Leaving it finalizes, folds and unlocks."""

    opening: Opening

    async def finalize(self, **options: Any) -> list[str]:
        """Do as every scope does; a test that cleans up destroys everything, also when something failed."""
        opening = self.opening
        if self.closed or options.get("dry_run") or not opening.cleans_up:
            return await super().finalize(**options)
        known = [fqn for fqn, (record, _) in opening.run.all_records().items() if not record.is_scope]
        await opening.leave(self, None)
        return known

    async def end(self, options: Finalize) -> list[str]:
        """Destroy what left the program, and close."""
        try:
            destroyed = [] if self.has_failed else await self.runner.finalize(self, options)
        except BaseException:
            await self.opening.close(ok=False)
            raise
        await self.opening.close(ok=not self.has_failed)
        return destroyed

    async def settle(self, error: BaseException | None) -> None:
        """Wait for everything started here; when something failed, close without destroying anything."""
        try:
            await super().settle(error)
        except BaseException:
            await self.opening.close(ok=False)
            raise


class Opening:
    """What `alchemy("app")` gives: it has begun; enter it with `async with`, or await it and finalize yourself."""

    cleans_up = False
    """Whether leaving it destroys everything."""

    def __init__(self, *, app: str, unit: str, settings: Settings, kind: str, launch: Launch) -> None:
        self._launch = launch
        self._bus = Bus(launch.listeners)
        self.run = Run(app=app, unit=unit, settings=settings, bus=self._bus)
        self.engine = Engine(self.run, self._open_nested)
        self._stores: list[StateStore] = []
        self._error: BaseException | None = None
        self._before = get_current()
        application = Scope(kind="app", name=app, parent=None, settings=settings, runner=self.engine)
        self.scope = StageScope(
            kind="test" if kind == "test" else "stage",
            name=unit.rpartition("/")[2],
            parent=application,
            settings=settings,
            runner=self.engine,
            chain=unit,
        )
        self.scope.opening = self
        self.scope.before = self._before
        self._log: RunLog | None = None
        set_current(self.scope)
        self._may_cancel = True
        self._task = self.scope.nursery.start(self._open())
        self.scope.nursery.keep(self._forgotten)

    # Opening

    async def _open(self) -> None:
        try:
            await self._open_unit()
        except BaseException as error:
            self._error = error
            try:
                await self._give_up()
            finally:
                self.engine.refuse(error)  # whatever happens, whoever waits must hear of it
        else:
            self._may_cancel = False
            self.engine.opened(self.scope)

    async def _give_up(self) -> None:
        """The unit could not be opened: let go of what was taken."""
        self.scope.closed = True
        self.scope.nursery.release()
        with contextlib.suppress(AlchemyError, OSError):
            await self._close_sessions()
        with contextlib.suppress(Exception):  # what went wrong first is raised
            await self._let_go()

    async def _open_unit(self) -> None:
        run = self.run
        store = self._store(run.settings)
        await store.init()
        run.lineage = (await self._application(store)).lineage
        run.sessions[run.unit] = await self._session(store, run.unit)
        if run.phase == "up" and run.session.get(run.unit) is None:
            run.session.unwritten = run.scope_record(self.scope)
        records = run.session.records
        if run.phase != "read" and self.scope.kind == "stage":
            self._log = RunLog(store, run.unit, self.scope.nursery)
            self._bus.listen(self._log)
        self._derive_early(records)
        known = sum(not record.is_scope for record in records.values())
        run.emit(RunStarted(unit=run.unit, phase=run.phase, known=known))
        await self._reopen_stores()
        if run.phase == "destroy":
            await self._destroy_all()

    async def _application(self, store: StateStore) -> Application:
        found = await store.application(self.run.app)
        if found is not None:
            if found.min_reader > state.VERSION:
                raise StateError(
                    f"the state of {self.run.app} needs form {found.min_reader}; this version reads {state.VERSION}",
                    hint="upgrade alchemy-iac",
                )
            return found
        made = Application(app=self.run.app, lineage=secrets.token_hex(16), created_at=state.now())
        if self.run.phase != "up":
            return made
        return await store.create_application(made)

    def _store(self, settings: Settings) -> StateStore:
        """Give the store that settings ask for; one per URL."""
        from alchemy.stores import open_store

        given = settings.state_store
        root = str(self._launch.root / settings.state_dir)
        store = open_store(given or root) if given is None or isinstance(given, str) else given
        for known in self._stores:
            if known.url == store.url:
                return known
        self._stores.append(store)
        return store

    async def _session(self, store: StateStore, unit: str) -> Session:
        lease: Lease | None = None
        if self.run.phase != "read":
            lease = await self._acquire(store, unit)
        try:
            snapshot = await store.load(unit, lease=lease)
        except BaseException:
            if lease is not None:
                await store.release(lease)
            raise
        for notice in snapshot.notices:
            self.run.warn(notice)
        return Session(store, unit, lease, snapshot.records)

    async def _acquire(self, store: StateStore, unit: str) -> Lease:
        owner = owner_of(self._launch.operation)
        try:
            return await store.acquire(unit, owner=owner, timeout=0)
        except LockedError as error:
            if not self.run.settings.enable_locking:
                await store.break_(unit)
                return await store.acquire(unit, owner=owner, timeout=self.run.settings.lock_timeout)
            self.run.emit(Waiting(unit=unit, owner=error.owner))
            return await store.acquire(unit, owner=owner, timeout=self.run.settings.lock_timeout)

    def _derive_early(self, records: dict[str, Record]) -> None:
        """Begin to derive the key while the program is still declaring, when state holds secrets already."""
        settings, unit = self.run.settings, self.run.unit
        record = records.get(unit)
        if settings.password is not None and record is not None and unit in record.output.get("salts", {}):
            cipher = self.run.cipher(settings, unit)
            if cipher is not None:
                cipher.start_deriving()

    async def _reopen_stores(self) -> None:
        """Open the stores of nested scopes that state knows of, so that what is in them can be destroyed."""
        run = self.run
        if run.phase == "read":
            return
        for record in list(run.session.records.values()):
            url = record.props.get("state_store") if record.is_scope else None
            if url:
                store = self._store(replace(run.settings, state_store=url))
                await store.init()
                run.sessions[record.fqn] = await self._session_once(store, record.fqn)

    async def _session_once(self, store: StateStore, chain: str) -> Session:
        """Give a session of the unit in another store; scopes that share a store share its session."""
        for session in self.run.sessions.values():
            if session.store is store:
                return session
        return await self._session(store, unit_of(chain))

    async def _open_nested(self, scope: Scope) -> Session:
        known = self.run.sessions.get(scope.chain)
        if known is not None:
            return known
        store = self._store(scope.settings)
        await store.init()
        return await self._session_once(store, scope.chain)

    # Closing

    async def _destroy_all(self) -> None:
        options = Finalize(self.run.settings, everything=True)
        self._may_cancel = False
        try:
            await self.engine.sweep(self.scope, options)
            await self._drop_unit()
        except BaseException:
            await self.close(ok=False)
            raise
        await self.close(ok=True)
        self.scope.signal = Destroyed()

    async def _drop_unit(self) -> None:
        """Forget the unit's own record, when nothing is left in it."""
        session = self.run.session
        session.unwritten = None
        if session.records.keys() == {self.run.unit}:
            await session.drop(self.run.unit)

    async def destroy(self) -> None:
        """Destroy everything of the unit and close it: how a test ends."""
        options = Finalize(self.run.settings, strategy="parallel", everything=True)
        try:
            await self.engine.finalize(self.scope, options)
            await self._drop_unit()
        except BaseException:
            await self.close(ok=False)
            raise
        await self.close(ok=True)

    async def close(self, *, ok: bool) -> None:
        """Fold what was written, give the lease back, and say how it went. Safe to repeat."""
        if self.scope.closed:
            return
        self.scope.closed = True
        failure: BaseException | None = None
        try:
            await self._close_sessions()
        except BaseException as error:
            failure = error
        self._finished(ok=ok and failure is None)
        try:
            if self._log is not None:
                await self._log.flush()
            await self._let_go()
        finally:
            self.scope.nursery.release()
        if failure is not None:
            raise failure

    def _finished(self, *, ok: bool) -> None:
        run = self.run
        run.emit(
            RunFinished(
                unit=run.unit,
                phase=run.phase,
                ok=ok,
                seconds=round(time.monotonic() - run.started, 4),
                counts=dict(run.counts),
                exports=_shown(self.scope.exports),
            )
        )

    async def _close_sessions(self) -> None:
        """Fold what was written and give the leases back."""
        with contextlib.suppress(StateError):  # it is told by the fold
            await self.run.close_ledgers()
        sessions = {id(session): session for session in self.run.sessions.values()}
        await _all_of([session.close for session in sessions.values()])

    async def _let_go(self) -> None:
        """Close stores and what providers shared."""
        await _all_of([self.run.close_shared, *(store.deinit for store in self._stores)])

    async def _forgotten(self) -> None:
        """The loop is being shut down and nobody finalized: keep what was done, destroy nothing, and say so."""
        if not self.scope.closed:
            self.run.emit(
                Notice(
                    level="warning",
                    message=f"{self.run.unit} was never finalized: nothing was destroyed. "
                    "Use `async with alchemy(...)`, or `await app.finalize()` at the end",
                )
            )
            await self.close(ok=False)

    # What the program does with it

    async def _wait_ready(self) -> None:
        """Wait until it is open. When that is cut short, let what it has begun end first."""
        try:
            await self.engine.ready.wait()
        except asyncio.CancelledError:
            self.run.stopping = True
            if self._may_cancel:
                self._task.cancel()
            await self.scope.nursery.join()
            if self._error is None:
                await self.close(ok=False)  # it was open already, and nobody will leave it
            raise

    def __await__(self) -> Generator[Any, None, StageScope]:
        yield from self._wait_ready().__await__()
        if self._error is not None:
            raise self._error
        set_current(self.scope)
        if self.run.phase == "destroy":
            raise Destroyed
        return self.scope

    async def __aenter__(self) -> StageScope:
        await self._wait_ready()
        if self._error is not None:
            set_current(self._before)
            raise self._error
        set_current(self.scope)
        return self.scope

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        scope = self.scope
        try:
            if self.run.phase == "destroy":
                return isinstance(error, Destroyed)
            if scope.closed:
                return False
            await self.leave(scope, error)
        finally:
            set_current(self._before)
        return False

    async def leave(self, scope: StageScope, error: BaseException | None) -> None:
        try:
            await scope.settle(error)
        except BaseException as raised:
            if raised is error:
                return
            raise raised from None
        await scope.end(Finalize(scope.settings))


class TestOpening(Opening):
    """What `alchemy.test(...)` gives: a scope of its own that is destroyed when it is left, also after a failure."""

    __test__ = False

    def __init__(self, *, auto_cleanup: bool, **rest: Any) -> None:
        super().__init__(**rest)
        self.cleans_up = auto_cleanup

    async def _open_unit(self) -> None:
        await super()._open_unit()
        left = [record for record in self.run.session.records.values() if not record.is_scope]
        if left and self.cleans_up:
            self.run.emit(
                Notice(level="info", message=f"{self.run.unit}: destroying {len(left)} left by an interrupted test")
            )
            self._may_cancel = False
            await self.engine.sweep(self.scope, Finalize(self.run.settings, strategy="parallel", everything=True))

    async def leave(self, scope: StageScope, error: BaseException | None) -> None:
        if not self.cleans_up:
            await super().leave(scope, error)
            return
        failure: BaseException | None = None
        try:
            await Scope.settle(scope, error)
        except BaseException as raised:
            failure = raised
        self.run.stopping = False
        try:
            await self.destroy()
        except Exception as left:
            if failure is not None:
                left.add_note(f"the test itself failed before: {failure!r}")
            raise
        if failure is not None and failure is not error:
            raise failure from None


async def _all_of(closers: list[Callable[[], Awaitable[None]]]) -> None:
    """Call them all; raise the first failure when all were tried."""
    failures: list[BaseException] = []
    for close in closers:
        try:
            await close()
        except BaseException as error:
            failures.append(error)
    if failures:
        raise failures[0]


async def destroy_unit(unit: str, **options: Any) -> None:
    """Destroy everything in a stage or a test, from state alone: no program is run, and no password is needed.

    Args:
        unit: `notes/prod`, or `notes/test/<id>`.
        options: as for `alchemy(...)`.

    Raises:
        ExceptionGroup: what could not be destroyed; it is still in state.
        LockedError, StateError, TargetMismatch: nothing was destroyed.
    """
    app, _, rest = unit.partition("/")
    is_test = rest.startswith(RESERVED_STAGE + "/")
    settings = replace(config.resolve(options), phase="destroy", stage=RESERVED_STAGE if is_test else rest)
    launch = config.launch.get() or Launch(operation="destroy")
    before = get_current()
    kind = "test" if is_test else "stage"
    opening = Opening(app=app, unit=unit, settings=settings, kind=kind, launch=launch)
    try:
        async with opening:
            pass
    finally:
        set_current(before)


def _shown(values: dict[str, Any]) -> dict[str, Any]:
    """Give exported values as JSON, secrets masked."""
    shown: dict[str, Any] = {}
    for name, value in values.items():
        try:
            data = encode(value, seal=lambda _secret, _path: None, refer=_reference)
        except AlchemyError:
            data = repr(value)
        shown[name] = masked(data)
    return shown


def _reference(value: object) -> dict[str, Any] | None:
    return {"fqn": value.fqn} if isinstance(value, Resource) else None
