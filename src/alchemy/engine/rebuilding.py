"""Rebuild a record by reading the object back: nothing is created, changed or deleted in the provider."""

from __future__ import annotations

import msgspec

from alchemy.engine.apply import Applier
from alchemy.engine.calling import ensure_held
from alchemy.engine.values import FINGERPRINT, given_values
from alchemy.errors import AlreadyExists, ResourceFailed
from alchemy.events import Outcome
from alchemy.provider import overrides
from alchemy.resource import Resource
from alchemy.state import JsonObject, Record, Status


class Rebuilder(Applier):
    """Find one declared resource's object, by its record or by its name, and record what is there."""

    async def rebuild(self) -> Outcome:
        """Read the object back, and write its record.

        Raises:
            ResourceFailed: there is none, or it cannot be looked for, or its record says that something was begun.
            AlreadyExists: there is one of the name that the program chose, and nothing says that it is ours.
        """
        self._announce("read")
        await ensure_held(self.run, self.work.session)
        known = await self._known()
        if known is None:
            await self._find_unknown()
        else:
            await self._read_known(msgspec.structs.replace(known))
        return "read"

    async def _read_known(self, record: Record) -> None:
        """Read what the record names."""
        self.work.record = record
        if record.kind != self.declared.kind:
            raise self._unread(f"state holds a {record.kind} of that name", "deploy, which replaces it")
        if record.status not in (Status.CREATED, Status.UPDATED):
            raise self._unread(f"it is {record.status} in state", "deploy, which goes on with what was begun")
        if not self._can_read:
            raise self._unread("its provider cannot read it back", "its record is left as it is")
        have = self._have(record)
        found = await self._read_back(record, have)
        if found is None:
            record.verify = True  # the next run reads again before it believes anything
            await self.work.session.put(record)
            raise self._missing()
        self._take_observed(record, have, found)
        await self._record(record, found, record.props)

    async def _find_unknown(self) -> None:
        """Look for an object of which there is no record: by the name that it would have."""
        looks = self.provider.recover in ("name", "token", "list")
        if not looks and not (self.provider.recover == "again" and overrides(self.provider, "read")):
            raise self._unread(
                "it is not in state, and its object cannot be looked for",
                f"if it exists: alchemy state resolve {self.fqn} --id ID",
            )
        record = self._new_record()
        self._intend(record)
        context = self._context(record)
        record.target = context.target = await self.run.targets.of(self.provider, context)
        # What does no harm when it is created twice is known by its inputs alone.
        look = self.provider.find if looks else self.provider.read
        found = await self._call("read", lambda: look(context, self.want))
        if found is None:
            raise self._missing()
        if self._chooses and not self.adopt:
            raise AlreadyExists(
                f"{context.name!r} exists, and it is not known whether this application made it",
                hint="if it is yours, take it over: options=Options(adopt=True), or --adopt",
            )
        before, now = given_values(self.want), given_values(found)
        observed = {name: value for name, value in now.items() if value is not before.get(name, ...)}
        props = {name: value for name, value in self.work.props.items() if name != FINGERPRINT}
        await self._record(record, found, {**props, **self.work.codec.some(self.work.resource._spec.inputs, observed)})

    async def _record(self, record: Record, found: Resource, props: JsonObject) -> None:
        """Write down what was found; inputs that are not as the program says are changed by the next deploy."""
        self.work.describe(record)
        await self._finish(record, found, Status.CREATED, props)

    def _missing(self) -> ResourceFailed:
        return self._unread("it is missing: its provider knows of no such object", "deploy, which creates it")

    def _unread(self, why: str, hint: str) -> ResourceFailed:
        return ResourceFailed(f"{self.fqn} was not read back: {why}", fqn=self.fqn, action="read", hint=hint)
