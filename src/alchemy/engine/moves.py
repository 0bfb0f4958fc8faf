"""Renames: a record follows its resource to a new id, when the program says what it was called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec

from alchemy.config import Settings
from alchemy.declared import Declared
from alchemy.engine.ledger import forgotten, recall, strike
from alchemy.engine.run import Run
from alchemy.engine.session import Session
from alchemy.engine.values import Codec
from alchemy.names import is_within, join, leaf, parent
from alchemy.scope import Scope
from alchemy.state import Generation, Json, JsonObject, Record


def move(run: Run, declared: Declared) -> None:
    """Move the record of an alias, and everything below it, to the resource's FQN, in one commit.

    What refers to it in other records follows in the same commit. Does nothing when the resource has a record
    already, or a reset has forgotten one; when no alias has one, or when the alias is declared itself. What a reset has
    forgotten under the alias moves out of the ledger in the same way.
    """
    session = run.session_for(declared.scope.chain)
    # what is in the ledger would have no owner any more, once another record has its name
    if session.get(declared.fqn) is not None or run.recall(declared.fqn, session) is not None:
        return
    for alias in declared.options.aliases:
        old = alias if "/" in alias else join(declared.scope.chain, alias)
        record = session.get(old)
        if _is_declared(declared.scope.root, old):
            continue
        if record is not None and not record.is_scope:
            move_records(run, session, old, declared.fqn, settings=declared.scope.settings)
            return
        if record is None and session.recall(old) is not None:
            _move_forgotten(run, declared, session, old)
            return


def _is_declared(root: Scope, fqn: str) -> bool:
    """Say whether this run has declared a resource of that name."""
    if not is_within(fqn, root.chain) or fqn == root.chain:
        return False
    scope, (*holders, id) = root, fqn[len(root.chain) + 1 :].split("/")
    for name in holders:
        held = scope.resources.get(name)
        inner = held.inner if held is not None else scope.scopes.get(name)
        if not isinstance(inner, Scope):
            return False
        scope = inner
    return scope.has_resource(id)


def _move_forgotten(run: Run, declared: Declared, session: Session, old: str) -> None:
    own = session.get(session.unit)
    assert own is not None
    names = [fqn for fqn in forgotten(own) if is_within(fqn, old) and fqn not in session.records]
    found = {fqn: record for fqn in names if (record := recall(own, fqn)) is not None}
    own = msgspec.structs.replace(own)
    strike(own, found)
    session.records.update(found)
    try:
        move_records(run, session, old, declared.fqn, own, settings=declared.scope.settings)
    except BaseException:
        for fqn in found:
            session.records.pop(fqn, None)  # it is in the ledger still
        raise


def move_records(run: Run, session: Session, old: str, new: str, *along: Record, settings: Settings) -> Awaitable[None]:
    """Give the records at an FQN and below it another FQN in place of that, and let others follow, in one commit.

    Args:
        along: records that change for another reason, and are written in the same commit as they are.
        settings: with the password of the scope that it happens in.

    Raises:
        SecretError: a secret does not open, which is bound to its record's name; nothing was written.
    """

    def renamed(fqn: str) -> str:
        return new + fqn[len(old) :] if is_within(fqn, old) else fqn

    moved: list[Record] = list(along)
    dropped: list[str] = []
    written = {record.fqn for record in along}
    for fqn, record in list(session.records.items()):
        if fqn in written:
            continue
        # copies: if a secret does not open, or the write is refused, nothing has changed
        found = msgspec.structs.replace(record, generations=[msgspec.structs.replace(g) for g in record.generations])
        refers = _rename_references(found, renamed)
        if is_within(fqn, old):
            _rename(run, settings, found, renamed(fqn), parent(new))
            dropped.append(fqn)
        elif not refers:
            continue
        moved.append(found)
    return session.put_all(moved, drop=dropped)


def _rename_references(record: Record, renamed: Callable[[str], str]) -> bool:
    """Let what a record says of other resources follow them; say whether it said anything of one that moves."""
    changed = False
    every: list[Record | Generation] = [record, *record.generations]
    for of in every:
        deps = sorted(renamed(fqn) for fqn in of.deps)
        earlier = [msgspec.structs.replace(place, deps=sorted(map(renamed, place.deps))) for place in of.earlier]
        changed = changed or deps != of.deps or earlier != of.earlier
        of.deps, of.earlier = deps, earlier
        for name in ("props", "attempted"):
            data = getattr(of, name)
            now = _referring(data, renamed)
            changed = changed or now != data
            setattr(of, name, now)
    return changed


def _referring(data: Json, renamed: Callable[[str], str]) -> Json:
    if isinstance(data, dict):
        fields = cast("JsonObject", data)
        if fields.keys() == {"@resource"}:
            payload = fields["@resource"]
            fqn = renamed(payload["fqn"])
            return {
                "@resource": {**payload, "id": leaf(fqn), "fqn": fqn, "values": _referring(payload["values"], renamed)}
            }
        return {key: _referring(item, renamed) for key, item in fields.items()}
    if isinstance(data, list):
        return [_referring(item, renamed) for item in cast("list[Json]", data)]
    return data


def _rename(run: Run, settings: Settings, record: Record, fqn: str, chain: str) -> None:
    """Give a record its new name, and bind its secrets to it."""
    before, after = (Codec(lambda: run.cipher(settings, chain), name) for name in (record.fqn, fqn))
    every: list[Record | Generation] = [record, *record.generations]
    for of in every:
        for name in ("props", "attempted", "output", "data"):
            data = getattr(of, name)
            if data is not None:
                setattr(of, name, _resealed(data, before, after))
    record.fqn, record.id = fqn, leaf(fqn)


def _resealed(data: Json, before: Codec, after: Codec) -> Any:
    if isinstance(data, dict):
        fields = cast("JsonObject", data)
        if fields.keys() == {"@secret"}:
            return after.value(before.open(fields["@secret"]))
        return {key: _resealed(item, before, after) for key, item in fields.items()}
    if isinstance(data, list):
        return [_resealed(item, before, after) for item in cast("list[Json]", data)]
    return data
