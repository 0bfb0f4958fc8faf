"""The guard beside a lock (`<stage>.guard`): held for moments, shared or exclusively, and waited for.

Shared to read the unit, to append a commit or to take a chain below; exclusively to fold, or to change the lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Generator

from alchemy.errors import LockedError, StateError
from alchemy.stores._lockfile import read_lock
from alchemy.stores._refusals import remedy

GUARD_WAIT = 30.0


@contextlib.contextmanager
def guard(lock_path: str, *, exclusive: bool, wait: float = GUARD_WAIT) -> Generator[None]:
    """Keep others from changing (or, exclusively, from using) a unit's files for a moment.

    Raises:
        LockedError: somebody has kept it for `wait` seconds; that process was stopped in the middle of its work.
    """
    path = guard_path(lock_path)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(f"cannot open {path}: {error.strerror}", hint=remedy(error)) from error
    try:
        _lock_within(fd, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH, lock_path, wait)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def reading(lock_path: str) -> Generator[bool]:
    """Guard a reader, without making a file. Gives `False` where there is no guard: nobody has written here yet."""
    try:
        fd = os.open(guard_path(lock_path), os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        yield False
        return
    try:
        _lock_within(fd, fcntl.LOCK_SH, lock_path, GUARD_WAIT)
        yield True
    finally:
        os.close(fd)


def guard_path(lock_path: str) -> str:
    """Give the guard's file that belongs to a lock."""
    return lock_path.removesuffix(".lock") + ".guard"


def _lock_within(fd: int, how: int, lock_path: str, wait: float) -> None:
    end = time.monotonic() + wait
    pause = 0.0005
    while True:
        try:
            fcntl.flock(fd, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise _guard_kept(lock_path, wait) from None
            time.sleep(pause)
            pause = min(pause * 1.5, 0.005)
        else:
            return


def _guard_kept(lock_path: str, wait: float) -> LockedError:
    holder = read_lock(lock_path)
    owner = str(holder.owner) if holder else "another process"
    return LockedError(
        f"{guard_path(lock_path)} has been locked for {wait:g} s: a process was stopped in the middle of its work",
        unit=holder.unit if holder else lock_path,
        owner=owner,
        hint=f"let it go on or end it (the unit's holder is {owner})",
    )
