"""What an upload does to Durable Object classes, in whichever of its two ways it says so.

A Worker that was uploaded with `exports` goes on with them. One that had `migrations` can begin with them at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from alchemy.local.control import exports, migrations
from alchemy.local.control.classes import Classes, refuse_dropped
from alchemy.local.control.envelope import ApiError
from alchemy.local.runtime.plane import Workers
from alchemy.local.runtime.worker import Worker

# That these two codes exist is known; which of them means which is a guess. Clients treat them alike.
HAS_EXPORTS, BOTH_GIVEN = 100405, 100406


@dataclass(frozen=True)
class Changed:
    """What an upload makes of the Workers.

    Attributes:
        workers: all of them.
        probes: classes that are looked for in the code although the Worker has none of that name.
        judge: refuses the code, when it is told which classes it does not export.
        summary: of `exports`, for the answer.
    """

    workers: Workers
    probes: frozenset[str] = frozenset()
    judge: Callable[[Iterable[str]], None] = lambda missing: None
    summary: Mapping[str, Any] = field(default_factory=dict[str, Any])


def changed(workers: Workers, worker: Worker, given: Mapping[str, Any], *, whole: bool) -> Changed:
    """Put `worker` among the others, with its classes as the metadata `given` say.

    Args:
        whole: the upload is one of everything, so that leaving out `exports` means that there are none.

    Raises:
        ApiError: see `exports.reconcile` and `migrations.migrate`; 100405 or 100406 for a mixture of both.
    """
    before = workers.get(worker.name)
    declared, steps = given.get("exports"), given.get("migrations")
    if declared is not None and steps is not None:
        raise ApiError(400, BOTH_GIVEN, "'exports' and 'migrations' cannot be given together.")
    if worker.declarative and steps is not None:
        raise ApiError(400, HAS_EXPORTS, f"'{worker.name}' has 'exports', and so cannot have 'migrations'.")
    classes = Classes(workers, worker.name)
    if declared is not None or (worker.declarative and whole):
        entries = {} if declared is None else exports.read(declared)
        return _declared(workers, before, worker, classes, entries)
    tag = worker.migration_tag if steps is None else migrations.migrate(worker, classes, steps)
    after = classes.applied(replace(worker, migration_tag=tag))
    return Changed(after, judge=lambda missing: _judge(before, missing))


def _declared(
    workers: Workers, before: Worker | None, worker: Worker, classes: Classes, entries: Mapping[str, exports.Entry]
) -> Changed:
    done = exports.reconcile(worker.name, workers, classes, entries)
    after = dict(classes.applied(replace(worker, declarative=True, pending=done.pending)))
    for name, target in done.given.items():
        pending = {each: source for each, source in after[target].pending.items() if each != name}
        after[target] = replace(after[target], pending=pending)
    return Changed(
        after,
        probes=done.gone | done.live,
        judge=lambda missing: exports.refuse_code(done, before, missing),
        summary=done.summary,
    )


def _judge(before: Worker | None, missing: Iterable[str]) -> None:
    missing = sorted(missing)
    if before is not None:
        refuse_dropped(before, missing)
    if missing:
        raise ApiError(
            400,
            10021,
            f"Cannot create a Durable Object namespace: the class '{missing[0]}' is not exported by the script.",
        )
