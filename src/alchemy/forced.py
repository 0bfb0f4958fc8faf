"""`force_update`: a deploy lets a scope begin without the state that its store has of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

import msgspec

from alchemy.engine.clearing import own_without
from alchemy.engine.run import Run
from alchemy.engine.session import Session
from alchemy.events import Notice
from alchemy.names import is_within
from alchemy.ports import Forceful, StateStore
from alchemy.scope import Scope
from alchemy.state import Record


def forceful(store: StateStore) -> Forceful | None:
    """Give a store as one that may be told to begin without state, if it is such a one."""
    from alchemy.stores._sealed import plain

    inner = plain(store)
    return inner if isinstance(inner, Forceful) else None


async def redeploy(run: Run, store: Forceful) -> None:
    """Have the store put what keeps the state in its place again, and say what came of it."""
    for sentence in await store.redeploy():
        run.emit(Notice(level="info", message=f"[{_name(store)}] {sentence}"))


async def start_over(run: Run, scope: Scope, session: Session, store: Forceful) -> None:
    """Forget what a store has of a scope, when it was backed up; nothing is destroyed.

    It goes into the ledger of the run's unit, from which what still exists comes back when it is declared. What nested
    scopes keep in other stores stays there. Where the store cannot clear, the state stays as it is, with a warning.
    Tests that clean up after themselves make no backup, here neither.

    Args:
        scope: of which nothing was used yet.
        session: that holds what lies in it.
        store: the session's own.
    """
    name, chain = _name(store), scope.chain
    run.emit(Notice(level="info", message=f"[{name}] forceUpdate enabled - clearing state for scope {chain}"))
    assert session.lease is not None, "only a deploy clears, and it holds what it works on"
    inside = {fqn: record for fqn, record in session.records.items() if is_within(fqn, chain)}
    stay = _staying(inside, chain)
    gone = {fqn: record for fqn, record in inside.items() if fqn not in stay}
    if gone:
        status = await store.refuses_to_clear(session.lease, chain)
        if status is not None:
            run.warn(f"[{name}] Failed to clear state: {status}")
            return
        await session.back_up()
        if session.backup:
            undo = shlex.join(["alchemy", "scope", "restore", chain, "--backup", session.backup])
            run.emit(Notice(level="info", message=f"[{name}] State as it was can be brought back: {undo}"))
        await _clear(run, scope, session, gone, stay)
    run.emit(Notice(level="info", message=f"[{name}] State cleared successfully"))


def _name(store: Forceful) -> str:
    return type(store).__name__


def _staying(inside: Mapping[str, Record], chain: str) -> dict[str, Record]:
    """Give the records of scopes that have to stay: what lies in other stores is found by them alone."""
    elsewhere = [chain, *(fqn for fqn, record in inside.items() if record.is_scope and record.props.get("state_store"))]
    return {
        fqn: msgspec.structs.replace(record)
        for fqn, record in inside.items()
        if record.is_scope and any(is_within(other, fqn) for other in elsewhere)
    }


async def _clear(
    run: Run, scope: Scope, session: Session, gone: Mapping[str, Record], stay: Mapping[str, Record]
) -> None:
    own = own_without(run, scope.root, gone)
    kept = [record for record in stay.values() if record.fqn != own.fqn]
    if session is run.session:
        await session.clear(scope.chain, own, *kept)
    else:
        # The ledger first: should the run end between the two, a record beside its entry does no harm.
        await run.session.put(own)
        await session.clear(scope.chain, *kept)
    run.orphans = run.orphans.difference(gone)
    for record in gone.values():
        if run.undeletable.forgive(record.fqn):
            run.finished(record.fqn, record.kind, "forgotten", None, 0.0)
