"""Bring one resource to where the program wants it: create, skip, update, replace, recover."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from alchemy.engine.loading import provider_name
from alchemy.engine.run import Run, in_words
from alchemy.engine.session import Session
from alchemy.engine.values import FINGERPRINT, Codec, given_values, wanted
from alchemy.errors import AlchemyError, AlreadyExists, Gone, ProviderError, ResourceFailed
from alchemy.events import Action, Outcome
from alchemy.provider import Change, Context, Provider, overrides
from alchemy.resource import Declared, Resource
from alchemy.serde import canonical
from alchemy.state import Generation, JsonObject, Record, Status


@dataclass(slots=True, kw_only=True)
class Work:
    """One resource on its way.

    Attributes:
        props: its inputs, encoded, as the program wants them now.
        record: what is remembered of it; `None` before its first intent.
    """

    run: Run
    declared: Declared
    session: Session
    codec: Codec
    provider_name: str
    props: JsonObject
    record: Record | None

    @property
    def resource(self) -> Resource:
        """Give the program's resource."""
        return self.declared.resource

    @property
    def known(self) -> Record:
        """Give the record, which is there."""
        assert self.record is not None
        return self.record

    def describe(self, record: Record) -> None:
        """Write into a record what the program says of the resource apart from its inputs."""
        declared = self.declared
        record.seq, record.seen = declared.seq, declared.seen
        record.deps = sorted(dependency.fqn for dependency in declared.deps)
        record.retain, record.protect = declared.options.retain, declared.options.protect

    def described(self, record: Record) -> bool:
        """Say whether a record holds all of that already."""
        declared, options = self.declared, self.declared.options
        return (
            record.seq == declared.seq
            and record.retain == options.retain
            and record.protect == options.protect
            and record.deps == sorted(dependency.fqn for dependency in declared.deps)
        )


def begin(run: Run, declared: Declared) -> Work:
    """Look a resource up and encode its inputs; everything passed in must be done."""
    session = run.session_for(declared.scope.chain)
    record = session.get(declared.fqn)
    settings, chain = declared.scope.settings, declared.scope.chain
    codec = Codec(lambda: run.cipher(settings, chain), declared.fqn, record.props if record else None)
    return Work(
        run=run,
        declared=declared,
        session=session,
        codec=codec,
        provider_name=provider_name(type(declared.resource)),
        props=codec.inputs(declared.resource),
        record=record,
    )


def is_unchanged(work: Work) -> bool:
    """Say whether the record says that there is nothing to do. No provider is needed to know."""
    record = work.record
    return (
        record is not None
        and record.is_stable
        and record.kind == work.declared.kind
        and not work.run.settings.force
        and equal(work.resource, record.props, work.props)
    )


def equal(resource: Resource, stored: JsonObject, wanted_props: JsonObject) -> bool:
    """Compare inputs as values: an input that the record does not know yet counts as its default."""
    if stored.keys() == wanted_props.keys():
        return stored == wanted_props and canonical(stored) == canonical(wanted_props)
    return not changed_inputs(resource, stored, wanted_props)


def changed_inputs(resource: Resource, stored: JsonObject, wanted_props: JsonObject) -> list[str]:
    """Name the inputs whose values differ."""
    plain = Codec(lambda: None, "")
    fields = resource._spec.inputs
    changed: list[str] = []
    for name, value in wanted_props.items():
        if name in stored:
            before = stored[name]
        elif name in fields and not fields[name].required and not fields[name].secret:
            before = plain.value(fields[name].make_default())
        else:
            before = ...
        if before is ... or canonical(before) != canonical(value):
            changed.append(name)
    return changed + [name for name in stored if name not in wanted_props and name in (*fields, FINGERPRINT)]


def finish_unchanged(work: Work) -> None:
    """Skip: give the stored outputs, and write the record only when its place in the program is another."""
    record = work.known
    if not work.described(record):
        work.describe(record)
        work.session.put(record)
    record_to_outputs(work, record)


def record_to_outputs(work: Work, record: Record) -> None:
    """Let the outputs be decoded from the record when somebody asks for them."""
    output, codec, cls = record.output, work.codec, type(work.resource)
    declared = work.declared

    def decode() -> dict[str, Any]:
        made = codec.resource(cls, id=declared.id, props={}, output=output)
        known = given_values(made)
        return {name: getattr(made, name) for name in cls._spec.outputs if name in known}

    declared.decode = decode if output else None


class Applier:
    """Call the provider for one resource, with an intent before each call."""

    def __init__(self, work: Work, provider: Provider[Any]) -> None:
        self.work = work
        self.run = work.run
        self.declared = work.declared
        self.fqn = work.declared.fqn
        self.provider = provider
        self.want = wanted(work.declared)
        options, settings = self.declared.options, self.declared.scope.settings
        self.adopt = settings.adopt if options.adopt is None else options.adopt
        self.retries = settings.max_retries if options.retry is None else options.retry
        self.delay = settings.retry_delay
        self.timeout = settings.timeout if options.timeout is None else options.timeout
        self.action: Action | None = None
        self.began = time.monotonic()

    def _announce(self, action: Action) -> None:
        """Report what is about to be done; the first word counts."""
        if self.action is None:
            self.action = action
            self.began = self.run.began(self.fqn, self.declared.kind, action)

    async def apply(self) -> Outcome:
        """Do what is to be done.

        Returns:
            How it ended; `replaced` leaves the old generation in the record, to be deleted at the end of the run.
        """
        known = self.work.record
        if known is None:
            return await self._create(self._new_record())
        await self._check_target(known)
        # a copy: what was not written must not be taken for true later in this run
        record = self.work.record = msgspec.structs.replace(known)
        if record.kind != self.declared.kind:
            return await self._replace(record, "its kind is another")
        match record.status:
            case Status.CREATING:
                return await self._resume_create(record)
            case Status.DELETING | Status.DELETED:
                return await self._finish_delete(record)
            case Status.UPDATING:
                return await self._resume_update(record)
            case _:
                return await self._change(record)

    # Create

    def _new_record(self) -> Record:
        record = Record(kind=self.declared.kind, id=self.declared.id, fqn=self.fqn)
        record.provider = self.work.provider_name
        return record

    @property
    def _chosen(self) -> str | None:
        """The name that the program chose, if it did."""
        chosen = self.want.__dict__.get(self.provider.name_input)
        return chosen if isinstance(chosen, str) else None

    @property
    def _chooses(self) -> bool:
        """Whether another program may have made an object of this name: it is not one of ours."""
        return self.provider.recover in ("name", "list") and (self._chosen is not None or self.provider.naming is None)

    def _name(self, record: Record) -> str:
        return self._chosen or record.physical_name or ""

    def _context(self, record: Record, want: Resource | None = None) -> Context[Any]:
        async def checkpoint(outputs: dict[str, Any]) -> None:
            spec = self.work.resource._spec
            record.output = {**record.output, **self.work.codec.some(spec.outputs, outputs)}
            await self.work.session.put(record)

        return self.run.context(
            want or self.want, record, fqn=self.fqn, name=self._name(record), adopt=self.adopt, checkpoint=checkpoint
        )

    async def _call(
        self,
        action: Action,
        handler: Callable[[], Any],
        before_retry: Callable[[ProviderError], Any] | None = None,
    ) -> Any:
        return await self.run.call(
            handler,
            fqn=self.fqn,
            action=action,
            retries=self.retries,
            delay=self.delay,
            timeout=self.timeout,
            before_retry=before_retry,
        )

    async def _create(self, record: Record, *, outcome: Outcome = "created") -> Outcome:
        """Write the intent, then create; `record` is new, or begins another generation."""
        self._announce("create")
        self._intend(record)
        context = self._context(record)
        record.target = context.target = await self.run.target(self.provider, context)
        if self._chooses:
            found = await self._call("create", lambda: self.provider.find(context, self.want))
            if found is not None:
                return await self._take_over(record, context, found)
            record.absent = True
        await self.work.session.put(record)
        return await self._create_intended(record, context, outcome)

    def _intend(self, record: Record) -> None:
        record.status = Status.CREATING
        record.kind = self.declared.kind
        record.provider = self.work.provider_name
        record.attempted = self.work.props
        record.absent = False
        record.physical_name = self._chosen or self._made_name(record)
        self.work.describe(record)

    def _made_name(self, record: Record) -> str | None:
        """Compute the name of a generation, and pass over those that a renamed resource has kept."""
        while True:
            name = self.run.name_for(self.provider.naming, fqn=self.fqn, kind=record.kind, generation=record.generation)
            if not name or self.work.session.holder_of(record.kind, name) in (None, self.fqn):
                return name or None
            record.generation += 1

    async def _create_intended(self, record: Record, context: Context[Any], outcome: Outcome) -> Outcome:
        async def look(_error: ProviderError) -> Resource | None:
            """After a lost answer: it may be there, and may be half-made."""
            found = await self._look(lambda: self.provider.find(context, self.want))
            return None if found is None else await self._bring_into_line(context, found)

        can_look = self.provider.recover in ("name", "token", "list")
        try:
            made = await self._call(
                "create", lambda: self.provider.create(context, self.want), look if can_look else None
            )
        except AlreadyExists as error:
            if can_look and (error.ambiguous or not self._chooses):
                made = await self._take_ours(context)
            else:
                await self._withdraw(record, error, outcome)
                raise
        except ProviderError as error:
            await self._withdraw(record, error, outcome)
            raise
        await self._finish(record, made, Status.CREATED)
        return outcome

    async def _look(self, find: Callable[[], Awaitable[Resource | None]]) -> Resource | None:
        """Look for an object that may just have been made: absent is believed after `settle` seconds."""
        found: Resource | None = await self._call("adopt", find)
        if found is None and self.provider.settle:
            await asyncio.sleep(self.provider.settle)
            found = await self._call("adopt", find)
        return found

    async def _take_ours(self, context: Context[Any]) -> Resource:
        """Take the object that is there under a name only this application can have made."""
        found = await self._call("adopt", lambda: self.provider.find(context, self.want))
        if found is None:
            raise ProviderError(
                f"{context.name} is said to exist, and cannot be found", hint="try again in a minute", retryable=True
            )
        return await self._bring_into_line(context, found)

    async def _bring_into_line(self, context: Context[Any], found: Resource) -> Resource:
        """Make an object that was found as the program wants it, whatever state it was left in."""
        if not overrides(self.provider, "update"):
            return found
        made: Resource = await self._call("adopt", lambda: self.provider.update(context, self.want, found))
        return made

    async def _withdraw(self, record: Record, error: ProviderError, outcome: Outcome) -> None:
        """Take back the intent of a create that was refused, if it is sure that nothing came to be."""
        if error.ambiguous:
            return
        if not record.generations:
            await self.work.session.drop(self.fqn)
            return
        if outcome == "replaced":
            self._restore_last(record)
        else:
            record.status = Status.DELETED
            record.props, record.attempted, record.output = {}, None, {}
        await self.work.session.put(record)

    def _restore_last(self, record: Record) -> None:
        """Make the youngest old generation the current one again."""
        last = record.generations[-1]
        record.generations = record.generations[:-1]
        for name in Generation.__struct_fields__:
            setattr(record, name, getattr(last, name))

    async def _take_over(self, record: Record, context: Context[Any], found: Resource) -> Outcome:
        """Adopt an object that was there before, if the program says so."""
        if not self.adopt:
            raise AlreadyExists(*self._refusal(record, context.name))
        self._refuse_unlike(context.name, found)
        await self.work.session.put(record)
        made = await self._bring_into_line(context, found)
        await self._finish(record, made, Status.CREATED)
        return "adopted"

    def _refuse_unlike(self, name: str, found: Resource) -> None:
        """Refuse an object that is there with an input that cannot be changed in place, and is another."""
        fields = self.work.resource._spec.inputs
        observed = self.work.codec.some(fields, given_values(found))
        for field in changed_inputs(self.work.resource, observed, self.work.props):
            if field in fields and fields[field].replace:
                raise AlreadyExists(
                    f"{name!r} exists with another {field!r}, which cannot be changed in place",
                    hint=f"say the {field!r} that it has, or choose another name",
                )

    def _refusal(self, record: Record, name: str) -> tuple[str]:
        """Say whose the object is that is in the way, and what to do."""
        for other in self.work.session.records.values():
            if other.fqn != self.fqn and other.kind == record.kind and other.physical_name == name:
                return (
                    f"{name!r} belongs to {other.fqn} (if that is what {self.declared.id!r} was called before, "
                    f"say options=Options(aliases=[{other.id!r}]))",
                )
        return (
            f"{name!r} exists already, and was not made by this application (choose another name, or take it "
            f"over: options=Options(adopt=True), or --adopt)",
        )

    # Update and replace

    async def _change(self, record: Record) -> Outcome:
        change = self._kind_of_change(record)
        if change == "none":
            record.props = self.work.props
            self.work.describe(record)
            await self.work.session.put(record)
            record_to_outputs(self.work, record)
            return "unchanged"
        if change == "replace":
            return await self._replace(record, "an input that cannot be changed in place is another")
        return await self._update(record)

    def _kind_of_change(self, record: Record, stored: JsonObject | None = None) -> Change:
        """Say what it takes to get from `stored` inputs, those last applied by default, to what is wanted."""
        stored = record.props if stored is None else stored
        changed = changed_inputs(self.work.resource, stored, self.work.props)
        if not changed:
            forced = self.run.settings.force or record.status is Status.UPDATING
            return "update" if forced and overrides(self.provider, "update") else "none"
        if overrides(self.provider, "change"):
            change = self.provider.change(self._have(record, stored), self.want)
            if change is not None:
                return "update" if change == "none" and self.run.settings.force else change
        fields = self.work.resource._spec.inputs
        return "replace" if any(name in fields and fields[name].replace for name in changed) else "update"

    def _have(self, record: Record, props: JsonObject | None = None) -> Resource:
        return self.work.codec.resource(
            type(self.work.resource),
            id=self.declared.id,
            props=record.props if props is None else props,
            output=record.output,
        )

    async def _update(self, record: Record, have: Resource | None = None) -> Outcome:
        self._announce("update")
        record.status = Status.UPDATING
        record.attempted = self.work.props
        self.work.describe(record)
        context = self._context(record)
        context.target = await self.run.target(self.provider, context, record.target)
        await self.work.session.put(record)
        before = have or self._have(record)
        try:
            made = await self._call("update", lambda: self.provider.update(context, self.want, before))
        except Gone:
            return await self._create(record)
        await self._finish(record, made, Status.UPDATED)
        return "updated"

    async def _replace(self, record: Record, why: str) -> Outcome:
        if self.declared.options.protect:
            raise ResourceFailed(
                f"{self.fqn} is protected and would have to be replaced: {why}",
                fqn=self.fqn,
                action="replace",
                hint="undo the change, or deploy once with options=Options(protect=False)",
            )
        self._announce("replace")
        if self._fixed_name(record):
            await self._delete(record)
            return await self._create_next(record)
        return await self._supersede(record)

    async def _supersede(self, record: Record) -> Outcome:
        """Create another object, and leave the one there is, or may be, to be deleted at the end of the run."""
        await self._clear_name(record)
        if not record.retain and record.status is not Status.DELETED:
            record.generations = [*record.generations, generation_of(record)]
        self._next_generation(record)
        return await self._create(record, outcome="replaced")

    async def _clear_name(self, record: Record) -> None:
        """Delete what an earlier replacement has left under the very name that the program chooses now."""
        chosen = self._chosen
        for old in record.generations:
            if chosen is None or old.physical_name != chosen or old.kind != self.declared.kind:
                continue
            left = msgspec.structs.replace(record)
            for name in Generation.__struct_fields__:
                setattr(left, name, getattr(old, name))
            have: Resource | None = self._have(left)
            if old.status is Status.CREATING:
                have = await self._find_begun(left)
            if have is not None:
                await self._delete_object(left, have)
            record.generations = [kept for kept in record.generations if kept is not old]
            await self.work.session.put(record)

    async def _create_next(self, record: Record) -> Outcome:
        """Create another object after the one there was has been deleted."""
        self._next_generation(record)
        await self._create(record)
        return "replaced"

    def _next_generation(self, record: Record) -> None:
        # above all that are still to be deleted: their names must not be used again
        record.generation = 1 + max(record.generation, *(old.generation for old in record.generations), 0)
        record.props, record.output, record.data = {}, {}, {}
        record.target = ""

    def _fixed_name(self, record: Record) -> bool:
        """Whether the new object would need the name of the old one: then that has to go first."""
        chosen = self._chosen
        return chosen is not None and chosen == record.physical_name and record.kind == self.declared.kind

    async def _delete(self, record: Record) -> None:
        record.status = Status.DELETING
        record.attempted = self.work.props
        await self.work.session.put(record)
        await self._delete_object(record, self._have(record))

    async def _delete_object(self, record: Record, have: Resource) -> None:
        context = self._context(record, have)
        context.name = record.physical_name or context.name
        context.target = await self.run.target(self.provider, context, record.target)
        with contextlib.suppress(Gone):
            await self._call("delete", lambda: self.provider.delete(context, have))

    async def _finish_delete(self, record: Record) -> Outcome:
        """A delete was begun and the program wants the resource again: finish it, then create."""
        self._announce("create")
        if record.status is Status.DELETING:
            await self._delete(record)
        self._next_generation(record)
        return await self._create(record)

    # Recovery

    async def _check_target(self, record: Record) -> None:
        if record.target:
            await self.run.target(self.provider, self._context(record), record.target)

    async def _resume_create(self, record: Record) -> Outcome:
        """A create was begun and not recorded as done: find out, then go on."""
        last = record.generations[-1] if record.generations else None
        if last is not None and self._is_as_wanted(last):
            return await self._revert(record)
        outcome: Outcome = "replaced" if last is not None else "created"
        self._announce("replace" if last is not None else "create")
        if self.provider.recover == "none" and not (record.output and overrides(self.provider, "read")):
            raise ResourceFailed(
                f"{self.fqn} was being created when a run ended, and its object cannot be looked for",
                fqn=self.fqn,
                action="create",
                hint=f"say what became of it: alchemy state resolve {self.fqn} --id ID, or --gone",
            )
        attempted = record.attempted or {}
        differs = self._kind_of_change(record, attempted) == "replace"
        if differs and not self._fixed_name(record):
            return await self._supersede(record)
        if self.provider.recover == "again" and not differs:
            return await self._create(record, outcome=outcome)
        found = await self._find_begun(record)
        if found is None:
            return await self._create(record, outcome=outcome)
        record.props = attempted
        record.output = self.work.codec.some(self.work.resource._spec.outputs, given_values(found))
        if differs:
            await self._delete(record)
            return await self._create_next(record)
        if overrides(self.provider, "update"):
            await self._update(record, found)
        else:
            await self._finish(record, found, Status.CREATED)
        return outcome

    async def _find_begun(self, record: Record) -> Resource | None:
        """Look for what an interrupted create may have made: by the name it was to have, not today's.

        Raises:
            AlreadyExists: something is there that may be a stranger's.
        """
        begun = self._have(record, record.attempted)
        context = self._context(record, begun)
        context.name = record.physical_name or context.name
        context.target = await self.run.target(self.provider, context, record.target)
        if self.provider.recover == "again":
            return begun
        if self.provider.recover == "none":
            return await self._look(lambda: self.provider.read(context, begun))
        found = await self._look(lambda: self.provider.find(context, begun))
        if found is not None and self._chooses and not record.absent and not self.adopt:
            raise AlreadyExists(
                f"{context.name!r} exists, and it is not known whether this application made it",
                hint="if it is yours, take it over: options=Options(adopt=True), or --adopt",
            )
        return found

    def _is_as_wanted(self, last: Generation) -> bool:
        return last.kind == self.declared.kind and equal(self.work.resource, last.props, self.work.props)

    async def _revert(self, record: Record) -> Outcome:
        """Go back to the generation that is as the program wants it again; what was begun since is to be deleted."""
        begun = generation_of(record)
        self._restore_last(record)
        record.generations = [*record.generations, begun]
        self.work.describe(record)
        if not await self._is_there(record):
            return await self._create(record)
        await self.work.session.put(record)
        record_to_outputs(self.work, record)
        return "unchanged"

    async def _is_there(self, record: Record) -> bool:
        """Look whether a record's object still exists, as far as the provider can."""
        if not overrides(self.provider, "read") and self.provider.recover in ("again", "none"):
            return True
        have = self._have(record)
        context = self._context(record, have)
        context.name = record.physical_name or context.name
        context.target = await self.run.target(self.provider, context, record.target)
        return await self._call("read", lambda: self.provider.read(context, have)) is not None

    async def _resume_update(self, record: Record) -> Outcome:
        """An update was begun: read what there is, then apply all of it again."""
        if self._kind_of_change(record) == "replace":
            return await self._replace(record, "an input that cannot be changed in place is another")
        if not overrides(self.provider, "read") and self.provider.recover in ("again", "none"):
            return await self._update(record)
        have = self._have(record)
        context = self._context(record, have)
        context.name = record.physical_name or context.name
        found = await self._call("read", lambda: self.provider.read(context, have))
        if found is None:
            return await self._create(record)
        return await self._update(record, found)

    async def _finish(self, record: Record, made: Resource, status: Status) -> None:
        """Record that the object is as wanted, with what the provider gave back."""
        declared = self.declared
        record.output = self.work.codec.outputs(made)
        record.props = self.work.props
        record.attempted = None
        record.absent = False
        record.status = status
        record.physical_name = self._chosen or record.physical_name
        if declared.seen is None and declared.latch.awaited:
            declared.seen = self.run.clock.tick()
        record.seen = declared.seen
        declared.decode = lambda: {name: getattr(made, name) for name in made._spec.outputs}
        await self.work.session.put(record)


def generation_of(record: Record) -> Generation:
    """Give what a record says of its object, to be kept while another takes its place."""
    return Generation(
        generation=record.generation,
        kind=record.kind,
        provider=record.provider,
        status=record.status,
        target=record.target,
        physical_name=record.physical_name,
        props=record.props,
        attempted=record.attempted,
        output=record.output,
        data=record.data,
        absent=record.absent,
        seq=record.seq,
        seen=record.seen,
        deps=record.deps,
    )


def report(run: Run, declared: Declared, error: BaseException, action: Action | None, began: float) -> ResourceFailed:
    """Turn what was raised into the failure of a resource, and report it."""
    if isinstance(error, ResourceFailed):
        failure = error
    else:
        hint = error.hint if isinstance(error, AlchemyError) else None
        words = error.message if isinstance(error, AlchemyError) else in_words(error)
        what = f"{action} failed: " if action else ""
        failure = ResourceFailed(
            words if action is None and words.startswith(declared.fqn) else f"{declared.fqn}: {what}{words}",
            fqn=declared.fqn,
            action=action or "create",
            hint=hint,
        )
        failure.__cause__ = error
    run.finished(declared.fqn, declared.kind, "failed", action, began, error=str(failure))
    return failure
