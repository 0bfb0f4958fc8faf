"""From no object to one: intents, names, adoption, lost answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from alchemy.engine.calling import call_provider
from alchemy.engine.values import given_values, wanted
from alchemy.engine.work import Work, changed_inputs
from alchemy.epochs import settle
from alchemy.errors import AlreadyExists, ProviderError
from alchemy.events import Action, Outcome
from alchemy.provider import Context, Provider, overrides
from alchemy.resource import Resource
from alchemy.state import Generation, JsonObject, Record, Status


class Creator:
    """Create one resource's object, or take over one that is there; with an intent before each call."""

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
        self.reclaims = False
        """Whether what bears the name that the program chose is ours, for the ledger has an object of that name."""
        self.action: Action | None = None
        self.began = time.monotonic()

    def _announce(self, action: Action) -> None:
        """Report what is about to be done; the first word counts."""
        if self.action is None:
            self.action = action
            self.began = self.run.began(self.fqn, self.declared.kind, action)

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
        return await call_provider(
            self.run,
            self.work.session,
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
        record.target = context.target = await self.run.targets.of(self.provider, context)
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
        record.absent = record.verify = False
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
        async def look(error: ProviderError) -> Resource | None:
            """After a lost answer: it may be there, and may be half-made."""
            if can_look:
                found = await self._look(lambda: self.provider.find(context, self.want))
            else:
                raise error  # a second one might be made, and nobody would know of the first
            return None if found is None else await self._bring_into_line(context, found)

        can_look = self.provider.recover in ("name", "token", "list")
        repeats = self.provider.recover == "again"
        try:
            made = await self._call(
                "create", lambda: self.provider.create(context, self.want), None if repeats else look
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
        if not self.adopt and not self.reclaims:
            raise self._refusal(record, context.name)
        self._refuse_unlike(context.name, found)
        record.absent = self.reclaims  # so that it is taken over also by whoever goes on after an interruption
        self.run.begun.discard(self.fqn)
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

    def _refusal(self, record: Record, name: str) -> AlreadyExists:
        """Say whose the object is that is in the way, and what to do."""
        for other in self.work.session.records.values():
            if other.fqn != self.fqn and other.kind == record.kind and other.physical_name == name:
                return AlreadyExists(
                    f"{name!r} belongs to {other.fqn}",
                    hint=f"if that is what {self.declared.id!r} was called before: "
                    f"options=Options(aliases=[{other.id!r}])",
                )
        return AlreadyExists(
            f"{name!r} exists already, and was not made by this application",
            hint="choose another name, or take it over: options=Options(adopt=True), or --adopt",
        )

    async def _finish(self, record: Record, made: Resource, status: Status, props: JsonObject | None = None) -> None:
        """Record that the object is as wanted, or as `props` say, with what the provider gave back."""
        declared = self.declared
        record.output = self.work.codec.outputs(made)
        record.props = self.work.props if props is None else props
        record.attempted = None
        record.absent = record.verify = False
        record.status = status
        record.physical_name = self._chosen or record.physical_name
        if declared.seen is None and declared.latch.awaited:
            declared.seen = self.run.clock.tick()
        record.seen = declared.seen
        settle(record)
        declared.decode = lambda: {name: getattr(made, name) for name in made._spec.outputs}
        await self.work.session.put(record)
