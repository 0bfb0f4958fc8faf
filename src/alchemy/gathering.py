"""What to raise when several things failed: each of them once, and nothing that only follows from another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from alchemy.errors import NotStarted, ResourceFailed


def gathered(chain: str, error: BaseException | None, failed: Sequence[BaseException]) -> BaseException | None:
    """Give what a scope that was left raises; `None`: nothing.

    Args:
        chain: the scope.
        error: what its body raised, if it did. A request to stop is raised before all else.
        failed: why things in it failed, which the program has not been told of.
    """
    if error is not None and not isinstance(error, Exception):
        return error
    signals = [item for item in failed if not isinstance(item, Exception)]
    if signals:
        return signals[0]
    if error is not None and not failed and not isinstance(error, ResourceFailed):
        return error
    errors: list[Exception] = []
    for found in ([] if error is None else [error]) + cast("list[Exception]", list(failed)):
        errors += [one for one in _flat(found) if not any(one is seen for seen in errors)]
    real = [one for one in errors if not isinstance(one, NotStarted)] or errors[:1]
    if not real:
        return None
    if len(real) == 1 and not isinstance(real[0], ResourceFailed):
        return real[0]
    return ExceptionGroup(f"{chain}: {len(real)} {'failure' if len(real) == 1 else 'failures'}", real)


def _flat(error: Exception) -> list[Exception]:
    """Give the leaves of an exception group, or the exception itself."""
    cause = error.__cause__ if isinstance(error, ResourceFailed) else None
    group: BaseException = error
    if isinstance(cause, ExceptionGroup):  # a composite failed because parts of it did
        group = cast("ExceptionGroup[Exception]", cause)
    if isinstance(group, ExceptionGroup):
        parts = cast("ExceptionGroup[Exception]", group).exceptions
        return [leaf for inner in parts for leaf in _flat(inner)]
    return [error]
