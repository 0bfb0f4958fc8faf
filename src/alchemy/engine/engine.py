"""What a scope hands its declarations to: decides what may start, and keeps scopes' records."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from alchemy.engine.apply import Applier
from alchemy.engine.composing import compose
from alchemy.engine.cycles import check_cycle
from alchemy.engine.moves import move
from alchemy.engine.run import Destroyed, Run, Stopped
from alchemy.engine.scopedata import ScopeData
from alchemy.engine.session import Session
from alchemy.engine.sweeping import doomed_of
from alchemy.engine.teardown import Destroyer
from alchemy.engine.values import Codec
from alchemy.engine.work import Work, begin, finish_unchanged, is_unchanged, record_to_outputs, report
from alchemy.errors import AlchemyError, DeclarationError, LeaseLost, NotStarted, ResourceFailed
from alchemy.events import Outcome, ScopeEntered, ScopeLeft
from alchemy.finalizing import Finalize
from alchemy.names import Naming, parent
from alchemy.nursery import Latch
from alchemy.order import keeps_seq
from alchemy.resource import Declared, Resource
from alchemy.scope import Scope
from alchemy.state import Record

ROUNDS = 10
"""How many turns of the event loop the program gets to deal with a failure before others may go on."""

OpenSession = Callable[[Scope], Any]


class Engine:
    """The `Runner` of every scope of one run."""

    def __init__(self, run: Run, open_session: OpenSession) -> None:
        self.run = run
        self.ready = Latch()
        self._open_session = open_session
        self._queue: list[Declared | Scope] = []
        self._refusal: BaseException | None = None
        self._refused: dict[str, DeclarationError] = {}
        self._failed = False
        self.root: Scope | None = None

    # Opening

    def opened(self, root: Scope) -> None:
        """Start what was declared while the unit was being leased and loaded."""
        self.root = root
        run = self.run
        for record, _ in run.all_records().values():
            run.clock.advance(max(record.seq, record.seen or 0))
        run.opened = True
        queue, self._queue = self._queue, []
        for item in queue:
            if isinstance(item, Scope):
                try:
                    self.enter(item)
                except DeclarationError as error:
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
        if scope.settings.state_store is not scope.parent.settings.state_store and self.run.phase != "destroy":
            self.run.sessions[scope.chain] = await self._open_session(scope)
            self._advance(self.run.sessions[scope.chain])

    def _advance(self, session: Session) -> None:
        for record in session.records.values():
            self.run.clock.advance(max(record.seq, record.seen or 0))

    # Declarations

    def declare(self, declared: Declared) -> None:
        """Start a resource, or skip it at once when nothing has to be waited for."""
        if not self.run.opened:
            self._queue.append(declared)
            return
        run = self.run
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
        self._place(declared)
        work = None
        if self._can_skip_now(declared):
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
        self.run.finished(work.declared.fqn, work.declared.kind, "unchanged", None, 0.0)
        work.declared.latch.set()

    def _check_target(self, work: Work) -> None:
        """Refuse to call it unchanged when it lives elsewhere, as far as that can be known without a call."""
        record = work.known
        if record.target and record.provider:
            provider = self.run.provider(record.provider, fqn=record.fqn)
            configured = getattr(provider, "configured_target", None)
            if configured is not None:
                self.run.check_target(record.target, configured(), record.fqn)

    def _place(self, declared: Declared) -> None:
        """Give it its ticks: those it had, if they still say what this run observed."""
        run = self.run
        record = run.session_for(declared.scope.chain).get(declared.fqn)
        before = [dep.seq for dep in declared.deps]
        declared.seq, declared.seen = self._ticks(record, declared.scope, before)
        _newer(declared.scope, declared.seq)

    def _ticks(self, record: Record | None, scope: Scope, before: list[int]) -> tuple[int, int | None]:
        observed = self.run.observed.get()
        holder = self._holder_seq(scope)
        if record is not None and keeps_seq(record.seq, observed=observed, deps=(*before, holder)):
            return record.seq, record.seen if record.seen and record.seen > record.seq else None
        return self.run.clock.tick(), None

    def _holder_seq(self, scope: Scope) -> int:
        record = self.run.session_for(parent(scope.chain)).get(scope.chain)
        return record.seq if record is not None and scope.chain != self.run.unit else 0

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
            if is_unchanged(work):
                self._check_target(work)
                finish_unchanged(work)
            elif work.provider_name:
                provider = run.provider(work.provider_name, fqn=declared.fqn)
                async with run.limit, run.slot(provider):
                    await self._gate(declared)
                    applier = Applier(work, provider)
                    outcome = await applier.apply()
            if _is_composite(declared.resource):
                outcome = await compose(self, work, outcome)
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
            if not self._failed:
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
        run = self.run
        if run.phase != "up" or declared.scope.root.closed:
            return
        newest = declared.inner.newest if declared.inner else 0
        if declared.seen is None or declared.seen <= max(declared.seq, newest):
            declared.seen = run.clock.tick()
        session = run.session_for(declared.scope.chain)
        record = session.get(declared.fqn)
        if record is not None and record.seen != declared.seen:
            session.put(msgspec.structs.replace(record, seen=declared.seen))
        run.observed.observe(declared.seen)

    def note_failure(self) -> None:
        """From now on nothing begins before the program has had its say."""
        self._failed = True

    def stop(self) -> None:
        """Start nothing new from now on."""
        self.run.stopping = True

    # Nested scopes

    def enter(self, scope: Scope) -> None:
        """Give a nested scope its record and its place."""
        run = self.run
        if not run.opened:
            self._queue.append(scope)
            return
        run.emit(ScopeEntered(fqn=scope.chain))
        if scope.parent is not None and scope.settings.password != scope.parent.settings.password:
            run.scope_settings[scope.chain] = scope.settings
        if run.phase != "up":
            return
        assert scope.parent is not None
        session = run.session_for(scope.parent.chain)
        record = session.get(scope.chain)
        if record is not None and not record.is_scope:
            raise DeclarationError(
                f"the scope {scope.chain} cannot be opened: state holds a resource of that name",
                hint="give it another name, or deploy once without the resource",
            )
        seq, seen = self._ticks(record, scope.parent, [])
        store = _store_url(scope)
        if record is None or record.seq != seq or record.props.get("state_store") != store:
            props = {"state_store": store} if store else {}
            record = record or run.scope_record(scope)
            session.put(msgspec.structs.replace(record, seq=seq, seen=seen, props=props))
        _newer(scope, seq)

    def leave(self, scope: Scope) -> None:
        """Take note that a nested scope was left: what is declared next may depend on all of it."""
        run = self.run
        if not scope.left:
            scope.left = True
            run.emit(ScopeLeft(fqn=scope.chain, ok=not scope.has_failed))
        if run.phase != "up":
            return
        assert scope.parent is not None
        session = run.session_for(scope.parent.chain)
        record = session.get(scope.chain)
        if record is None:
            return
        seen = record.seen
        if seen is None or seen <= scope.newest:
            seen = run.clock.tick()
            session.put(msgspec.structs.replace(record, seen=seen))
        run.observed.observe(seen)

    async def finalize(self, scope: Scope, options: Finalize) -> list[str]:
        """Destroy what is in state below `scope` and was not declared; everything, if the options say so."""
        await self._until_open()
        return await self.sweep(scope, options) if self.run.phase != "read" else []

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


def _newer(scope: Scope | None, seq: int) -> None:
    while scope is not None and scope.newest < seq:
        scope.newest = seq
        scope = scope.parent


def _store_url(scope: Scope) -> str | None:
    """Give the URL of a scope's own store, if it has one."""
    assert scope.parent is not None
    store = scope.settings.state_store
    if store is scope.parent.settings.state_store or store is None:
        return None
    return store if isinstance(store, str) else store.url
