"""A chain as a process holds it: `.alchemy/locks/<app>/<stage>.lock`. See `_lockfile` for what makes a holder one."""

from __future__ import annotations

import contextlib
import os
import weakref

from alchemy.errors import LeaseLost, StateError
from alchemy.ports import Lease, Owner
from alchemy.state import now
from alchemy.stores._clocks import elapsed
from alchemy.stores._guards import guard
from alchemy.stores._lockfile import Held, put_lock, read_lock, rewrite_lock

_open_locks: weakref.WeakSet[UnitLock] = weakref.WeakSet()


class UnitLock:
    """A chain as this process holds it. Made by `take`.

    Attributes:
        renewed: when it was taken or renewed last, by `elapsed`.
    """

    def __init__(self, path: str, fd: int, content: Held, size: int, renewed: float) -> None:
        self.path = path
        self.content = content
        self.renewed = renewed
        self._fd: int | None = fd
        self._size = size
        self._lost: str | None = None
        _open_locks.add(self)

    def check(self) -> None:
        """Raise `LeaseLost` unless the chain is still held under this token. To be called under the guard."""
        if self._lost is None:
            current = read_lock(self.path) if self._fd is not None else None
            mine = self.content
            # Not the token alone: a lock file that was deleted by hand may have begun anew.
            if current is not None and current.held and (current.token, current.since) == (mine.token, mine.since):
                return
            self._lost = f"was taken away from this run{_by_whom(current, self.content.token)}"
        raise self._error()

    def is_sure(self) -> bool:
        """Say without looking whether the chain is surely still held: it was renewed less than a ttl ago.

        Raises:
            LeaseLost: it is known to be lost.
        """
        if self._lost is not None:
            raise self._error()
        return elapsed() - self.renewed < self.content.ttl

    def lose(self, why: str) -> None:
        """Count as lost from now on, whoever holds the chain."""
        self._lost = self._lost or why

    def renew(self) -> Lease:
        """Move the deadline by the lease's ttl from now."""
        with guard(self.path, exclusive=True):
            self.check()
            self.extend()
        return self.content.lease()

    def extend(self) -> None:
        """Renew what was just checked. To be called under the guard, exclusively."""
        before = elapsed()
        self.content.extend()
        self._rewrite()
        self.renewed = before

    def release(self) -> None:
        """Give the chain back, unless it is somebody else's by now. Safe to repeat."""
        if self._fd is None:
            return
        # Lost, or its file is gone: then there is nothing of ours to give back.
        with contextlib.suppress(StateError), contextlib.closing(self), guard(self.path, exclusive=True):
            self.check()
            self.content.held = False
            self._rewrite()

    def close(self) -> None:
        """Let go of the flock only, as the end of the process does."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _rewrite(self) -> None:
        if self._fd is not None:
            rewrite_lock(self._fd, self.content, self._size)

    def _error(self) -> LeaseLost:
        return LeaseLost(
            f"{self.content.unit} {self._lost}",
            hint="nothing more was written; run again when the other run has ended",
        )


def put_taken(path: str, *, unit: str, owner: Owner, ttl: float, floor: int, brief: bool = False) -> UnitLock:
    """Put a new holder in place of whoever was there. To be called under the guard, exclusively.

    Args:
        floor: no token up to this is given, should the lock file have been lost.
        brief: as in `Held`.
    """
    current = read_lock(path)
    before = elapsed()
    token = max(current.token if current else 0, floor) + 1
    content = Held(token=token, held=True, unit=unit, owner=owner, since=now(), deadline=0.0, ttl=ttl, brief=brief)
    content.extend()
    fd, size = put_lock(path, content, flocked=True)
    return UnitLock(path, fd, content, size, before)


def break_lock(path: str, by: Owner) -> None:
    """Take a chain from its holder by using up a token. To be called under the guard, exclusively."""
    current = read_lock(path)
    if current is not None and current.held:
        current.token += 1
        current.held = False
        current.broken = f"{by}, at {now()}"
        fd, _ = put_lock(path, current, flocked=False)
        os.close(fd)


def _by_whom(current: Held | None, token: int) -> str:
    """Say who took what was held under `token`."""
    if current is None or current.token <= token:
        return ""
    if current.broken:
        return f": its lock was broken by {current.broken}"
    return f": {current.owner} {'has' if current.held else 'had'} it since {current.since}"


def _forget_in_child() -> None:
    """In a forked child: close the locks' files, or they would outlive the parent with it."""
    for lock in list(_open_locks):
        lock.close()


os.register_at_fork(after_in_child=_forget_in_child)
