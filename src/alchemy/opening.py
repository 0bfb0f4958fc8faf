"""Opening and closing an application's stage or a test: lease, load, run, destroy what left, fold, unlock."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any

from alchemy import config, reports
from alchemy.closing import close
from alchemy.config import Launch, Settings
from alchemy.engine import ledger
from alchemy.engine.engine import Engine
from alchemy.engine.leaving import finish_deletes, note_orphans
from alchemy.engine.run import Destroyed, Run
from alchemy.errors import AlchemyError, StateError
from alchemy.events import Bus, Notice
from alchemy.finalizing import Finalize, kept_options
from alchemy.holdings import Holdings
from alchemy.names import RESERVED_STAGE
from alchemy.nested import AsyncOnly
from alchemy.owner import owner_of
from alchemy.remedies import what_is_gone
from alchemy.runlog import RunLog
from alchemy.scope import Scope, get_current, set_current
from alchemy.state import Record
from alchemy.waiting import place_options


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
            self.opening.note_orphans()
            await self.opening.settle_places()
        except BaseException as error:
            self.opening.note_orphans()
            await self.opening.close(ok=False, error=error)
            self.opening.raise_lost(error)
            raise
        await self.opening.close(ok=not self.has_failed)
        return destroyed

    async def settle(self, error: BaseException | None) -> None:
        """Wait for everything started here; when something failed, close without destroying anything."""
        try:
            await super().settle(error)
        except BaseException as raised:
            if error is None:
                self.opening.note_orphans()
            await self.take_back(raised)
            await self.opening.close(ok=False, error=raised)
            self.opening.raise_lost(raised)
            raise


class Opening(AsyncOnly):
    """What `alchemy("app")` gives: it has begun; enter it with `async with`, or await it and finalize yourself.

    Args:
        given: the options that were said in code.
    """

    def __init__(
        self,
        *,
        app: str,
        unit: str,
        settings: Settings,
        kind: str,
        launch: Launch,
        given: Mapping[str, Any] | None = None,
        cleans_up: bool = False,
    ) -> None:
        self.cleans_up = cleans_up
        self._launch = launch
        self._bus = Bus(launch.listeners)
        self._owner = owner_of(launch.operation)
        self.run = Run(app=app, unit=unit, settings=settings, bus=self._bus, halt=launch.halt)
        self.run.rebuilds = launch.rebuild and self.run.phase == "up" and kind == "stage"
        self._holdings = Holdings(self.run, launch, self._owner, backs_up=not self.cleans_up)
        self.engine = Engine(self.run, self._holdings.open_nested)
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
        self.scope.given = given or {}
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
            self._error = error = self.run.lost or error
            try:
                await self._give_up(error)
            finally:
                self.engine.refuse(error)  # whatever happens, whoever waits must hear of it
        else:
            self._may_cancel = False
            self.engine.opened(self.scope)

    async def _give_up(self, error: BaseException) -> None:
        """The unit could not be opened: let go of what was taken, and say so in the log if one was begun."""
        log = self._log if not self.scope.closed else None
        self.scope.closed = True
        self.scope.nursery.release()
        if log is not None:
            await close(self.run, self._holdings, log, ok=False, exports={}, error=error)
        else:
            for step in (self._holdings.fold, self._holdings.release):
                with contextlib.suppress(AlchemyError, OSError):
                    await step()
        with contextlib.suppress(Exception):  # what went wrong first is raised
            await self._holdings.let_go()

    async def _open_unit(self) -> None:
        run = self.run
        await self._holdings.open_unit()
        gone: str | None = None
        own = run.session.get(run.unit)
        if run.phase == "destroy" and own is not None:
            run.settings = run.settings.over(kept_options(own.props))
        if run.phase == "up" and own is None:
            run.session.unwritten = run.scope_record(self.scope)
            if self.scope.kind == "stage":
                store = run.session.store
                gone = await what_is_gone(store, run.unit, place_options(store, run.settings, self._launch))
        if run.phase != "read" and self.scope.kind == "stage":
            self._log = RunLog(run.session.store, run.unit, self.scope.nursery, names_only=self._holdings.seals)
            self._bus.listen(self._log)
        self._derive_early(run.session.records)
        run.emit(reports.started(run, self._launch, self._owner))
        if gone is not None:
            run.warn(gone)
        await self._holdings.start_over(self.scope)
        await self._holdings.reopen()
        if run.phase == "up" and not run.rebuilds and not self.cleans_up:
            self._may_cancel = False
            await finish_deletes(run, self.scope)
            self._may_cancel = True
        if run.phase == "destroy":
            await self._destroy_all()

    def _derive_early(self, records: dict[str, Record]) -> None:
        """Begin to derive the key while the program is still declaring, when state holds secrets already."""
        settings, unit = self.run.settings, self.run.unit
        record = records.get(unit)
        if settings.password is not None and record is not None and unit in record.output.get("salts", {}):
            cipher = self.run.cipher(settings, unit)
            if cipher is not None:
                cipher.start_deriving()

    # Closing

    async def _destroy_all(self) -> None:
        options = Finalize(self.run.settings, everything=True)
        self._may_cancel = False
        try:
            await self.engine.sweep(self.scope, options)
            await self._drop_unit()
        except BaseException as error:
            await self.close(ok=False, error=error)
            raise
        await self.close(ok=True)
        self.scope.signal = Destroyed()

    async def _drop_unit(self) -> None:
        """Forget the unit's own record, when nothing is left in it, nor in the ledger that it keeps."""
        session = self.run.session
        session.unwritten = None
        if session.records.keys() == {self.run.unit}:
            left = ledger.forgotten(session.get(self.run.unit))
            if left:
                self.run.warn(
                    f"a reset has forgotten {', '.join(left)}: their objects were not destroyed. To destroy them too, "
                    "deploy the program that declares them, then destroy again"
                )
                return
            await session.drop(self.run.unit)

    async def destroy(self) -> None:
        """Destroy everything of the unit and close it: how a test ends."""
        options = Finalize(self.run.settings, strategy="parallel", everything=True)
        try:
            await self.run.close_ledgers()  # by the records, while they are there
            await self.engine.finalize(self.scope, options)
            await self._drop_unit()
        except BaseException as error:
            await self.close(ok=False, error=error)
            raise
        await self.close(ok=True)

    async def close(self, *, ok: bool, error: BaseException | None = None) -> None:
        """Fold what was written, give the lease back, and say how it went. Safe to repeat.

        Args:
            error: what ended the run, if anything did.
        """
        if self.scope.closed:
            return
        self.scope.closed = True
        failure = await close(self.run, self._holdings, self._log, ok=ok, exports=self.scope.exports, error=error)
        try:
            await self._holdings.let_go()
        finally:
            self.scope.nursery.release()
        if failure is not None:
            raise self.run.lost or failure

    async def settle_places(self) -> None:
        """Forget the order of earlier programs, now that all is as this one says; not after a failure."""
        run = self.run
        if run.phase == "up" and not self.scope.has_failed and not run.rebuilds and not run.orphans:
            await self.engine.places.settle()

    def note_orphans(self) -> None:
        """Write down what has left the program and is still there; nothing, after everything was destroyed."""
        run = self.run
        if run.phase == "up" and run.lost is None and not run.rebuilds and not self.cleans_up:
            with contextlib.suppress(StateError):  # it is told by the fold
                note_orphans(run, self.scope)

    def raise_lost(self, error: BaseException) -> None:
        """Raise that somebody else has taken the unit, if so, instead of what came of it."""
        lost = self.run.lost
        if lost is not None and error is not lost:
            raise lost from None

    async def _forgotten(self) -> None:
        """The loop is being shut down and nobody finalized: keep what was done, destroy nothing, and say so."""
        if not self.scope.closed:
            halt = self._launch.halt
            if not halt.asked and not halt.failed:  # else it did not get as far as its end
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
            await self.scope.nursery.join(cancelled=True)
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
        super().__init__(cleans_up=auto_cleanup, **rest)

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
        if self.run.lost is not None:
            await self.close(ok=False)
            raise self.run.lost
        self.run.stopping = False
        try:
            await self.destroy()
        except Exception as left:
            if failure is not None:
                left.add_note(f"the test itself failed before: {failure!r}")
            raise
        if failure is not None and failure is not error:
            raise failure from None


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
