"""The end of a run: in which order what it holds is put in order, given back, and told."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from alchemy import reports
from alchemy.engine.run import Run
from alchemy.errors import LeaseLost
from alchemy.holdings import Holdings
from alchemy.ports import LogEnd
from alchemy.runlog import RunLog


async def close(
    run: Run, holdings: Holdings, log: RunLog | None, *, ok: bool, exports: dict[str, Any], error: BaseException | None
) -> BaseException | None:
    """Fold what was written, give everything back, and say how the run went.

    The log gets its last line before it is known whether all could be given back: it goes along with the unit, which is
    one request less, and whoever finds the unit free finds the log whole. Who listens is told afterwards, also of what
    went wrong in giving back; the log then has another last line, and readers go by the latest.

    Args:
        ok: whether all went well so far.
        error: what ended the run, if anything did.

    Returns:
        What went wrong here, the first of it.
    """
    failure = await _failure_of(holdings.fold())
    _note_loss(run, failure)
    if log is not None:
        if ok and failure is None:
            failure = await _failure_of(holdings.prune(log.name))
        waiting = await _failure_of(log.written())
        failure = failure or waiting
    ok, error = ok and failure is None, error or failure
    run.undeletable.tell()
    last = reports.finished(run, ok=ok, exports=exports, error=error)
    end: LogEnd | None = None
    if log is not None:
        end = LogEnd(name=log.name, lines=log.finish(last), drop=holdings.surplus if ok else ())
    releasing = await _failure_of(holdings.release(end))
    _note_loss(run, releasing)
    if releasing is not None and ok:
        last = reports.finished(run, ok=False, exports=exports, error=releasing)
        if log is not None:
            await log.correct(last)
    run.emit(last)
    return failure or releasing


async def _failure_of(step: Awaitable[None]) -> BaseException | None:
    """Wait for a step, and give what it raises, cancellation too: the steps after it are taken all the same."""
    try:
        await step
    except BaseException as error:
        return error
    return None


def _note_loss(run: Run, failure: BaseException | None) -> None:
    if isinstance(failure, LeaseLost):
        run.lose(failure)
