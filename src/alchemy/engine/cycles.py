"""Resources that wait for each other: possible only where a part of a composite needs what waits for the composite."""

from __future__ import annotations

from collections.abc import Iterator

from alchemy.declared import Declared
from alchemy.errors import DeclarationError
from alchemy.scope import Scope


def check_cycle(declared: Declared, dependency: Declared) -> None:
    """Check that a resource that is about to wait for `dependency` is not waited for by it.

    Raises:
        DeclarationError: it is; names the whole way round.
    """
    holders = list(_holders(declared.scope))
    if not holders:
        return  # what is passed in existed before, so that only parts can be waited for by what came later
    came_from: dict[Declared, Declared | None] = {dependency: None}
    queue = [dependency]
    while queue:
        found = queue.pop()
        if found in holders:
            raise DeclarationError(
                f"{' waits for '.join([declared.fqn, *_way(found, came_from), declared.fqn])}: a cycle",
                hint="pass the part an input of the composite instead",
            )
        for other in _awaited_by(found):
            if other not in came_from:
                came_from[other] = found
                queue.append(other)


def _holders(scope: Scope | None) -> Iterator[Declared]:
    while scope is not None:
        if scope.kind == "resource" and scope.parent is not None and scope.name in scope.parent.resources:
            yield scope.parent.resources[scope.name]
        scope = scope.parent


def _awaited_by(declared: Declared) -> Iterator[Declared]:
    yield from (dependency for dependency in declared.deps if not dependency.latch.done)
    if declared.inner is not None:
        yield from _unfinished(declared.inner)


def _unfinished(scope: Scope) -> Iterator[Declared]:
    yield from (held for held in scope.resources.values() if not held.latch.done)
    for inner in scope.scopes.values():
        if isinstance(inner, Scope):
            yield from _unfinished(inner)


def _way(found: Declared, came_from: dict[Declared, Declared | None]) -> list[str]:
    way: list[str] = []
    step: Declared | None = found
    while step is not None:
        way.insert(0, step.fqn)
        step = came_from[step]
    return way
