"""Renames: a record follows its resource to a new id, when the program says what it was called."""

from __future__ import annotations

from typing import Any

from alchemy.engine.run import Run
from alchemy.engine.values import Codec
from alchemy.names import is_within, join
from alchemy.resource import Declared
from alchemy.state import Record


def move(run: Run, declared: Declared) -> None:
    """Move the record of an alias, and everything below it, to the resource's FQN, in one commit.

    Does nothing when the resource has a record already, when no alias has one, or when the alias is declared too.
    """
    session = run.session_for(declared.scope.chain)
    if session.get(declared.fqn) is not None:
        return
    for alias in declared.options.aliases:
        old = alias if "/" in alias else join(declared.scope.chain, alias)
        record = session.get(old)
        if record is None or record.is_scope or declared.scope.has_resource(alias):
            continue
        below = [(fqn, found) for fqn, found in session.records.items() if is_within(fqn, old) and fqn != old]
        _rename(run, declared, record, declared.fqn)
        for fqn, found in below:
            _rename(run, declared, found, declared.fqn + fqn[len(old) :])
        session.put_all([record, *(found for _, found in below)], drop=[old, *(fqn for fqn, _ in below)])
        return


def _rename(run: Run, declared: Declared, record: Record, fqn: str) -> None:
    """Give a record its new name, and bind its secrets to it."""
    settings, chain = declared.scope.settings, declared.scope.chain
    before, after = (Codec(lambda: run.cipher(settings, chain), name) for name in (record.fqn, fqn))
    for name in ("props", "attempted", "output"):
        data = getattr(record, name)
        if data is not None:
            setattr(record, name, _resealed(data, before, after))
    record.fqn, record.id = fqn, fqn.rpartition("/")[2]


def _resealed(data: Any, before: Codec, after: Codec) -> Any:
    if isinstance(data, dict):
        if data.keys() == {"@secret"}:
            return after.value(before.open(data["@secret"]))
        return {key: _resealed(item, before, after) for key, item in data.items()}
    if isinstance(data, list):
        return [_resealed(item, before, after) for item in data]
    return data
