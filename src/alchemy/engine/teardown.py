"""Destroy records and their objects in the order of their dependencies. Needs neither the program nor the password."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from alchemy.engine.claims import claimed_by
from alchemy.engine.run import Run, Stopped, in_words
from alchemy.engine.session import Session
from alchemy.engine.values import Codec
from alchemy.engine.work import unknown
from alchemy.errors import AlchemyError, Gone, ResourceFailed
from alchemy.events import Outcome, Planned
from alchemy.finalizing import Finalize
from alchemy.names import leaf, parent
from alchemy.nursery import Nursery
from alchemy.order import Node, Teardown
from alchemy.provider import Context, Provider, overrides, resource_class
from alchemy.resource import Resource
from alchemy.serde import contains_secret
from alchemy.state import Generation, Record, Status

T = TypeVar("T")
_OLD = "\0"


@dataclass(frozen=True, slots=True)
class Doomed:
    """One thing to be destroyed: a record with its object, or an old generation of one.

    Attributes:
        name: the node's: the FQN, and for an old generation a part below it that no id can have.
    """

    name: str
    record: Record
    session: Session
    old: Generation | None = None

    @property
    def node(self) -> Node:
        """Give what decides its place in the order."""
        of = self.old or self.record
        return Node(self.name, of.seq, of.seen, of.deps)


def doom(records: Iterable[tuple[Record, Session]], *, whole: bool) -> list[Doomed]:
    """List what is to be destroyed of these records.

    Args:
        records: with the sessions that hold them.
        whole: the records themselves too, not only their old generations.
    """
    found: list[Doomed] = []
    for record, session in records:
        found += [Doomed(f"{record.fqn}/{_OLD}{old.generation}", record, session, old) for old in record.generations]
        if whole:
            found.append(Doomed(record.fqn, record, session))
    return found


class Destroyer:
    """Destroy in order, at most so many at a time as the strategy says."""

    def __init__(self, run: Run, nursery: Nursery, options: Finalize) -> None:
        self.run = run
        self.nursery = nursery
        self.options = options
        self.errors: list[Exception] = []
        self.destroyed: list[str] = []
        self._order = Teardown([])
        self._by_name: dict[str, Doomed] = {}
        self._waiting: deque[str] = deque()
        self._active = 0
        self._idle = asyncio.Event()
        self._dropped: dict[Session, Awaitable[None]] = {}

    @property
    def _width(self) -> int:
        match self.options.strategy:
            case "sequential":
                return 1
            case "batched":
                return self.options.batch_size
            case "parallel":
                return self.run.settings.parallelism

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
        order = self._order = _teardown(doomed)
        self._by_name = {item.name: item for item in doomed}
        self._waiting += order.ready()
        while True:
            self._staff()
            await self._until_idle()
            if not self._may_start or self.errors or not len(order):
                break
            self._waiting.append(order.unblock())
        for durable in self._dropped.values():
            await durable
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
        while self._waiting and self._active < self._width and self._may_start:
            self._active += 1
            self.nursery.start(self._work())

    async def _work(self) -> None:
        """Destroy one after the other, until none may go."""
        order = self._order
        while self._waiting and self._may_start:
            item = self._by_name[self._waiting.popleft()]
            error = await self._one(item)
            await asyncio.sleep(0)  # a request to stop that has come meanwhile is heard before the next begins
            if error is None:
                order.gone(item.name)
                self._waiting += order.ready()
                if self._active < self._width:
                    self._staff()
            else:
                self.errors.append(error)
        self._active -= 1
        if self._active == 0:
            self._idle.set()

    def _drop(self, record: Record, session: Session) -> None:
        """Forget a record whose object is gone. Nobody waits for the disk: should the commit be lost, the record
        says `deleting`, and deleting again what is gone is success. The last one is awaited at the end.
        """
        self._dropped[session] = session.drop(record.fqn)

    async def _one(self, item: Doomed) -> Exception | None:
        began = time.monotonic()
        fqn, kind = item.record.fqn, (item.old or item.record).kind
        failure: Exception | None = None
        try:
            async with self.run.limit:
                await self._delete(item)
            if not item.record.is_scope and item.old is None:
                self.destroyed.append(fqn)
        except Exception as error:
            failure = self._failure(item, error)
            self.run.finished(fqn, kind, "failed", "delete", began, error=str(failure), old=item.old is not None)
        except BaseException as error:
            failure = ResourceFailed(f"{fqn}: delete was aborted", fqn=fqn, action="delete")
            failure.__cause__ = error
        return failure

    def _failure(self, item: Doomed, error: Exception) -> ResourceFailed:
        if isinstance(error, ResourceFailed):
            return error
        hint = error.hint if isinstance(error, AlchemyError) else None
        words = error.message if isinstance(error, AlchemyError) else in_words(error)
        fqn = item.record.fqn
        failure = ResourceFailed(f"{fqn}: delete failed: {words}", fqn=fqn, action="delete", hint=hint)
        failure.__cause__ = error
        return failure

    async def _delete(self, item: Doomed) -> None:
        record, session = item.record, item.session
        if item.old is not None:
            await self._delete_old(item, item.old)
            return
        if record.is_scope or not record.provider or record.status is Status.DELETED:
            self._drop(record, session)
            if not record.is_scope:
                self.run.finished(record.fqn, record.kind, "deleted", "delete", time.monotonic())
            return
        if record.protect:
            raise ResourceFailed(
                f"{record.fqn} is protected: it is not destroyed",
                fqn=record.fqn,
                action="delete",
                hint="deploy once with options=Options(protect=False)",
            )
        if record.retain:
            self._drop(record, session)
            self.run.finished(record.fqn, record.kind, "forgotten", None, 0.0)
            return
        began = self.run.began(record.fqn, record.kind, "delete")
        if record.status is not Status.DELETING and record.status is not Status.CREATING:
            await session.put(msgspec.structs.replace(record, status=Status.DELETING))
        outcome = await self._delete_object(item)
        self._drop(record, session)
        self.run.finished(record.fqn, record.kind, outcome, "delete", began)

    async def _delete_old(self, item: Doomed, old: Generation) -> None:
        began = self.run.began(item.record.fqn, old.kind, "delete", old=True)
        if old.provider:
            await self._delete_object(item)
        record = item.session.get(item.record.fqn) or item.record
        left = [kept for kept in record.generations if kept.generation != old.generation]
        await item.session.put(msgspec.structs.replace(record, generations=left))
        self.run.finished(record.fqn, old.kind, "deleted", "delete", began, old=True)

    async def _delete_object(self, item: Doomed) -> Outcome:
        """Delete it in the provider; `forgotten`: it was somebody else's, and stays."""
        record, of = item.record, item.old or item.record
        provider = self.run.provider(of.provider, fqn=record.fqn)
        chain = parent(record.fqn)
        codec = Codec(lambda: self.run.cipher(self.run.settings_for(chain), chain), record.fqn)
        cls = resource_class(type(provider))
        if of.verify and claimed_by(item.session, record, of, cls) is not None:
            return "forgotten"
        props = of.attempted if of.status is Status.CREATING and of.attempted is not None else of.props
        have = codec.resource(cls, id=record.id, props=props, output=of.output)
        context = self.run.context(have, of, fqn=record.fqn, name=of.physical_name or "")
        context.target = await self.run.target(provider, context, of.target)
        async with self.run.slot(provider):
            if of.status is Status.CREATING:
                found = await self._find_begun(provider, context, record, of, have)
            elif of.verify:
                found = await self._read_restored(provider, context, record, have)
            else:
                found = have
            if found is not None:
                with contextlib.suppress(Gone):
                    await self._call(record, lambda: provider.delete(context, found))
        return "deleted"

    def _call(self, record: Record, handler: Callable[[], Awaitable[T]]) -> Awaitable[T]:
        return self.run.call(
            handler,
            fqn=record.fqn,
            action="delete",
            retries=self.options.max_retries,
            delay=self.options.retry_delay,
            timeout=self.options.timeout,
        )

    async def _find_begun(
        self,
        provider: Provider[Resource],
        context: Context[Resource],
        record: Record,
        of: Record | Generation,
        have: Resource,
    ) -> Resource | None:
        """Look for what an interrupted create may have made; give what is to be deleted."""
        if provider.recover == "again":
            return have
        if provider.recover == "none":
            if of.output:
                return have
            raise unknown(record.fqn, "was being created when a run ended", "delete")
        found = await self._call(record, lambda: provider.find(context, have))
        if found is None and provider.settle:
            await asyncio.sleep(provider.settle)
            found = await self._call(record, lambda: provider.find(context, have))
        is_ours = provider.naming is not None and not _chose(provider, have)
        return found if found is not None and (is_ours or of.absent) else None

    async def _read_restored(
        self, provider: Provider[Resource], context: Context[Resource], record: Record, have: Resource
    ) -> Resource | None:
        """Read what a restored record says there is; give what is to be deleted, if it is there."""
        if overrides(provider, "read") or provider.recover not in ("again", "none"):
            return await self._call(record, lambda: provider.read(context, have))
        if provider.recover == "none":
            raise unknown(record.fqn, "was restored", "delete")
        return have

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
            await self.run.target(provider, context, of.target)

    def _report_held_back(self, order: Teardown, by_name: dict[str, Doomed]) -> None:
        failed = {error.fqn for error in self.errors if isinstance(error, ResourceFailed)}
        held = [
            by_name[name].record.fqn
            for name in order.remaining
            if by_name[name].record.fqn not in failed and not by_name[name].record.is_scope
        ]
        if held:
            self.run.warn(f"kept, because what depends on it is still there: {', '.join(held[:20])}")


def _chose(provider: Provider[Resource], have: Resource) -> bool:
    return have.__dict__.get(provider.name_input) is not None


def _teardown(doomed: list[Doomed]) -> Teardown:
    """Order them. What was made from a resource that stays was made from the old generations that go."""
    names = {item.name for item in doomed}
    old: dict[str, list[str]] = {}
    for item in doomed:
        if item.old is not None:
            old.setdefault(item.record.fqn, []).append(item.name)
    nodes: list[Node] = []
    for item in doomed:
        node = item.node
        extra = [name for dep in node.deps if dep not in names for name in old.get(dep, [])]
        nodes.append(Node(node.fqn, node.seq, node.seen, [*node.deps, *extra]) if extra else node)
    return Teardown(nodes)


def needs_password(record: Record) -> bool:
    """Say whether a delete may have to open a secret."""
    return contains_secret(record.props) or contains_secret(record.output)
