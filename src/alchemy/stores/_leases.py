"""Who holds a unit: `.alchemy/locks/<app>/<stage>.lock`, and the guard beside it.

The lock file says who, and its token only grows; so it stays when the unit is given back. Whoever holds the unit
keeps an flock on it, which the kernel takes from a dead process at once. Taking a unit puts a *new file* (already
locked) in the old one's place: a holder that was broken keeps its flock on a file that no longer counts.

The guard (`<stage>.guard`) is held for moments: shared to read the unit or to append a commit, exclusive to fold or to
change the lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import weakref
from collections.abc import Generator
from dataclasses import dataclass

import msgspec

from alchemy.errors import LeaseLost, LockedError, StateDamaged, StateError
from alchemy.ports import Lease, Owner
from alchemy.state import now
from alchemy.stores._tree import read_file

GUARD_WAIT = 30.0
_BLOCK = 512


class Held(msgspec.Struct, kw_only=True):
    """A lock file's content; padded with spaces, so that it can be rewritten in place by one write."""

    token: int
    held: bool
    unit: str
    owner: Owner
    since: str
    deadline: float
    ttl: float

    def lease(self) -> Lease:
        """Give it as the lease that it stands for."""
        return Lease(unit=self.unit, token=self.token, owner=self.owner, since=self.since, deadline=self.deadline)


_decoder = msgspec.json.Decoder(Held)
_encoder = msgspec.json.Encoder()
_open_locks: weakref.WeakSet[UnitLock] = weakref.WeakSet()


@dataclass(slots=True)
class Sighting:
    """A holder on another host, and since when (by this host's clock) its lock file has not changed."""

    token: int
    deadline: float
    first_seen: float


def read_lock(path: str) -> Held | None:
    """Read a lock file; `None` when there is none."""
    try:
        raw = read_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return _decoder.decode(raw)
    except ValueError as error:  # also what is not UTF-8
        raise StateDamaged(
            f"{path} cannot be read: {error}", path=path, hint="delete it when nobody is working on that unit"
        ) from error


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
        raise StateError(f"cannot open {path}: {error.strerror}", hint="check that the folder is there") from error
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


class UnitLock:
    """A unit as this process holds it. Made by `take`."""

    def __init__(self, path: str, fd: int, content: Held, size: int) -> None:
        self.path = path
        self.content = content
        self._fd: int | None = fd
        self._size = size
        _open_locks.add(self)

    def check(self) -> None:
        """Raise `LeaseLost` unless the unit is still held under this token. To be called under the guard."""
        current = read_lock(self.path) if self._fd is not None else None
        if current is not None and current.held and current.token == self.content.token:
            return
        whom = f": {current.owner} has it since {current.since}" if current and current.held else ""
        raise LeaseLost(
            f"{self.content.unit} was taken away from this run{whom}",
            hint="nothing more was written; run again when the other run has ended",
        )

    def renew(self) -> Lease:
        """Move the deadline by the lease's ttl from now."""
        with guard(self.path, exclusive=True):
            self.check()
            self.content.deadline = time.time() + self.content.ttl
            self._rewrite()
        return self.content.lease()

    def release(self) -> None:
        """Give the unit back, unless it is somebody else's by now. Safe to repeat."""
        if self._fd is None:
            return
        try:
            with guard(self.path, exclusive=True):
                self.check()
                self.content.held = False
                self._rewrite()
        except StateError:
            pass  # lost, or its file is gone: there is nothing of ours to give back
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the flock only, as the end of the process does."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _rewrite(self) -> None:
        if self._fd is not None:
            os.pwrite(self._fd, _encoder.encode(self.content).ljust(self._size), 0)


def take(path: str, *, unit: str, owner: Owner, ttl: float, floor: int, sighting: Sighting | None) -> UnitLock | Held:
    """Try once to take a unit. To be called under the guard, exclusively.

    Args:
        floor: no token up to this is given, should the lock file have been lost.
        sighting: what the caller saw of a holder on another host before.

    Returns:
        The lock, or what its holder says of itself.
    """
    current = read_lock(path)
    if current is not None and current.held:
        if _is_flocked(path):
            return current
        if current.owner.host != owner.host and not _has_expired(current, sighting):
            return current
    elif current is not None and _is_flocked(path):
        current.held = True  # being given back this moment
        return current
    token = max(current.token if current else 0, floor) + 1
    content = Held(token=token, held=True, unit=unit, owner=owner, since=now(), deadline=time.time() + ttl, ttl=ttl)
    fd, size = _put(path, content, flocked=True)
    return UnitLock(path, fd, content, size)


def break_lock(path: str) -> None:
    """Take a unit from its holder by using up a token. To be called under the guard, exclusively."""
    current = read_lock(path)
    if current is not None and current.held:
        current.token += 1
        current.held = False
        fd, _ = _put(path, current, flocked=False)
        os.close(fd)


def is_alive(path: str, content: Held, host: str) -> bool:
    """Say whether the holder still holds, as far as can be seen from `host`. To be called under the guard."""
    if not content.held:
        return False
    return _is_flocked(path) or (content.owner.host != host and not _has_expired(content, None))


def locked_error(unit: str, holder: Held, path: str) -> LockedError:
    """Say who holds the unit, and what to do."""
    return LockedError(
        f"{unit} is held by {holder.owner} since {holder.since}",
        unit=unit,
        owner=f"{holder.owner}, since {holder.since}",
        hint=f"wait for that run to end; if it never will, break the lock ({path})",
    )


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


def _is_flocked(path: str) -> bool:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _has_expired(content: Held, sighting: Sighting | None) -> bool:
    """Judge a holder on another host: unchanged for a ttl by this clock, or a whole ttl past its own deadline."""
    if time.time() > content.deadline + content.ttl:
        return True
    if sighting is None or (sighting.token, sighting.deadline) != (content.token, content.deadline):
        return False
    return time.monotonic() - sighting.first_seen > content.ttl


def _put(path: str, content: Held, *, flocked: bool) -> tuple[int, int]:
    """Put a new lock file in place; it is durable, and locked before anybody can see it."""
    aside = f"{path}.new"
    raw = _encoder.encode(content)
    size = -(-(len(raw) + 64) // _BLOCK) * _BLOCK
    fd = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        if flocked:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.pwrite(fd, raw.ljust(size), 0)
        os.fsync(fd)
        os.rename(aside, path)  # noqa: PTH104
        folder = os.open(path.rpartition("/")[0], os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except BaseException:
        os.close(fd)
        raise
    return fd, size


def _forget_in_child() -> None:
    """In a forked child: close the locks' files, or they would outlive the parent with it."""
    for lock in list(_open_locks):
        lock.close()


os.register_at_fork(after_in_child=_forget_in_child)
