"""Composites: resources that are made of others, declared in a scope of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from alchemy.engine.work import Work, generation_of
from alchemy.errors import DeclarationError
from alchemy.events import Outcome
from alchemy.ports import Runner
from alchemy.resource import detached
from alchemy.scope import Scope, set_current
from alchemy.state import Record, Status


async def compose(runner: Runner, work: Work, outcome: Outcome) -> Outcome:
    """Declare what a composite is made of, in a scope of its own, and keep the outputs it gives."""
    declared, session = work.declared, work.session
    record = session.get(declared.fqn)
    if record is None and work.record is not None and work.record.kind == declared.kind:
        record = work.record  # a reset has forgotten it
        session.put(record)
    if record is None or (not work.provider_name and record.kind != declared.kind):
        if record is None:
            work.run.begun.add(declared.fqn)
        record, outcome = _record(work, record), "created"
        session.put(record)
    inner = Scope(
        kind="resource",
        name=declared.id,
        parent=declared.scope,
        settings=declared.scope.settings,
        runner=runner,
    )
    declared.inner = inner
    set_current(inner)
    try:
        given = await declared.resource.declare()
    except BaseException as error:
        await inner.settle(error)
        raise
    await inner.settle(None)
    inner.closed = True
    return await _keep_outputs(work, record, given or {}, outcome)


def _record(work: Work, old: Record | None) -> Record:
    declared = work.declared
    record = Record(kind=declared.kind, id=declared.id, fqn=declared.fqn)
    if old is not None:
        record.generation = old.generation + 1
        record.generations = [*old.generations, generation_of(old)] if old.provider else list(old.generations)
    work.describe(record)
    return record


async def _keep_outputs(work: Work, record: Record, given: Mapping[str, Any], outcome: Outcome) -> Outcome:
    declared, resource = work.declared, work.resource
    unknown = [name for name in given if name not in resource._spec.outputs]
    if unknown:
        raise DeclarationError(f"{declared.fqn}: declare() gave {unknown[0]!r}, which is no output of its class")
    if declared.decode is not None or work.provider_name:
        given = {**declared.outputs(), **given}
    made = detached(resource, **given)
    output = work.codec.outputs(made)
    changed = record.output != output or record.props != work.props or not record.is_stable
    if changed or not work.described(record):
        if outcome == "unchanged" and changed:
            outcome = "updated"
        record = msgspec.structs.replace(record)
        record.output, record.props, record.attempted, record.verify = output, work.props, None, False
        record.status = Status.CREATED if outcome == "created" else Status.UPDATED
        work.describe(record)
        await work.session.put(record)
    declared.decode = lambda: dict(given)
    return outcome
