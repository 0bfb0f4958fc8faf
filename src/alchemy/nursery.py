"""The only place that creates tasks.

What a nursery runs is cut by nobody but the nursery: tasks are kept out of `asyncio.all_tasks()`, so that a loop
that shuts down (`asyncio.run` after a program forgot to finalize) does not cancel a provider call half-way. One
keeper task stays visible; when the loop cancels it, it waits until what runs has ended and was recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any


class Nursery:
    """Run coroutines side by side, and wait for all of them.

    Args:
        on_stop: called when a cancellation asks to stop: nothing new should start from then on.
        parent: the nursery around this one, which waits for, and aborts, what runs here too.
    """

    def __init__(self, on_stop: Callable[[], None], parent: Nursery | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self._on_stop = on_stop
        self._parent = parent
        self._tasks: set[asyncio.Task[Any]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()
        self.aborted = False

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work`, which handles its own failures, until it ends."""
        task = self.loop.create_task(work)
        asyncio.tasks._unregister_task(task)
        around: Nursery | None = self
        while around is not None:
            around._tasks.add(task)
            task.add_done_callback(around._tasks.discard)
            around = around._parent
        return task

    def keep(self, close: Callable[[], Awaitable[None]]) -> None:
        """Stay alive until `release`: when the loop is shut down first, stop, wait for what runs, and `close`."""
        self._keeper = self.loop.create_task(self._watch(close))

    def release(self) -> None:
        """Let the loop end: everything is in order."""
        self._closed.set()

    async def _watch(self, close: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._closed.wait()
        except asyncio.CancelledError:
            if not self._closed.is_set():
                self._on_stop()
                await self.join()
                await close()

    async def join(self, *, cancelled: bool = False) -> None:
        """Wait until nothing runs any more.

        A first cancellation asks to stop (`on_stop`) and is raised when all has ended; a second one cancels what
        still runs. Neither leaves anything running.

        Args:
            cancelled: the first one came before: it ended the scope's body.
        """
        raised: asyncio.CancelledError | None = None
        while self._tasks:
            try:
                await asyncio.wait(self._tasks)
            except asyncio.CancelledError as error:
                if cancelled:
                    self.abort()
                cancelled, raised = True, raised or error
                self._on_stop()
        if raised is not None:
            raise raised

    def abort(self) -> None:
        """Cancel what runs. State stays whole: intents say what may exist."""
        self.aborted = True
        for task in self._tasks:
            task.cancel()


class Latch:
    """Something that happens once and is waited for without tying the waiters to each other.

    Each waiter gets a future of its own, so that cancelling one (a timeout, a failing sibling, Ctrl-C) harms
    neither what is waited for nor the other waiters.
    """

    __slots__ = ("_waiters", "done")

    def __init__(self) -> None:
        self.done = False
        self._waiters: list[asyncio.Future[None]] | None = None

    @property
    def awaited(self) -> bool:
        """Whether somebody is waiting right now."""
        return bool(self._waiters) and any(not waiter.done() for waiter in self._waiters or ())

    def set(self) -> None:
        """Let everyone go on."""
        self.done = True
        for waiter in self._waiters or ():
            if not waiter.done():
                waiter.set_result(None)
        self._waiters = None

    async def wait(self) -> None:
        """Wait until `set` was called."""
        if not self.done:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(waiter)
            await waiter
