"""What is to be destroyed at the end of a run: what is in state and was not declared, and what was replaced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from alchemy.engine.deleting import Doomed, doom
from alchemy.engine.run import Run
from alchemy.engine.session import Session
from alchemy.finalizing import Finalize
from alchemy.names import is_within, join, parent
from alchemy.scope import Scope
from alchemy.state import Record

Found = Mapping[str, tuple[Record, Session]]


def doomed_of(run: Run, scope: Scope, options: Finalize) -> list[Doomed]:
    """List what has to go below a scope; everything, if the options say so.

    A nested scope that is finalized early keeps what something outside it was made from; the stage's end takes it.
    """
    records, below = run.all_records(), f"{scope.chain}/"
    inside = {fqn: pair for fqn, pair in records.items() if fqn.startswith(below)}
    live: set[str] = set() if options.everything else set(_declared_below(scope))
    live |= {holder for fqn in live for holder in _holders(fqn, scope.chain)}
    for kept in _kept_below(scope):
        live |= {fqn for fqn in inside if is_within(fqn, kept)}
    orphans = [pair for fqn, pair in inside.items() if fqn not in live]
    replaced = [pair for fqn, pair in inside.items() if fqn in live and pair[0].generations]
    doomed = [*doom(orphans, whole=True), *doom(replaced, whole=False)]
    if scope.kind not in ("stage", "test"):
        doomed = [item for item in doomed if not _needed_outside(item.record, inside, records)]
    return doomed


def _declared_below(scope: Scope) -> Iterator[str]:
    """Give the FQN of everything that this run declared below a scope, scopes included."""
    for declared in scope.resources.values():
        yield declared.fqn
        if declared.inner is not None:
            yield from _declared_below(declared.inner)
    for inner in scope.scopes.values():
        if isinstance(inner, Scope):
            yield inner.chain
            yield from _declared_below(inner)


def _kept_below(scope: Scope) -> Iterator[str]:
    """Give the FQNs that `register_resource` named below a scope; with everything in them they stay."""
    for id in scope.kept:
        yield join(scope.chain, id)
    for declared in scope.resources.values():
        if declared.inner is not None:
            yield from _kept_below(declared.inner)
    for inner in scope.scopes.values():
        if isinstance(inner, Scope):
            yield from _kept_below(inner)


def _holders(fqn: str, chain: str) -> Iterator[str]:
    name = parent(fqn)
    while name and name != chain:
        yield name
        name = parent(name)


def _needed_outside(record: Record, inside: Found, records: Found) -> bool:
    return any(record.fqn in other.needs for fqn, (other, _) in records.items() if fqn not in inside)
