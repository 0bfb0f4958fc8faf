"""What a task has observed: what it declares next may depend on all of it."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, eq=False)
class _Cell:
    """What wrappers around a task's own awaits have observed on its behalf."""

    task: asyncio.Task[Any] | None
    observed: int = 0


class Lineage:
    """The largest `seen` that the running task has observed, or the tasks before it by which it was started.

    What a task knew when it started another is known there too, and never the other way round: branches that run side
    by side must not see each other, or their order would be written anew whenever they interleave differently. Only
    `asyncio.gather(resource, …)` and its like, which wrap a bare await into a task of its own, observe for the task
    that made them.
    """

    def __init__(self) -> None:
        self._observed: ContextVar[int] = ContextVar("alchemy_observed", default=0)
        self._cell: ContextVar[_Cell | None] = ContextVar("alchemy_lineage", default=None)

    def get(self) -> int:
        """Give the largest tick observed."""
        task, cell = asyncio.current_task(), self._cell.get()
        if cell is not None and cell.observed > self._observed.get():
            self._observed.set(cell.observed)  # also what was observed for the task that started this one
        if cell is None or cell.task is not task:
            self._cell.set(_Cell(task))
        return self._observed.get()

    def observe(self, seen: int) -> None:
        """Take note that something seen at a tick was observed."""
        task, cell = asyncio.current_task(), self._cell.get()
        if cell is not None and cell.task is not task and _is_wrapper(task):
            cell.observed = max(cell.observed, seen)
        if self._observed.get() < seen:
            self._observed.set(seen)


def _is_wrapper(task: asyncio.Task[Any] | None) -> bool:
    """Say whether asyncio itself made the task, to await something that is no coroutine."""
    return task is not None and getattr(task.get_coro(), "__name__", "") == "_wrap_awaitable"
