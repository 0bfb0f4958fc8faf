"""Bring one resource to where the program wants it: create, skip, update, replace, recover."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from alchemy.engine.loading import provider_name
from alchemy.engine.run import Run, in_words
from alchemy.engine.session import Session
from alchemy.engine.values import FINGERPRINT, Codec, wanted
from alchemy.errors import AlchemyError, AlreadyExists, Gone, ProviderError, ResourceFailed, StateError
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
        return {name: made.__dict__[name] for name in cls._spec.outputs if name in made.__dict__}

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
        record = self.work.record
        if record is None:
            return await self._create(self._new_record())
        await self._check_target(record)
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
        return self.provider.recover == "name" and (self._chosen is not None or self.provider.naming is None)

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
        naming = self.provider.naming
        record.physical_name = self._chosen or (
            self.run.name_for(naming, fqn=self.fqn, kind=record.kind, generation=record.generation) or None
        )
        self.work.describe(record)

    async def _create_intended(self, record: Record, context: Context[Any], outcome: Outcome) -> Outcome:
        async def look(_error: ProviderError) -> Resource | None:
            """After a lost answer: it may be there."""
            return await self.provider.find(context, self.want) if self.provider.recover != "again" else None

        can_look = self.provider.recover in ("name", "token", "list")
        try:
            made = await self._call(
                "create", lambda: self.provider.create(context, self.want), look if can_look else None
            )
        except AlreadyExists:
            if self._chooses or not can_look:
                await self._withdraw(record)
                raise
            made = await self._take_ours(context)
        except ProviderError as error:
            if not error.ambiguous:
                await self._withdraw(record)
            raise
        await self._finish(record, made, Status.CREATED)
        return outcome

    async def _take_ours(self, context: Context[Any]) -> Resource:
        """Take the object that is there under a name only this application can have made."""
        found = await self._call("adopt", lambda: self.provider.find(context, self.want))
        if found is None:
            raise ProviderError(
                f"{context.name} is said to exist, and cannot be found", hint="try again in a minute", retryable=True
            )
        made: Resource = await self._call("adopt", lambda: self.provider.update(context, self.want, found))
        return made

    async def _withdraw(self, record: Record) -> None:
        """Take back the intent of a create that was refused: nothing came to be."""
        if record.generations:
            self._restore_last(record)
            await self.work.session.put(record)
        else:
            await self.work.session.drop(self.fqn)

    def _restore_last(self, record: Record) -> None:
        """Make the youngest old generation the current one again."""
        last = record.generations.pop()
        for name in ("generation", "kind", "provider", "status", "target", "physical_name"):
            setattr(record, name, getattr(last, name))
        record.props, record.attempted, record.output = last.props, last.attempted, last.output
        record.data, record.absent = last.data, last.absent

    async def _take_over(self, record: Record, context: Context[Any], found: Resource) -> Outcome:
        """Adopt an object that was there before, if the program says so."""
        if not self.adopt:
            raise AlreadyExists(*self._refusal(record, context.name))
        await self.work.session.put(record)
        made = await self._call("adopt", lambda: self.provider.update(context, self.want, found))
        await self._finish(record, made, Status.CREATED)
        return "adopted"

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
        if change == "none" and not self.run.settings.force:
            record.props = self.work.props
            self.work.describe(record)
            await self.work.session.put(record)
            record_to_outputs(self.work, record)
            return "unchanged"
        if change == "replace":
            return await self._replace(record, "an input that cannot be changed in place is another")
        return await self._update(record)

    def _kind_of_change(self, record: Record) -> Change:
        if overrides(self.provider, "change"):
            change = self.provider.change(self._have(record), self.want)
            if change is not None:
                return change
        fields = self.work.resource._spec.inputs
        changed = changed_inputs(self.work.resource, record.props, self.work.props)
        return "replace" if any(name in fields and fields[name].replace for name in changed) else "update"

    def _have(self, record: Record) -> Resource:
        return self.work.codec.resource(
            type(self.work.resource), id=self.declared.id, props=record.props, output=record.output
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
        if record.protect or self.declared.options.protect:
            raise ResourceFailed(
                f"{self.fqn} is protected and would have to be replaced: {why}",
                fqn=self.fqn,
                action="replace",
                hint="undo the change, or deploy once with options=Options(protect=False)",
            )
        self._announce("replace")
        if self._fixed_name(record):
            return await self._replace_in_place(record)
        last = record.generations[-1] if record.generations else None
        if last is not None and record.status is Status.CREATING and self._is_as_wanted(last):
            return await self._revert(record)
        if not record.retain:
            record.generations = [*record.generations, generation_of(record)]
        self._next_generation(record)
        return await self._create(record, outcome="replaced")

    def _is_as_wanted(self, last: Generation) -> bool:
        return last.kind == self.declared.kind and equal(self.work.resource, last.props, self.work.props)

    async def _revert(self, record: Record) -> Outcome:
        """Go back to the generation that is as the program wants it again; what was begun since is to be deleted."""
        begun = generation_of(record)
        self._restore_last(record)
        record.generations = [*record.generations, begun]
        record.status = Status.UPDATED
        await self.work.session.put(record)
        return await self._change(record) if not is_unchanged(self.work) else self._reverted(record)

    def _reverted(self, record: Record) -> Outcome:
        record_to_outputs(self.work, record)
        return "unchanged"

    def _next_generation(self, record: Record) -> None:
        record.generation += 1
        record.props, record.output, record.data = {}, {}, {}
        record.target = ""

    def _fixed_name(self, record: Record) -> bool:
        """Whether the new object would need the name of the old one: then that has to go first."""
        chosen = self._chosen
        return chosen is not None and chosen == record.physical_name and record.kind == self.declared.kind

    async def _replace_in_place(self, record: Record) -> Outcome:
        await self._delete(record)
        self._next_generation(record)
        await self._create(record)
        return "replaced"

    async def _delete(self, record: Record) -> None:
        have = self._have(record)
        context = self._context(record, have)
        context.target = await self.run.target(self.provider, context, record.target)
        record.status = Status.DELETING
        record.attempted = self.work.props
        await self.work.session.put(record)
        await self._call("delete", lambda: self.provider.delete(context, have))

    async def _finish_delete(self, record: Record) -> Outcome:
        """A delete was begun and the program wants the resource again: finish it, then create."""
        self._announce("create")
        if record.provider:
            await self._delete(record)
        self._next_generation(record)
        return await self._create(record)

    # Recovery

    async def _check_target(self, record: Record) -> None:
        if record.target:
            await self.run.target(self.provider, self._context(record), record.target)

    async def _resume_create(self, record: Record) -> Outcome:
        """A create was begun and not recorded as done: find out, then go on."""
        self._announce("create")
        last = record.generations[-1] if record.generations else None
        if last is not None and self._is_as_wanted(last):
            return await self._revert(record)
        if self.provider.recover == "none" and not record.output:
            raise ResourceFailed(
                f"{self.fqn} was being created when a run ended, and its object cannot be looked for",
                fqn=self.fqn,
                action="create",
                hint=f"say what became of it: alchemy state resolve {self.fqn} --id ID, or --gone",
            )
        outcome: Outcome = "replaced" if last is not None else "created"
        if self.provider.recover in ("again", "none"):
            return await self._create(record, outcome=outcome)
        found = await self._find_begun(record)
        if found is None:
            return await self._create(record, outcome=outcome)
        if self._chooses and not record.absent and not self.adopt:
            raise AlreadyExists(
                f"{self._name(record)!r} exists, and it is not known whether this application made it",
                hint="if it is yours, take it over: options=Options(adopt=True), or --adopt",
            )
        self._intend(record)
        record.absent = True
        context = self._context(record)
        await self.work.session.put(record)
        made = await self._call("adopt", lambda: self.provider.update(context, self.want, found))
        await self._finish(record, made, Status.CREATED)
        return outcome

    async def _find_begun(self, record: Record) -> Resource | None:
        """Look for what an interrupted create may have made: by the name it was to have, not today's."""
        attempted = self.work.codec.resource(
            type(self.work.resource), id=self.declared.id, props=record.attempted or {}, output=record.output
        )
        context = self._context(record, attempted)
        context.name = record.physical_name or context.name
        context.target = record.target or await self.run.target(self.provider, context)
        found: Resource | None = await self._call("adopt", lambda: self.provider.find(context, attempted))
        if found is None and self.provider.settle:
            await asyncio.sleep(self.provider.settle)
            found = await self._call("adopt", lambda: self.provider.find(context, attempted))
        if found is not None and record.physical_name and self._chosen not in (None, record.physical_name):
            raise StateError(
                f"{self.fqn} was being created as {record.physical_name!r} when a run ended, and is called "
                f"{self._chosen!r} now",
                hint=f"deploy once under the old name, then rename, or delete {record.physical_name!r} by hand",
            )
        return found

    async def _resume_update(self, record: Record) -> Outcome:
        """An update was begun: read what there is, then apply all of it again."""
        if self._kind_of_change(record) == "replace":
            return await self._replace(record, "an input that cannot be changed in place is another")
        have = self._have(record)
        context = self._context(record, have)
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
        if declared.seen is None and declared.latch.awaited:
            declared.seen = self.run.clock.tick()
        record.seen = declared.seen
        declared.decode = lambda: {name: made.__dict__[name] for name in made._spec.outputs}
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
        failure = ResourceFailed(
            f"{declared.fqn}: {action or 'declare'} failed: {words}",
            fqn=declared.fqn,
            action=action or "create",
            hint=hint,
        )
        failure.__cause__ = error
    run.finished(declared.fqn, declared.kind, "failed", action, began, error=str(failure))
    return failure
