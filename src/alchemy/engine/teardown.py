"""Destroy records and their objects in the order of their dependencies. Needs neither the program nor the password."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Container
from contextlib import nullcontext

from alchemy.engine.calling import ensure_held
from alchemy.engine.deleting import Deleter, Doomed, failed, wants_intent
from alchemy.engine.run import Run, Stopped
from alchemy.engine.upcoming import Next, Upcoming
from alchemy.engine.values import Codec
from alchemy.errors import AlchemyError, LeaseLost, ResourceFailed
from alchemy.events import Planned
from alchemy.finalizing import Finalize
from alchemy.names import leaf, parent
from alchemy.nursery import Nursery
from alchemy.order import Node, Teardown
from alchemy.provider import resource_class
from alchemy.serde import contains_secret
from alchemy.state import Record


class Destroyer:
    """Destroy in order, at most so many at a time as the strategy says.

    Args:
        puts_off: FQNs whose failure is reported later, if it is; see `Undeletable`.
    """

    def __init__(self, run: Run, nursery: Nursery, options: Finalize, *, puts_off: Container[str] = ()) -> None:
        self.run = run
        self.nursery = nursery
        self.options = options
        self._puts_off = puts_off
        self.errors: list[Exception] = []
        self.destroyed: list[str] = []
        self._order = Teardown([])
        self._by_name: dict[str, Doomed] = {}
        self._active = 0
        self._idle = asyncio.Event()
        self._deleter = Deleter(run, options)
        self._width = self._how_many()
        ahead = options.strategy == "parallel"
        self._upcoming = Upcoming(nursery, self._width if ahead else 0, self._may_go_ahead if ahead else _never)

    def _how_many(self) -> int:
        match self.options.strategy:
            case "sequential":
                return 1
            case "batched":
                return self.options.batch_size
            case "parallel":
                return self.run.settings.parallelism

    def _may_go_ahead(self, item: Doomed) -> bool:
        """Whether its intent may be written before its turn comes: not where a scope says one after the other."""
        fqn = item.record.fqn
        return (
            wants_intent(item)
            and fqn not in self.run.undeletable
            and isinstance(self._deleter.limits.lane(parent(fqn)), nullcontext)
        )

    def plan(self, doomed: list[Doomed]) -> list[str]:
        """Report what would be destroyed, in order; touch nothing."""
        order, by_name = _teardown(doomed), {item.name: item for item in doomed}
        names: list[str] = []
        while len(order):
            for name in order.ready() or [order.unblock()]:
                order.gone(name)
                item = by_name[name]
                if not item.record.is_scope:
                    self.run.emit(Planned(fqn=item.record.fqn, kind=(item.old or item.record).kind))
                    names.append(item.record.fqn)
        return names

    async def destroy(self, doomed: list[Doomed]) -> None:
        """Destroy all of it, dependents first.

        Raises:
            ExceptionGroup: what could not be destroyed; it is in state, and so is what it holds back.
            Stopped: the run was stopped; what had begun has ended and was recorded.
        """
        await self._check_targets(doomed)
        for session in {item.session for item in doomed}:
            session.begin_backup()  # while the order is being worked out
        order = self._order = _teardown(doomed)
        self._by_name = {item.name: item for item in doomed}
        self._add(order.ready())
        try:
            while True:
                self._staff()
                await self._until_idle()
                if not self._may_start or self.errors or not len(order):
                    break
                self._add([order.unblock()])
        finally:
            if self.run.lost is None:
                self._upcoming.take_back()
        await self._deleter.flush()
        if self.run.stopping:
            raise Stopped
        if self.errors:
            self._report_held_back(order, self._by_name)
            raise ExceptionGroup(f"{self.run.unit}: {len(self.errors)} could not be destroyed", self.errors)

    async def _until_idle(self) -> None:
        """Wait until nobody works. A first cancellation asks to stop, and is raised when all have; a second aborts."""
        cancelled: asyncio.CancelledError | None = None
        while self._active:
            self._idle.clear()
            try:
                await self._idle.wait()
            except asyncio.CancelledError as error:
                if self.run.stopping:
                    self.nursery.abort()
                self.run.stopping = True
                cancelled = error
        if cancelled is not None:
            raise cancelled

    @property
    def _may_start(self) -> bool:
        return not self.run.stopping and (not self.errors or self.options.continue_on_error)

    def _staff(self) -> None:
        """Set as many to work as there is work for, and the strategy allows."""
        while len(self._upcoming) and self._active < self._width and self._may_start:
            self._active += 1
            self.nursery.start(self._work())

    def _add(self, names: list[str]) -> None:
        self._upcoming.add(self._by_name[name] for name in names)

    async def _work(self) -> None:
        """Destroy one after the other, until none may go."""
        order = self._order
        try:
            while len(self._upcoming) and self._may_start:
                following = self._upcoming.take()
                error = await self._one(following)
                if following.intent is None:
                    # A request to stop that has come meanwhile is heard before the next begins. Else it is anyway,
                    # when the next intents are waited for.
                    await asyncio.sleep(0)
                if error is None:
                    order.gone(following.item.name)
                    if free := order.ready():
                        self._add(free)
                    if self._active < self._width:
                        self._staff()
                else:
                    self.errors.append(error)
        finally:
            self._active -= 1
            if self._active == 0:
                self._idle.set()

    async def _one(self, following: Next) -> Exception | None:
        item, intent = following
        began, fqn = time.monotonic(), item.record.fqn
        failure: Exception | None = self.run.undeletable.failure_of(fqn) if item.old is None else None
        if failure is not None:
            return failure
        try:
            if intent is not None:
                if not intent.is_durable:
                    await intent.durable()
                async with self.run.limit:
                    await self._deleter.delete(item, intended=True)
            else:
                async with self._deleter.limits.lane(parent(fqn)), self.run.limit:
                    await self._deleter.delete(item)
            if item.old is None and not item.record.is_scope:
                self.destroyed.append(fqn)
        except LeaseLost as error:
            self.run.lose(error)
            failure = error
        except Exception as error:
            failure = failed(item, error)
            self._report(item, failure, began)
        except BaseException as error:
            failure = ResourceFailed(f"{fqn}: delete was aborted", fqn=fqn, action="delete")
            failure.__cause__ = error
        return failure

    def _report(self, item: Doomed, failure: Exception, began: float) -> None:
        fqn, kind, old = item.record.fqn, (item.old or item.record).kind, item.old is not None
        if fqn not in self._puts_off:
            self.run.finished(fqn, kind, "failed", "delete", began, error=str(failure), old=old)
            return
        took = time.monotonic() - began
        self.run.undeletable.put_off(
            fqn,
            lambda: self.run.finished(
                fqn, kind, "failed", "delete", time.monotonic() - took, error=str(failure), old=old
            ),
        )

    async def _check_targets(self, doomed: list[Doomed]) -> None:
        """Before any call: nothing may live elsewhere than where calls would go."""
        seen: set[tuple[str, str]] = set()
        for item in doomed:
            of = item.old or item.record
            if not of.target or not of.provider or (of.provider, of.target) in seen or item.record.retain:
                continue
            seen.add((of.provider, of.target))
            try:
                provider = self.run.provider(of.provider, fqn=item.record.fqn)
            except AlchemyError:
                continue  # it is reported when its turn comes; the others can be destroyed
            codec = Codec(lambda: None, item.record.fqn)
            have = codec.resource(resource_class(type(provider)), id=leaf(item.record.fqn), props={}, output={})
            context = self.run.context(have, of, fqn=item.record.fqn, name="")
            await ensure_held(self.run, item.session)
            await self.run.targets.of(provider, context, of.target)

    def _report_held_back(self, order: Teardown, by_name: dict[str, Doomed]) -> None:
        failed = {error.fqn for error in self.errors if isinstance(error, ResourceFailed)}
        held = [
            by_name[name].record.fqn
            for name in order.remaining
            if by_name[name].record.fqn not in failed and not by_name[name].record.is_scope
        ]
        if held:
            self.run.warn(f"kept, because what depends on it is still there: {', '.join(held[:20])}")


def _never(_item: Doomed) -> bool:
    return False


def _teardown(doomed: list[Doomed]) -> Teardown:
    """Order them. What was made from a resource that stays was made from the old generations that go."""
    names = {item.name for item in doomed}
    old: dict[str, list[str]] = {}
    for item in doomed:
        if item.old is not None:
            old.setdefault(item.record.fqn, []).append(item.name)
    if not old:
        return Teardown(item.node for item in doomed)
    nodes: list[Node] = []
    for item in doomed:
        node = item.node
        extra = [name for dep in node.deps if dep not in names for name in old.get(dep, [])]
        nodes.append(node._replace(deps=[*node.deps, *extra]) if extra else node)
    return Teardown(nodes)


def needs_password(record: Record) -> bool:
    """Say whether a delete may have to open a secret."""
    return contains_secret(record.props) or contains_secret(record.output)
