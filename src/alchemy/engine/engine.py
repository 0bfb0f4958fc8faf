"""What a scope hands its declarations to: decides what may start, and keeps scopes' records."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from alchemy.declared import Declared
from alchemy.engine.apply import Applier
from alchemy.engine.composing import compose
from alchemy.engine.cycles import check_cycle
from alchemy.engine.leaving import orphans_of, take_back
from alchemy.engine.moves import move
from alchemy.engine.placing import Places
from alchemy.engine.rebuilding import Rebuilder
from alchemy.engine.run import Destroyed, Run, Stopped
from alchemy.engine.scopedata import ScopeData
from alchemy.engine.session import Session
from alchemy.engine.sweeping import doomed_of
from alchemy.engine.teardown import Destroyer
from alchemy.engine.values import Codec
from alchemy.engine.work import Work, begin, finish_unchanged, is_unchanged, record_to_outputs, report
from alchemy.errors import AlchemyError, DeclarationError, LeaseLost, NotStarted, ResourceFailed
from alchemy.events import Outcome
from alchemy.finalizing import Finalize
from alchemy.names import Naming
from alchemy.nursery import Latch
from alchemy.resource import Resource
from alchemy.scope import Scope
from alchemy.state import Record

ROUNDS = 10
"""How many turns of the event loop the program gets to deal with a failure before others may go on."""

OpenSession = Callable[[Scope], Any]


class Engine:
    """The `Runner` of every scope of one run."""

    def __init__(self, run: Run, open_session: OpenSession) -> None:
        self.run = run
        self.places = Places(run)
        self.ready = Latch()
        self._open_session = open_session
        self._queue: list[Declared | Scope] = []
        self._refusal: BaseException | None = None
        self._refused: dict[str, AlchemyError] = {}
        self._failed = False
        self.root: Scope | None = None

    # Opening

    def opened(self, root: Scope) -> None:
        """Start what was declared while the unit was being leased and loaded."""
        self.root = root
        run = self.run
        for record, _ in run.all_records().values():
            run.clock.advance(record.newest_tick)
        run.epoch = run.clock.tick()
        run.orphans = orphans_of(run.session.get(run.unit))
        run.opened = True
        self.places.keep_options(root)
        queue, self._queue = self._queue, []
        for item in queue:
            if isinstance(item, Scope):
                try:
                    self.enter(item)
                except AlchemyError as error:
                    self._refused[item.chain] = error  # raised by `open`, which all who enter a scope await
            else:
                self.declare(item)
        self.ready.set()

    def refuse(self, error: BaseException) -> None:
        """The unit could not be opened: fail what waits for it."""
        self._refusal = error
        self.run.stopping = True
        for item in self._queue:
            if not isinstance(item, Scope):
                item.error = error
                item.latch.set()
        self._queue.clear()
        self.ready.set()

    async def _until_open(self) -> None:
        await self.ready.wait()
        if self._refusal is not None:
            raise self._refusal

    async def open(self, scope: Scope) -> None:
        """Make a nested scope's own store ready, when it has one."""
        await self._until_open()
        refused = self._refused.pop(scope.chain, None)
        if refused is not None:
            raise refused
        assert scope.parent is not None
        has_store = scope.settings.state_store is not scope.parent.settings.state_store
        if (has_store or scope.chain in self.run.sessions) and self.run.phase != "destroy":
            session = self.run.sessions[scope.chain] = await self._open_session(scope)
            self.places.opened(session)

    # Declarations

    def declare(self, declared: Declared) -> None:
        """Start a resource, or skip it at once when nothing has to be waited for."""
        if not self.run.opened:
            self._queue.append(declared)
            return
        run = self.run
        run.declared.add(declared.fqn)
        if run.phase == "destroy":
            declared.error = Destroyed()
            declared.latch.set()
            return
        if run.phase == "read":
            self._read(declared)
            return
        if declared.options.aliases:
            try:
                move(run, declared)
            except AlchemyError as error:  # such as a password that does not open its secrets
                declared.fail(report(run, declared, error, None, time.monotonic()))
                return
        self.places.place(declared)
        work = None
        if not run.rebuilds and self._can_skip_now(declared):
            try:
                work = begin(run, declared)
                if is_unchanged(work):
                    self._check_target(work)
                    self._skip(work)
                    return
            except Exception:
                work = None  # it is raised again, and reported, where all failures are
        declared.scope.nursery.start(self._bring(declared, work))

    def _can_skip_now(self, declared: Declared) -> bool:
        return (
            not self.run.stopping
            and not self._failed
            and not declared.secretive
            and not _is_composite(declared.resource)
            and all(dep.latch.done and dep.error is None for dep in declared.deps)
        )

    def _skip(self, work: Work) -> None:
        finish_unchanged(work)
        self.places.confirm(work.declared)
        self.run.finished(work.declared.fqn, work.declared.kind, "unchanged", None, 0.0)
        work.declared.latch.set()

    def _check_target(self, work: Work) -> None:
        """Refuse to call it unchanged when it lives elsewhere, as far as that can be known without a call."""
        record = work.known
        if record.target and record.provider:
            provider = self.run.provider(record.provider, fqn=record.fqn)
            configured = getattr(provider, "configured_target", None)
            if configured is not None:
                self.run.targets.check(provider, record.target, configured(), record.fqn)

    def _read(self, declared: Declared) -> None:
        session = self.run.session_for(declared.scope.chain)
        record = session.get(declared.fqn)
        if record is None or not (record.is_stable or record.output):
            state = "not in state" if record is None else f"{record.status} in state"
            error = ResourceFailed(
                f"{declared.fqn} is {state}, and this run only reads",
                fqn=declared.fqn,
                action="read",
                hint="deploy first: alchemy deploy",
            )
            self.run.finished(declared.fqn, declared.kind, "failed", None, 0.0, error=str(error))
            declared.fail(error)
            return
        work = _reading(self.run, declared, session, record)
        record_to_outputs(work, record)
        self.run.finished(declared.fqn, declared.kind, "read", None, 0.0)
        declared.latch.set()

    async def _bring(self, declared: Declared, work: Work | None) -> None:
        """Bring a resource to where the program wants it; every way it can end is recorded in `declared`."""
        run, began = self.run, time.monotonic()
        applier: Applier | None = None
        try:
            await self._dependencies(declared)
            await self._gate(declared)
            await self._derive_key(declared)
            work = work or begin(run, declared)
            outcome: Outcome = "unchanged"
            if is_unchanged(work) and not (run.rebuilds and work.provider_name):
                self._check_target(work)
                finish_unchanged(work)
            elif work.provider_name:
                provider = run.provider(work.provider_name, fqn=declared.fqn)
                async with run.limit, run.slot(provider):
                    await self._gate(declared)
                    if run.rebuilds:
                        applier = rebuilder = Rebuilder(work, provider)
                        outcome = await rebuilder.rebuild()
                    else:
                        applier = Applier(work, provider)
                        outcome = await applier.apply()
            if _is_composite(declared.resource):
                outcome = await compose(self, work, outcome)
            self.places.confirm(declared)
            action = applier.action if applier else ("create" if outcome == "created" else None)
            run.finished(declared.fqn, declared.kind, outcome, action, applier.began if applier else began)
        except (Stopped, NotStarted) as signal:
            declared.fail(signal)
        except asyncio.CancelledError as error:
            declared.fail(error)
        except LeaseLost as error:
            run.lose(error)
            declared.fail(Stopped())
        except BaseException as error:
            action = applier.action if applier else None
            failure = report(run, declared, error, action, applier.began if applier else began)
            declared.fail(failure)
        else:
            declared.latch.set()

    async def _derive_key(self, declared: Declared) -> None:
        if declared.secretive:
            cipher = self.run.cipher(declared.scope.settings, declared.scope.chain)
            if cipher is not None:
                await asyncio.wrap_future(cipher.start_deriving())

    async def _dependencies(self, declared: Declared) -> None:
        for dependency in declared.deps:
            if not dependency.latch.done:
                check_cycle(declared, dependency)
                await dependency.latch.wait()
            if dependency.error is not None:
                raise _not_started(declared, dependency.error, f"{dependency.fqn}, which it needs, failed")

    async def _gate(self, declared: Declared) -> None:
        """Let it begin, unless the run is being stopped or something failed that the program has not dealt with."""
        for _ in range(ROUNDS):
            self._refuse_if_closing(declared)
            if not self._failed or self.run.rebuilds:  # what is missing keeps nobody from being read
                return
            await asyncio.sleep(0)
        self._refuse_if_closing(declared)
        unseen = self.root.unseen_failure if self.root else None
        if unseen is not None:
            raise _not_started(declared, unseen, "something else failed")

    def _refuse_if_closing(self, declared: Declared) -> None:
        if self.run.stopping:
            raise Stopped
        scope: Scope | None = declared.scope
        while scope is not None:
            if scope.closing:
                unseen = self.root.unseen_failure if self.root else None
                raise _not_started(declared, unseen, f"{scope.chain} was left by an error")
            scope = scope.parent

    # Persisted data

    async def data(self, scope: Scope) -> Mapping[str, Any]:
        """Give a scope's persisted data."""
        await self._until_open()
        return ScopeData(self.run, scope).values()

    async def set_data(self, scope: Scope, key: str, value: Any) -> None:
        """Persist one value."""
        await self._until_writable(scope)
        await ScopeData(self.run, scope).set(key, value)

    async def delete_data(self, scope: Scope, key: str) -> None:
        """Forget one value."""
        await self._until_writable(scope)
        await ScopeData(self.run, scope).delete(key)

    async def _until_writable(self, scope: Scope) -> None:
        await self._until_open()
        if self.run.phase == "read":
            raise DeclarationError(f"{scope.chain} keeps nothing: this run only reads", hint="deploy: alchemy deploy")

    # What happens to what was declared

    def observe(self, declared: Declared) -> None:
        """Take note that the program's `await` on a resource returned."""
        self.places.observe(declared)

    def note_failure(self) -> None:
        """From now on nothing begins before the program has had its say."""
        self._failed = True

    def stop(self) -> None:
        """Start nothing new from now on."""
        self.run.stopping = True

    # Nested scopes

    def enter(self, scope: Scope) -> None:
        """Give a nested scope its record and its place."""
        if not self.run.opened:
            self._queue.append(scope)
        else:
            self.places.enter(scope)

    def leave(self, scope: Scope) -> None:
        """Take note that a nested scope was left: what is declared next may depend on all of it."""
        if self.run.opened:  # else the unit was refused, and nothing was entered
            self.places.leave(scope)

    async def finalize(self, scope: Scope, options: Finalize) -> list[str]:
        """Destroy what is in state below `scope` and was not declared; everything, if the options say so."""
        await self._until_open()
        self.run.check_read(scope.chain)
        return await self.sweep(scope, options) if self.run.phase != "read" and not self.run.rebuilds else []

    async def take_back(self, scope: Scope) -> list[Exception]:
        """Destroy what was created in a scope in this run; give what could not be destroyed."""
        if self.run.phase != "up" or self.run.stopping or self.run.rebuilds or not self.run.opened:
            return []
        return await take_back(self.run, scope)

    async def sweep(self, scope: Scope, options: Finalize) -> list[str]:
        """Do what `finalize` does, also before the unit is open for declarations."""
        doomed = doomed_of(self.run, scope, options)
        destroyer = Destroyer(self.run, scope.nursery, options)
        if options.dry_run:
            return destroyer.plan(doomed)
        if doomed:
            await destroyer.destroy(doomed)
        return destroyer.destroyed

    def physical_name(self, fqn: str, kind: str, naming: Naming) -> str:
        """Compute a name."""
        if not self.run.lineage:
            raise DeclarationError("the application is not open yet", hint="enter it with `async with`, or await it")
        return self.run.name_for(naming, fqn=fqn, kind=kind, generation=1)


def _is_composite(resource: Resource) -> bool:
    return type(resource).declare is not Resource.declare


def _reading(run: Run, declared: Declared, session: Session, record: Record) -> Work:
    settings, chain = declared.scope.settings, declared.scope.chain
    codec = Codec(lambda: run.cipher(settings, chain), declared.fqn)
    return Work(run=run, declared=declared, session=session, codec=codec, provider_name="", props={}, record=record)


def _not_started(declared: Declared, cause: BaseException | None, why: str) -> NotStarted:
    while isinstance(cause, NotStarted) and cause.__cause__ is not None:
        cause = cause.__cause__
    error = NotStarted(f"{declared.fqn} was not started: {why}", fqn=declared.fqn, action="create")
    error.__cause__ = cause
    return error
