"""What a run leaves behind: orphans, deletes that could not be finished; and what it takes back when it fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from alchemy.engine.deleting import doom
from alchemy.engine.run import Run
from alchemy.engine.sweeping import doomed_of
from alchemy.engine.teardown import Destroyer
from alchemy.errors import AlchemyError, ResourceFailed
from alchemy.finalizing import Finalize
from alchemy.names import is_within, join, parent
from alchemy.scope import Scope
from alchemy.state import JsonObject, Record, Status

ORPHANS = "orphans"


def orphans_of(own: Record | None) -> frozenset[str]:
    """Give the FQNs of what had left the program when the last run could not finalize, by the unit's own record."""
    return frozenset(own.output.get(ORPHANS, ())) if own is not None else frozenset()


def note_orphans(run: Run, root: Scope) -> None:
    """Write down what has left the program and is in state still, when the program has said all that it had to say.

    What lies in a scope or a composite that was left by an error counts as declared: nobody knows.
    """
    unknown = list(_cut_short(root))
    gone = [item.record.fqn for item in doomed_of(run, root, Finalize(root.settings)) if item.old is None]
    _keep(run, sorted(fqn for fqn in gone if not any(is_within(fqn, chain) for chain in unknown)))


def forget_orphans(run: Run) -> None:
    """There are none any more; or one of them is in the program again, and the end of the run says what is left."""
    _keep(run, [])


def _keep(run: Run, fqns: list[str]) -> None:
    run.orphans = frozenset(fqns)
    own = run.session.get(run.unit)
    if own is not None and own.output.get(ORPHANS, []) != fqns:
        run.session.put(msgspec.structs.replace(own, output=without_orphans(own.output, fqns)))


def without_orphans(output: JsonObject, left: Sequence[str]) -> JsonObject:
    """Give what a unit's own record keeps, with those that are left as the list of orphans."""
    rest = {name: value for name, value in output.items() if name != ORPHANS}
    return {**rest, ORPHANS: list(left)} if left else rest


def _cut_short(scope: Scope) -> Iterator[str]:
    for declared in scope.resources.values():
        if declared.error is not None:
            yield declared.fqn
        elif declared.inner is not None:
            yield from _cut_short(declared.inner)
    for name, inner in scope.scopes.items():
        if not isinstance(inner, Scope) or inner.broken:
            yield join(scope.chain, name)
        else:
            yield from _cut_short(inner)


async def finish_deletes(run: Run, root: Scope) -> None:
    """Try first what an earlier run could not delete. What cannot be deleted now either is told at the end.

    That it failed is reported now; in a nested scope with a store of its own later: entering it may have it forgotten.
    """
    begun = [pair for pair in run.all_records().values() if pair[0].status is Status.DELETING]
    if not begun:
        return
    nested = [chain for chain in run.sessions if chain != run.unit]
    puts_off = {record.fqn for record, _ in begun if any(is_within(record.fqn, chain) for chain in nested)}
    destroyer = Destroyer(run, root.nursery, Finalize(root.settings), puts_off=puts_off)
    try:
        await destroyer.destroy(doom(begun, whole=True))
    except (AlchemyError, ExceptionGroup):
        run.undeletable.note(error for error in destroyer.errors if isinstance(error, ResourceFailed))


async def take_back(run: Run, scope: Scope) -> list[Exception]:
    """Destroy what was created in a scope in this run, dependents first; give what could not be destroyed.

    Nested scopes that keep what they created keep it, and so stays what something that stays was made from.
    """
    records = run.all_records()
    kept = list(_keeping(scope))
    mine = {
        fqn
        for fqn in run.begun
        if fqn in records and is_within(fqn, scope.chain) and not any(is_within(fqn, chain) for chain in kept)
    }
    while True:
        needed = {
            name for fqn, (record, _) in records.items() if fqn not in mine for name in (*record.deps, *_holders(fqn))
        }
        if mine.isdisjoint(needed):
            break
        mine -= needed
    if not mine:
        return []
    destroyer = Destroyer(run, scope.nursery, Finalize(scope.settings))
    try:
        await destroyer.destroy(doom((records[fqn] for fqn in mine), whole=True))
    except Exception as error:
        return destroyer.errors or [error]
    return []


def _holders(fqn: str) -> Iterator[str]:
    name = parent(fqn)
    while name:
        yield name
        name = parent(name)


def _keeping(scope: Scope) -> Iterator[str]:
    for inner in scope.scopes.values():
        if isinstance(inner, Scope):
            if inner.settings.on_failure == "keep":
                yield inner.chain
            else:
                yield from _keeping(inner)
