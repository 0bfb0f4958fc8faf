"""Delete one thing that is to be destroyed: an object with its record, or an old generation of one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, TypeVar

import msgspec

from alchemy.crypto import Cipher
from alchemy.engine.calling import call_provider, ensure_held
from alchemy.engine.claims import claimed_by
from alchemy.engine.limits import Limits
from alchemy.engine.run import Run, in_words
from alchemy.engine.session import Session
from alchemy.engine.values import Codec
from alchemy.engine.work import unknown
from alchemy.epochs import Node, node_of
from alchemy.errors import AlchemyError, Gone, ResourceFailed
from alchemy.events import Outcome
from alchemy.finalizing import Finalize
from alchemy.names import parent
from alchemy.provider import Context, Provider, overrides, resource_class
from alchemy.resource import Resource
from alchemy.state import Generation, Record, Status

T = TypeVar("T")
_OLD = "\0"
_SETTLED = frozenset({Status.CREATED, Status.UPDATING, Status.UPDATED})
"""One that is `creating` keeps that status: what it says of the object is looked for before it is deleted."""


class Doomed(NamedTuple):
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
        return node_of(self.name, self.old or self.record)


def wants_intent(item: Doomed) -> bool:
    """Say whether its record has to say that it is to be deleted before the provider is called."""
    record = item.record
    return (
        item.old is None
        and record.status in _SETTLED
        and bool(record.provider)
        and not (record.protect or record.retain or record.is_scope)
    )


def intent_of(item: Doomed) -> Record:
    """Give a record that says so: as it is now, for old generations may have been deleted meanwhile."""
    return msgspec.structs.replace(item.session.get(item.record.fqn) or item.record, status=Status.DELETING)


def doom(records: Iterable[tuple[Record, Session]], *, whole: bool) -> list[Doomed]:
    """List what is to be destroyed of these records.

    Args:
        records: with the sessions that hold them.
        whole: the records themselves too, not only their old generations.
    """
    found: list[Doomed] = []
    for record, session in records:
        for old in record.generations:
            found.append(Doomed(f"{record.fqn}/{_OLD}{old.generation}", record, session, old))
        if whole:
            found.append(Doomed(record.fqn, record, session))
    return found


class Deleter:
    """Delete one by one what is handed to it, as the options say; in whatever order that comes."""

    def __init__(self, run: Run, options: Finalize) -> None:
        self.run = run
        self.limits = Limits(run, options)
        self._dropped: set[Session] = set()

    async def delete(self, item: Doomed, *, intended: bool = False) -> None:
        """Delete the object and drop the record, or the old generation from it; report it.

        Args:
            intended: the record says already that it is to be deleted.

        Raises:
            AlchemyError: it could not be deleted; the record says that it was to be.
        """
        if item.old is not None:
            await self._delete_old(item, item.old)
            return
        if not intended and not self._wants_call(item.record, item.session):
            return
        record = item.record
        began = self.run.began(record.fqn, record.kind, "delete")
        if not intended and record.status in _SETTLED:
            await item.session.put(intent_of(item))
        outcome = await self._delete_object(item)
        self._drop(record, item.session)
        self.run.finished(record.fqn, record.kind, outcome, "delete", began)

    def _wants_call(self, record: Record, session: Session) -> bool:
        """Say whether there is an object to be deleted; else do all there is to do."""
        if record.is_scope or not record.provider or record.status is Status.DELETED:
            self._drop(record, session)
            if not record.is_scope:
                self.run.finished(record.fqn, record.kind, "deleted", "delete", time.monotonic())
            return False
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
            return False
        return True

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
        run, record, of = self.run, item.record, item.old or item.record
        fqn = record.fqn
        provider = run.provider(of.provider, fqn=fqn)
        if not run.targets.knows(provider):
            await ensure_held(run, item.session)  # it will be asked for
        codec = Codec(lambda: self._cipher(fqn), fqn)
        cls = resource_class(type(provider))
        # A name that is looked for, or written to whatever is there, means one object: another record may have it now.
        by_name = of.physical_name is not None and provider.recover in ("name", "again")
        if (of.verify or by_name) and claimed_by(item.session, record, of, cls) is not None:
            return "forgotten"
        props = of.attempted if of.status is Status.CREATING and of.attempted is not None else of.props
        have = codec.resource(cls, id=record.id, props=props, output=of.output)
        context = run.context(have, of, fqn=fqn, name=of.physical_name or "")
        context.target = await run.targets.of(provider, context, of.target)
        async with run.slot(provider):
            if of.status is Status.CREATING:
                found = await self._find_begun(provider, context, item, have)
            elif of.verify:
                found = await self._read_restored(provider, context, item, have)
            else:
                found = have
            if found is not None:
                try:
                    await self._call(item, lambda: provider.delete(context, found))
                except Gone:
                    return "deleted"
        return "deleted"

    def _cipher(self, fqn: str) -> Cipher | None:
        chain = parent(fqn)
        return self.run.cipher(self.run.settings_for(chain), chain)

    def _call(self, item: Doomed, handler: Callable[[], Awaitable[T]]) -> Awaitable[T]:
        retries, delay, timeout = self.limits.of(item.record)
        return call_provider(
            self.run,
            item.session,
            handler,
            fqn=item.record.fqn,
            action="delete",
            retries=retries,
            delay=delay,
            timeout=timeout,
        )

    async def _find_begun(
        self,
        provider: Provider[Resource],
        context: Context[Resource],
        item: Doomed,
        have: Resource,
    ) -> Resource | None:
        """Look for what an interrupted create may have made; give what is to be deleted."""
        record, of = item.record, item.old or item.record
        if provider.recover == "again":
            return have
        if provider.recover == "none":
            if of.output:
                return have
            raise unknown(record.fqn, "was being created when a run ended", "delete")
        found = await self._call(item, lambda: provider.find(context, have))
        if found is None and provider.settle:
            await asyncio.sleep(provider.settle)
            found = await self._call(item, lambda: provider.find(context, have))
        is_ours = provider.naming is not None and not _chose(provider, have)
        return found if found is not None and (is_ours or of.absent) else None

    async def _read_restored(
        self, provider: Provider[Resource], context: Context[Resource], item: Doomed, have: Resource
    ) -> Resource | None:
        """Read what a restored record says there is; give what is to be deleted, if it is there."""
        if overrides(provider, "read") or provider.recover not in ("again", "none"):
            return await self._call(item, lambda: provider.read(context, have))
        if provider.recover == "none":
            raise unknown(item.record.fqn, "was restored", "delete")
        return have

    def _drop(self, record: Record, session: Session) -> None:
        """Forget a record whose object is gone. Nobody waits for the disk: should the commit be lost, the record
        says `deleting`, and deleting again what is gone is success. The last one is awaited at the end.
        """
        self._dropped.add(session)
        session.drop_soon(record.fqn)

    async def flush(self) -> None:
        """Wait until all that was dropped is durable."""
        for session in self._dropped:
            await session.until_dropped()


def failed(item: Doomed, error: Exception) -> ResourceFailed:
    """Turn what was raised into the failure of what was to be destroyed."""
    if isinstance(error, ResourceFailed):
        return error
    hint = error.hint if isinstance(error, AlchemyError) else None
    words = error.message if isinstance(error, AlchemyError) else in_words(error)
    fqn = item.record.fqn
    failure = ResourceFailed(f"{fqn}: delete failed: {words}", fqn=fqn, action="delete", hint=hint)
    failure.__cause__ = error
    return failure


def _chose(provider: Provider[Resource], have: Resource) -> bool:
    return have.__dict__.get(provider.name_input) is not None
