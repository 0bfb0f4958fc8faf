"""Running a coroutine as the process's work: an event loop of its own, signals, and how it ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from alchemy import config
from alchemy.cli.render import Display
from alchemy.config import Launch

INTERRUPTED = 130
_AGAIN = 0.2


@dataclass(frozen=True, slots=True)
class Ending:
    """How the work ended.

    Attributes:
        error: what came out of it, if anything did.
        interrupted: whether a signal asked it to stop.
    """

    error: BaseException | None = None
    interrupted: bool = False


def execute(work: Callable[[], Awaitable[Any]], display: Display) -> Ending:
    """Run `work` to its end.

    The first SIGINT or SIGTERM cancels it: scopes then start nothing new, and what runs finishes and is recorded.
    The second cancels again, and goes on doing so: what runs is aborted. The third ends the process at once,
    which state survives as it survives a crash.
    """
    error: BaseException | None = None
    with asyncio.Runner() as runner:
        stopper = _Stopper(runner.get_loop(), display)
        with stopper:
            try:
                runner.run(_supervised(work, stopper, display))
            except (Exception, asyncio.CancelledError) as raised:
                error = raised
                stopper.halt.failed = True
            except BaseException as raised:
                if not _is_signal(raised):
                    raise
            finally:
                # Runs that were opened and never finalized end here: their keepers are cancelled and waited for.
                runner.close()
                display.close()
    return Ending(error, stopper.count > 0)


async def _supervised(work: Callable[[], Awaitable[Any]], stopper: _Stopper, display: Display) -> None:
    loop = asyncio.get_running_loop()
    stopper.task = asyncio.current_task()
    display.attach(loop)
    await work()


def _is_signal(error: BaseException) -> bool:
    """Say whether it is the engine's word that a run in the phase `destroy` is done, or was stopped."""
    from alchemy.engine.run import Destroyed, Stopped

    return isinstance(error, Destroyed | Stopped)


class _Stopper:
    """Counts the signals. Python's own handlers, not the loop's: the third must work when the loop is stuck."""

    def __init__(self, loop: asyncio.AbstractEventLoop, display: Display) -> None:
        self.task: asyncio.Task[Any] | None = None
        self.count = 0
        self._loop = loop
        self._display = display
        self._before: dict[int, Any] = {}
        self.halt = (config.launch.get() or Launch()).halt

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 2:
            if sys.stderr.isatty():
                os.write(2, b"\x1b[?25h\n")  # the live view hides the cursor
            os._exit(INTERRUPTED)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop, self.count)

    def _stop(self, count: int) -> None:
        running = len(self._display.progress.running)
        if count == 1:
            self.halt.asked = True
            self._cancel()  # before it is said: whoever reads it can rely on it
            what = f"waiting for {running} running; Ctrl-C again to abort" if running else "nothing is running"
            self._display.say(f"stopping: {what}")
        else:
            self._display.say(f"aborting {running} running")
            self._abort()

    def _cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def _abort(self) -> None:
        """Cancel until it is over: each scope that is being left takes one cancellation for a request to drain."""
        if self.task is not None and not self.task.done():
            self.task.cancel()
            self._loop.call_later(_AGAIN, self._abort)
