"""One resource on its way: its record, what the program wants, and whether that is the same. Calls no provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from alchemy.declared import Declared
from alchemy.engine.loading import provider_name
from alchemy.engine.run import Run, in_words
from alchemy.engine.session import Session
from alchemy.engine.values import FINGERPRINT, Codec, given_values
from alchemy.epochs import move
from alchemy.errors import AlchemyError, ResourceFailed
from alchemy.events import Action
from alchemy.resource import Options, Resource
from alchemy.serde import canonical
from alchemy.state import Generation, JsonObject, Record

_NONE: JsonObject = {}


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
        """Write into a record what the program says of the resource apart from its inputs.

        Its status comes first: an object that is in no transition is as its place says from now on.
        """
        declared = self.declared
        deps = sorted(dependency.fqn for dependency in declared.deps)
        move(record, self.run.epoch, seq=declared.seq, seen=declared.seen, deps=deps)
        record.retain, record.protect = declared.options.retain, declared.options.protect
        record.limits = _limits(declared.options)

    def described(self, record: Record) -> bool:
        """Say whether a record holds all of that already."""
        declared, options = self.declared, self.declared.options
        return (
            record.seq == declared.seq
            and record.retain == options.retain
            and record.protect == options.protect
            and record.limits == _limits(options)
            and record.deps == sorted(dependency.fqn for dependency in declared.deps)
        )


def _limits(options: Options) -> JsonObject:
    if options.timeout is None and options.retry is None:
        return _NONE
    said = {"timeout": options.timeout, "retry": options.retry}
    return {name: value for name, value in said.items() if value is not None}


def begin(run: Run, declared: Declared) -> Work:
    """Look a resource up and encode its inputs; everything passed in must be done."""
    session = run.session_for(declared.scope.chain)
    record = session.get(declared.fqn) or run.recall(declared.fqn, session)
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
        record = msgspec.structs.replace(record)
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
        verify=record.verify,
        confirmed=record.confirmed,
        earlier=record.earlier,
    )


def unknown(fqn: str, why: str, action: Action) -> ResourceFailed:
    """Make the failure of a resource of which only a person can say whether its object exists."""
    return ResourceFailed(
        f"{fqn} {why}, and its object cannot be looked for",
        fqn=fqn,
        action=action,
        hint=f"say what became of it: alchemy state resolve {fqn} --id ID, or --gone",
    )


def report(run: Run, declared: Declared, error: BaseException, action: Action | None, began: float) -> ResourceFailed:
    """Turn what was raised into the failure of a resource, and report it."""
    if isinstance(error, ResourceFailed):
        failure = error
        if error is run.undeletable.failure_of(declared.fqn):
            return error  # it was tried at the beginning
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
