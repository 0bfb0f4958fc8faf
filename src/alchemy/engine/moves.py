"""Renames: a record follows its resource to a new id, when the program says what it was called.

What a reset has forgotten follows as well, in the ledger: else the next run would not know its own objects.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec

from alchemy.config import Settings
from alchemy.declared import Declared
from alchemy.engine.ledger import forget, forgotten, names_in, strike
from alchemy.engine.run import Run
from alchemy.engine.session import Session
from alchemy.engine.values import Codec
from alchemy.names import is_within, join, leaf, parent
from alchemy.scope import Scope
from alchemy.state import Generation, Json, JsonObject, Record


def move(run: Run, declared: Declared) -> None:
    """Move the record of an alias, and everything below it, to the resource's FQN, in one commit.

    What refers to it in other records follows in the same commit. Does nothing when the resource has a record
    already, or a reset has forgotten one there or below; when no alias has one, or when the alias is declared itself.
    What a reset has forgotten under the alias moves out of the ledger in the same way.
    """
    session = run.session_for(declared.scope.chain)
    # what is in the ledger would have no owner any more, once another record has its name
    if session.get(declared.fqn) is not None or run.recall(declared.fqn, session) is not None:
        return
    if any(is_within(name, declared.fqn) for name in names_in(session.get(session.unit))):
        return
    for alias in declared.options.aliases:
        old = alias if "/" in alias else join(declared.scope.chain, alias)
        if _is_declared(declared.scope.root, old):
            continue
        record = session.get(old) or run.recall(old, session)
        if record is not None and not record.is_scope:
            # The unit's first, where the ledger is: cut short in between, the next run finds the record as it was.
            for each in dict.fromkeys((run.session, session)):
                move_records(run, each, old, declared.fqn, settings=declared.scope.settings)
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


def move_records(
    run: Run, session: Session, old: str, new: str, *along: Record, settings: Settings
) -> Awaitable[None] | None:
    """Give the records at an FQN and below it another FQN in place of that, and let others follow, in one commit.

    What is in the ledger of the session's unit follows likewise.

    Args:
        along: records that change for another reason, and are written in the same commit as they are.
        settings: with the password of the scope that it happens in.

    Returns:
        What makes it durable when awaited; `None`: nothing is of that name, nor speaks of it, and nothing is written.

    Raises:
        SecretError: a secret does not open, which is bound to its record's name; nothing was written.
    """

    def renamed(fqn: str) -> str:
        return new + fqn[len(old) :] if is_within(fqn, old) else fqn

    own = next((record for record in along if record.fqn == session.unit), session.get(session.unit))
    kept = _with_ledger(run, own, old, renamed, settings=settings)
    moved = [record for record in along if kept is None or record is not own]
    moved += [kept] if kept is not None else []
    dropped: list[str] = []
    written = {record.fqn for record in moved}
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
    return session.put_all(moved, drop=dropped) if moved else None


def _with_ledger(
    run: Run, own: Record | None, old: str, renamed: Callable[[str], str], *, settings: Settings
) -> Record | None:
    """Give the unit's own record with a ledger in which the names are others; `None`: it says nothing of them."""
    changed: dict[str, Record] = {}
    for fqn, entry in forgotten(own).items():
        refers = _rename_references(entry, renamed)
        if is_within(fqn, old):
            _rename(run, settings, entry, renamed(fqn), parent(renamed(old)))
        elif not refers:
            continue
        changed[fqn] = entry
    if own is None or not changed:
        return None
    own = msgspec.structs.replace(own)
    strike(own, changed)
    forget(own, changed.values())
    return own


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
