"""Functions that a scope calls when it is left, and what becomes of those that it never calls."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Deferred:
    """What was deferred in one scope, in order."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []

    def add(self, fn: Callable[[], T | Awaitable[T]], loop: asyncio.AbstractEventLoop) -> Awaitable[T]:
        """Give an awaitable of what `fn` will give; nobody has to await it."""
        future: asyncio.Future[T] = loop.create_future()
        future.add_done_callback(_mark_retrieved)
        self._waiting.append((fn, future))
        return future

    async def run(self) -> Exception | None:
        """Call them one after the other, those too that are added meanwhile; stop at the first that fails."""
        while self._waiting:
            fn, future = self._waiting.pop(0)
            try:
                result = fn()
                value = await result if inspect.isawaitable(result) else result
            except Exception as error:
                if not future.done():
                    future.set_exception(error)
                return error
            if not future.done():
                future.set_result(value)
        return None

    def cancel(self) -> None:
        """They never run now, and somebody may be waiting for one."""
        for _, future in self._waiting:
            future.cancel()


def _mark_retrieved(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
