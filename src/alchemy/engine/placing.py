"""Give everything its place in the order of destruction: when it was declared, and when it was seen."""

from __future__ import annotations

import heapq
import math

import msgspec

from alchemy.declared import Declared
from alchemy.engine.leaving import forget_orphans
from alchemy.engine.run import Run
from alchemy.engine.session import Session
from alchemy.epochs import frontier, move, without_earlier
from alchemy.errors import DeclarationError
from alchemy.events import ScopeEntered, ScopeLeft
from alchemy.finalizing import PER_SCOPE, kept_options
from alchemy.names import parent
from alchemy.order import keeps_seq
from alchemy.scope import Scope
from alchemy.state import JsonObject, Record


class Places:
    """Keeps the ticks of one run's resources and scopes, and scopes' records."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._lowest: float = math.inf
        """The tick from which on what is brought to what the program says has to be confirmed; see `epochs`."""
        self._brought: list[tuple[int, str]] = []
        """A heap of what was brought to what the program says, and left at its place: the largest `seq` first."""

    def opened(self, session: Session) -> None:
        """Go on after the ticks of a store that was opened in the middle of the run."""
        run = self.run
        newest = max((record.newest_tick for record in session.records.values()), default=0)
        run.clock.advance(newest)
        if newest > run.epoch and self._lowest == math.inf:
            run.epoch = run.clock.tick()

    def place(self, declared: Declared) -> None:
        """Give it its ticks: those it had, if they still say what this run observed."""
        run = self.run
        record = run.session_for(declared.scope.chain).get(declared.fqn)
        before = [dep.seq for dep in declared.deps]
        declared.seq, declared.seen = self._ticks(record, declared.scope, before)
        if record is not None and record.seq != declared.seq:
            self._moves(record, declared.seq)
        _newer(declared.scope, declared.seq)
        if run.orphans and declared.fqn in run.orphans:
            forget_orphans(run)

    def _ticks(self, record: Record | None, scope: Scope, before: list[int]) -> tuple[int, int | None]:
        observed = self.run.observed.get()
        holder = self._holder_seq(scope)
        if record is not None and keeps_seq(record.seq, observed=observed, deps=(*before, holder)):
            return record.seq, record.seen if record.seen and record.seen > record.seq else None
        return self.run.clock.tick(), None

    def _holder_seq(self, scope: Scope) -> int:
        record = self.run.session_for(parent(scope.chain)).get(scope.chain)
        return record.seq if record is not None and scope.chain != self.run.unit else 0

    def _moves(self, record: Record, seq: int) -> None:
        """Take note that a record is about to be moved, and confirm what was brought and may have needed it before."""
        lowest = frontier(record, seq)
        if 0 < lowest <= self.run.epoch and lowest < self._lowest:
            self._lowest = lowest
            while self._brought and -self._brought[0][0] >= self._lowest:
                self._confirm(heapq.heappop(self._brought)[1])

    def confirm(self, declared: Declared) -> None:
        """Take note that a resource was brought to what the program says."""
        self._keep(self.run.session_for(declared.scope.chain).get(declared.fqn))

    def _keep(self, record: Record | None) -> None:
        if record is None or record.seq > self.run.epoch or self.run.phase != "up":
            return
        if record.seq >= self._lowest:
            self._confirm(record.fqn)
        else:
            heapq.heappush(self._brought, (-record.seq, record.fqn))

    def _confirm(self, fqn: str) -> None:
        session = self.run.session_for(parent(fqn))
        record, epoch = session.get(fqn), self.run.epoch
        was_moved = record is not None and record.earlier and record.earlier[-1].until == epoch
        if record is not None and record.confirmed < epoch and not was_moved:
            session.put(msgspec.structs.replace(record, confirmed=epoch))

    async def settle(self) -> None:
        """Forget the places of earlier programs: all is as this one says, and nothing else is left."""
        for session in {id(session): session for session in self.run.sessions.values()}.values():
            left = [record for each in session.records.values() if (record := without_earlier(each)) is not None]
            if left:
                await session.put_all(left)

    def _see(self, session: Session, record: Record, seen: int) -> None:
        if record.seen is not None:
            self._moves(record, record.seq)
        record = msgspec.structs.replace(record)
        move(record, self.run.epoch, seq=record.seq, seen=seen, deps=record.deps)
        session.put(record)

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
            self._see(session, record, declared.seen)
        run.observed.observe(declared.seen)

    def enter(self, scope: Scope) -> None:
        """Give a nested scope its record and its place."""
        run = self.run
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
        self._check_store(scope)
        seq, seen = self._ticks(record, scope.parent, [])
        props = self._props(scope)
        if record is None or record.seq != seq or record.props != props:
            if record is None:
                run.begun.add(scope.chain)
                record = run.scope_record(scope)
            elif record.seq != seq:
                self._moves(record, seq)
            record = msgspec.structs.replace(record, props=props)
            move(record, run.epoch, seq=seq, seen=seen, deps=record.deps)
            session.put(record)
        _newer(scope, seq)
        if run.orphans and scope.chain in run.orphans:
            forget_orphans(run)

    def keep_options(self, root: Scope) -> None:
        """Let the unit's own record say what the program said of destroying; a new one is written with all the rest."""
        session = self.run.session
        own, kept = session.get(root.chain), kept_options(root.given)
        if self.run.phase != "up" or own is None or kept_options(own.props) == kept:
            return
        if own is session.unwritten:
            own.props = kept
        else:
            session.put(msgspec.structs.replace(own, props=kept))

    def _check_store(self, scope: Scope) -> None:
        """Refuse another store for a scope that has records in one: they, and their objects, would be forgotten."""
        run = self.run
        assert scope.parent is not None
        if scope.settings.state_store is scope.parent.settings.state_store and scope.chain not in run.sessions:
            return
        before, wanted = run.session_for(scope.chain), run.locate(scope.settings)
        kept = sum(fqn.startswith(f"{scope.chain}/") for fqn in before.records)
        if kept and wanted != before.store.url:
            raise DeclarationError(
                f"{scope.chain} has {kept} {'record' if kept == 1 else 'records'} in {before.store.url}, "
                f"and the program wants its state in {wanted}",
                hint="leave its state_store as it was; or deploy once without its resources, and change it then",
            )

    def _props(self, scope: Scope) -> JsonObject:
        """Give what a scope's record keeps of its options: what is needed to destroy what is in it."""
        assert scope.parent is not None
        said: JsonObject = {name: scope.given[name] for name in PER_SCOPE if name in scope.given}
        store = scope.settings.state_store
        if store is None or store is scope.parent.settings.state_store:
            return said
        outer = self.run.session_for(scope.parent.chain).store
        return {**self.run.address(scope.settings, outer), **said}

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
            self._see(session, record, seen)
        self._keep(session.get(scope.chain))
        run.observed.observe(seen)


def _newer(scope: Scope | None, seq: int) -> None:
    while scope is not None and scope.newest < seq:
        scope.newest = seq
        scope = scope.parent
