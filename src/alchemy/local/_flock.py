"""A lock on a file, between processes of one machine, waited for without blocking the event loop."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

_PAUSE = 0.02


class FileLock:
    """An exclusive `flock`. The kernel gives it back when the last process that has the file open is gone.

    Attributes:
        path: the file; it is created (mode 0600) and never deleted, for deleting it would let two holders in.
    """

    def __init__(self, path: Path, *, waiting: Callable[[], None] | None = None) -> None:
        """`waiting` is called once when somebody else has the lock."""
        self.path = path
        self._waiting = waiting
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it, and say whether that succeeded."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    async def acquire(self, *, seconds: float | None = None) -> bool:
        """Wait for the lock, at most `seconds`; say whether it was got. A cancellation leaves nothing held."""
        loop = asyncio.get_running_loop()
        deadline = None if seconds is None else loop.time() + seconds
        told = False
        while not self.try_acquire():
            if deadline is not None and loop.time() >= deadline:
                return False
            if not told and self._waiting is not None:
                self._waiting()
            told = True
            await asyncio.sleep(_PAUSE)
        return True

    def release(self) -> None:
        """Give the lock back. Processes that inherited the descriptor still hold it. Safe to repeat."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def is_in_place(self) -> bool:
        """Say whether the file that is locked is still the one of that name, and was not removed or replaced."""
        try:
            there = self.path.stat()
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(self.fileno()))

    def fileno(self) -> int:
        """Return the descriptor that holds the lock, to be inherited by a child that shall hold it as well."""
        if self._descriptor is None:
            raise ValueError(f"{self.path} is not locked")
        return self._descriptor

    async def __aenter__(self) -> FileLock:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def is_locked(path: Path) -> bool:
    """Say whether a process holds the lock right now. Never creates the file and never keeps anybody waiting long."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
