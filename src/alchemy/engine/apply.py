"""Bring one resource to where the program wants it: create, update, replace, recover."""

from __future__ import annotations

import contextlib

import msgspec

from alchemy.engine.calling import ensure_held
from alchemy.engine.claims import claimed_by
from alchemy.engine.creating import Creator
from alchemy.engine.values import FINGERPRINT, given_values
from alchemy.engine.work import changed_inputs, equal, generation_of, record_to_outputs, unknown
from alchemy.errors import AlreadyExists, Gone, ResourceFailed, TargetMismatch
from alchemy.events import Outcome
from alchemy.provider import Change, overrides
from alchemy.resource import Resource
from alchemy.state import Generation, JsonObject, Record, Status


class Applier(Creator):
    """Call the provider for one resource that may have a record already, with an intent before each call."""

    async def apply(self) -> Outcome:
        """Do what is to be done.

        Returns:
            How it ended; `replaced` leaves the old generation in the record, to be deleted at the end of the run.
        """
        await ensure_held(self.run, self.work.session)
        known = await self._known()
        if known is None:
            self.run.begun.add(self.fqn)
            return await self._create(self._new_record())
        self.reclaims = self._has_chosen_again(known)
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
                return await (self._verify(record) if record.verify else self._change(record))

    def _has_chosen_again(self, known: Record) -> bool:
        """Whether a reset has forgotten an object of the very name that the program chooses.

        Somebody may have removed it and made another one by hand: that is why there are resets.
        """
        is_ruled_out = self._chosen is None or self.declared.options.adopt is False
        is_same = known.kind == self.declared.kind and known.physical_name == self._chosen
        return self._was_forgotten and is_same and not is_ruled_out

    @property
    def _was_forgotten(self) -> bool:
        """Whether it is in the ledger, and has no record yet."""
        return self.work.session.get(self.fqn) is None

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
        context.target = await self.run.targets.of(self.provider, context, record.target)
        await self.work.session.put(record)
        before = have or self._have(record)
        try:
            made = await self._call("update", lambda: self.provider.update(context, self.want, before))
        except Gone:
            return await self._recreate(record)
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
        if record.verify and await self._is_anothers_or_gone(record, have):
            return
        context = self._context(record, have)
        context.name = record.physical_name or context.name
        context.target = await self.run.targets.of(self.provider, context, record.target)
        with contextlib.suppress(Gone):
            await self._call("delete", lambda: self.provider.delete(context, have))

    async def _is_anothers_or_gone(self, record: Record, have: Resource) -> bool:
        """Look, before it is deleted, what became of the object of a record that was restored, or forgotten."""
        if claimed_by(self.work.session, record, record, type(have)) is not None:
            return True
        return self._can_read and await self._read_back(record, have) is None

    async def _finish_delete(self, record: Record) -> Outcome:
        """A delete was begun and the program wants the resource again: finish it, then create."""
        failure = self.run.undeletable.failure_of(self.fqn)
        if failure is not None:
            raise failure
        self._announce("create")
        if record.status is Status.DELETING:
            if self._was_forgotten and self._can_read and await self._read_back(record, self._have(record)) is None:
                return await self._recreate(record)  # under its name, which somebody may have given to another
            await self._delete(record)
        self._next_generation(record)
        return await self._create(record)

    # Recovery

    async def _known(self) -> Record | None:
        """Give the record, whose object lives where calls go; none when it went with the data set that it was in."""
        record = self.work.record
        if record is None or not record.target or not record.provider:
            return record
        # what was of another kind before may live elsewhere
        same = record.provider == self.work.provider_name
        provider = self.provider if same else self.run.provider(record.provider, fqn=self.fqn)
        try:
            await self.run.targets.of(provider, self._context(record), record.target)
        except TargetMismatch as error:
            if not (self._was_forgotten and error.is_remade):
                raise
            self.work.record = None
        return self.work.record

    async def _resume_create(self, record: Record) -> Outcome:
        """A create was begun and not recorded as done: find out, then go on."""
        last = record.generations[-1] if record.generations else None
        if last is not None and self._is_as_wanted(last):
            return await self._revert(record)
        outcome: Outcome = "replaced" if last is not None else "created"
        self._announce("replace" if last is not None else "create")
        if self.provider.recover == "none" and not (record.output and overrides(self.provider, "read")):
            raise unknown(self.fqn, "was being created when a run ended", "create")
        attempted = record.attempted or {}
        differs = self._kind_of_change(record, attempted) == "replace"
        if differs and not self._fixed_name(record):
            return await self._supersede(record)
        if self.provider.recover == "again" and not differs:
            return await self._create(record, outcome=outcome)
        found = await self._find_begun(record)
        if found is None:
            record.output = {}  # a checkpoint's: what it named is gone
            return await self._create(record, outcome=outcome)
        record.props = attempted
        record.output = self.work.codec.some(self.work.resource._spec.outputs, given_values(found))
        if differs:
            await self._delete(record)
            return await self._create_next(record)
        if overrides(self.provider, "update"):
            await self._update(record, found)
        else:
            self.work.describe(record)  # the intent tells of the program that began it
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
        context.target = await self.run.targets.of(self.provider, context, record.target)
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
        return not self._can_read or await self._read_back(record, self._have(record)) is not None

    async def _resume_update(self, record: Record) -> Outcome:
        """An update was begun: read what there is, then apply all of it again."""
        if self._kind_of_change(record) == "replace":
            return await self._replace(record, "an input that cannot be changed in place is another")
        if not self._can_read:
            return await self._update(record)
        found = await self._read_back(record, self._have(record))
        if found is None:
            return await self._recreate(record)
        return await self._update(record, found)

    async def _recreate(self, record: Record) -> Outcome:
        """Create again what is gone: nothing that was said of the old object holds for the new one."""
        record.output, record.data = {}, {}
        return await self._create(record)

    # Records that are not known to be so

    async def _verify(self, record: Record) -> Outcome:
        """A record was restored, or had been forgotten: read what there is, and go on from that.

        What is gone, or in the hands of another record, is created anew.
        """
        owner = claimed_by(self.work.session, record, record, type(self.work.resource))
        if owner is not None:
            self.run.warn(f"{self.fqn} was restored, and its object is that of {owner} now: another one is created")
            self._next_generation(record)
            return await self._create(record)
        if not self._can_read:
            return await self._repeat(record)
        have = self._have(record)
        found = await self._read_back(record, have)
        if found is None:
            return await self._recreate(record)
        self._take_observed(record, have, found)
        was_forgotten = self._was_forgotten
        outcome = await self._change(record)
        return "adopted" if was_forgotten and outcome == "unchanged" else outcome

    def _take_observed(self, record: Record, have: Resource, found: Resource) -> None:
        """Put what was read in the place of what the record said."""
        spec, before, now = self.work.resource._spec, given_values(have), given_values(found)
        observed = {name: value for name, value in now.items() if value is not before.get(name, ...)}
        # what files held when it was applied cannot be read back: without a fingerprint they are applied again
        props = {name: value for name, value in record.props.items() if name != FINGERPRINT}
        record.props = {**props, **self.work.codec.some(spec.inputs, observed)}
        record.output = {**record.output, **self.work.codec.some(spec.outputs, observed)}
        record.verify = False

    async def _repeat(self, record: Record) -> Outcome:
        """Nobody can say whether it is there: make it so again, if that does no harm; else a person must say."""
        if self.provider.recover == "none":
            raise unknown(self.fqn, "was restored", self.action or "update")
        if self._kind_of_change(record) == "replace":
            return await self._replace(record, "an input that cannot be changed in place is another")
        return await self._create(record, outcome="updated")

    @property
    def _can_read(self) -> bool:
        return overrides(self.provider, "read") or self.provider.recover not in ("again", "none")

    async def _read_back(self, record: Record, have: Resource) -> Resource | None:
        """Read a record's object by what the record says of it; `None`: it is gone."""
        context = self._context(record, have)
        context.name = record.physical_name or context.name
        context.target = await self.run.targets.of(self.provider, context, record.target)
        found: Resource | None = await self._call("read", lambda: self.provider.read(context, have))
        return found
