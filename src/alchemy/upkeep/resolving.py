"""Resolving: a person says what became of an object that nobody can look for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from alchemy.engine import ledger
from alchemy.engine.loading import load_provider
from alchemy.engine.run import Run
from alchemy.engine.session import Session
from alchemy.errors import ConfigurationError
from alchemy.events import ResourceLog
from alchemy.names import parent, unit_of
from alchemy.provider import Provider, overrides, resource_class
from alchemy.state import Generation, JsonObject, Record, Status
from alchemy.upkeep.working import Upkeep, work_on


async def resolve(fqn: str, ids: Sequence[str], **options: Any) -> str:
    """Record what a person says of a resource whose record was left half-way, or is not known to be so.

    The object is not looked at: with an id, the next run reads it where its provider can.

    Args:
        fqn: the resource; also one that a reset has forgotten.
        ids: the object's outputs as `NAME=VALUE`, or its id alone where only one output can be meant. None: it does
            not exist (any more).
        options: as for `alchemy(...)`.

    Returns:
        What was recorded, in words.

    Raises:
        ConfigurationError: there is no such resource, nothing about it is open, or an id cannot be used.
        LockedError, StateError: nothing was recorded.
    """
    said: list[str] = []

    async def work(upkeep: Upkeep) -> None:
        run = upkeep.run
        before = run.session_for(parent(fqn)).get(fqn) or run.recall(fqn, run.session_for(parent(fqn)))
        said.append(await _resolve(run, fqn, ids))
        run.emit(ResourceLog(fqn=fqn, message=said[0]))
        run.finished(fqn, before.kind if before else "", "adopted" if ids else "forgotten", None, 0.0)

    await work_on(unit_of(fqn), work, **options)
    return said[0]


async def _resolve(run: Run, fqn: str, ids: Sequence[str]) -> str:
    session = run.session_for(parent(fqn))
    known = session.get(fqn)
    if known is None:
        return await _resolve_forgotten(run, session, fqn, ids)
    record = msgspec.structs.replace(known, generations=[msgspec.structs.replace(old) for old in known.generations])
    begun = [old for old in record.generations if old.status is Status.CREATING]
    of: Record | Generation
    if record.is_scope:
        raise ConfigurationError(f"{fqn} is a scope: it has no object")
    if record.status in (Status.CREATING, Status.UPDATING, Status.DELETING) or record.verify:
        of = record
    elif len(begun) == 1 or (begun and not ids):
        of = begun[0]
    else:
        raise ConfigurationError(
            f"{fqn} is {record.status}: nothing about it is open", hint=f"look: alchemy state get {fqn}"
        )
    if ids:
        _take(of, _outputs(of, fqn, ids), fqn)
        await session.put(record)
        return f"{fqn} exists, as {', '.join(f'{name}={value}' for name, value in of.output.items())}"
    if of is not record:
        record.generations = [old for old in record.generations if old not in begun]
        await session.put(record)
    elif record.generations:
        record.status, record.verify = Status.DELETED, False
        record.props, record.attempted, record.output = {}, None, {}
        await session.put(record)
    else:
        await session.drop(fqn)
    return f"{fqn} is gone: {'its record was dropped' if session.get(fqn) is None else 'its record says so'}"


async def _resolve_forgotten(run: Run, session: Session, fqn: str, ids: Sequence[str]) -> str:
    """Take something that a reset has forgotten out of the ledger; with an id it has a record again."""
    home = next((each for each in (session, run.session) if each.recall(fqn) is not None), None)
    own = home.get(home.unit) if home is not None else None
    if home is None or own is None:
        raise ConfigurationError(f"there is no {fqn} in state", hint="`alchemy state list` shows what there is")
    own = msgspec.structs.replace(own)
    record = ledger.take_back(own, fqn)
    assert record is not None
    if not ids:
        await home.put(own)
        return f"{fqn} is gone: it was struck from what a reset has forgotten"
    _take(record, _outputs(record, fqn, ids), fqn)
    if home is session:
        await session.put_all((record, own))
    else:
        await session.put(record)
        await home.put(own)
    return f"{fqn} exists: it has a record again"


def _take(of: Record | Generation, output: JsonObject, fqn: str) -> None:
    """Believe that the object exists with these outputs; what its provider can read is read before it is used."""
    provider = _provider(of, fqn)
    of.output = {**of.output, **output}
    if isinstance(of, Generation):
        return  # it is only to be deleted
    reads = overrides(provider, "read") or provider.recover not in ("again", "none")
    missing = [name for name in resource_class(type(provider))._spec.outputs if name not in of.output]
    if not reads and missing:
        raise ConfigurationError(
            f"nobody can read what {fqn} is: say its other outputs too",
            hint=" ".join(f"--id {name}=VALUE" for name in missing),
        )
    if of.status is Status.CREATING:
        of.props, of.attempted, of.status = of.attempted or of.props, None, Status.CREATED
    of.verify = reads


def _provider(of: Record | Generation, fqn: str) -> Provider[Any]:
    if not of.provider:
        raise ConfigurationError(f"{fqn} is made of others, and has no object of its own", hint="resolve those")
    return load_provider(of.provider, fqn=fqn)


def _outputs(of: Record | Generation, fqn: str, ids: Sequence[str]) -> JsonObject:
    """Turn what was said into outputs.

    Raises:
        ConfigurationError: no output of that name or type, a secret, or an id that may be meant for several.
    """
    cls = resource_class(type(_provider(of, fqn)))
    cls._spec.inputs  # noqa: B018 - resolves the types
    fields = cls._spec.outputs
    found: JsonObject = {}
    for text in ids:
        name, mark, value = text.partition("=")
        if not mark or name not in fields:
            name, value = _only_id(fields, fqn), text
        if fields[name].secret or fields[name].wrapped:
            raise ConfigurationError(f"{name!r} of {fqn} is a secret: it is not taken from the command line")
        check = fields[name].check
        candidates: list[Any] = [value, *_numbers(value)]
        fitting = [candidate for candidate in candidates if check is None or check(candidate)]
        if not fitting:
            raise ConfigurationError(f"{name!r} of {fqn} must be {fields[name].described}, not {value!r}")
        found[name] = fitting[0]
    return found


def _only_id(fields: Mapping[str, Any], fqn: str) -> str:
    """Give the output that an id alone must mean."""
    ids = [name for name in fields if name in ("id", "uuid", "arn") or name.endswith(("_id", "_arn"))]
    candidates = ids or list(fields)
    if len(candidates) != 1:
        have = ", ".join(fields) or "none"
        raise ConfigurationError(
            f"{fqn} has no output that an id alone must mean; it has {have}", hint="write --id NAME=VALUE"
        )
    return candidates[0]


def _numbers(text: str) -> list[Any]:
    try:
        number: Any = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return []
    return [number]
