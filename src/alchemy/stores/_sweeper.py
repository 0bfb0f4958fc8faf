"""Removes record files in a process of its own: `python -I -S _sweeper.py PARENT GUARD LOCK TOKEN`, in a unit's folder.

A line on its input names the folders of some records, and the last line is `DONE`. When all is done it prints those
that are still there, and then `DONE` too. It works under the guard and stops when the unit is no longer held under the
token, or when its parent is gone: so it never removes what a later holder has written.

Nothing is imported that takes long.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    class Removing(Protocol):
        """What removes names: `os`, or the store's `Disk`."""

        def unlink(self, path: str, /) -> None:
            """Remove a file."""
            ...

        def rmdir(self, path: str, /) -> None:
            """Remove an empty folder."""
            ...


DONE = "."
RECORD = "state.json"
THREADS = 2
"""Measured on ext4 with two cores, in whole runs that destroy 10,000 files: with one it is the last to end, with four
the run itself is slowed down more than is gained."""
_SHIFT = 0.1
_PAUSE = 0.001
_GUARD_WAIT = 30.0
_PIN = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC


def remove_record(disk: Removing, path: str) -> str:
    """Remove a record's file, and its folder if nothing else is in it; give the folder that a name went from."""
    folder = path.rpartition("/")[0]
    try:
        # While it is open its inode is kept. So that is given back by `close` and not within `rmdir`, where Linux
        # would have all others wait who remove something from the folder above.
        pin = os.open(folder, _PIN)
    except FileNotFoundError:
        return folder
    try:
        with contextlib.suppress(FileNotFoundError):
            disk.unlink(path)
        return folder.rpartition("/")[0] if remove_folder(disk, folder) else folder
    finally:
        os.close(pin)


def remove_folder(disk: Removing, folder: str) -> bool:
    """Remove a folder unless something is in it; say whether it is gone."""
    try:
        disk.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


class Watch:
    """The guard of a unit, shared by several threads, for as long as the unit is held by who has started this process.

    It is let go of again and again, for a moment: whoever needs it exclusively polls for it.

    Args:
        parent: the process that holds the unit.
        guard, lock: of the unit.
        token: it is held under.
    """

    def __init__(self, parent: int, guard: str, lock: str, token: int) -> None:
        self._parent = parent
        self._guard = guard
        self._lock = lock
        self._beginning = b'{"token":%d,"held":true,' % token
        self._changed = threading.Condition()
        self._inside = 0
        self._fd = -1
        self._shift_ends = 0.0

    def enter(self) -> bool:
        """Take the guard, or join those who have it; `False` when the unit is held no more."""
        with self._changed:
            while self._inside and time.monotonic() > self._shift_ends:
                self._changed.wait()
            if not self._inside and not self._begin_shift():
                return False
            self._inside += 1
            return True

    def leave(self) -> None:
        """Let go of the guard; the last one does."""
        with self._changed:
            self._inside -= 1
            if not self._inside:
                os.close(self._fd)
                self._changed.notify_all()

    def _begin_shift(self) -> bool:
        time.sleep(_PAUSE)
        self._fd = os.open(self._guard, os.O_RDWR | os.O_CLOEXEC)
        if self._shares() and self._is_held():
            self._shift_ends = time.monotonic() + _SHIFT
            return True
        os.close(self._fd)
        return False

    def _shares(self) -> bool:
        end = time.monotonic() + _GUARD_WAIT
        while time.monotonic() < end:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_PAUSE)
            else:
                return True
        return False

    def _is_held(self) -> bool:
        if os.getppid() != self._parent:
            return False
        fd = os.open(self._lock, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, len(self._beginning)) == self._beginning
        finally:
            os.close(fd)


class Sweeper:
    """Removes what is asked for, in several threads.

    Attributes:
        left: the folders that are still there.
    """

    def __init__(self, watch: Watch, lines: Iterable[str]) -> None:
        self.left: list[str] = []
        self._watch = watch
        self._lines = iter(lines)
        self._reading = threading.Lock()
        self._ended = False
        self._stopped = False

    def run(self) -> bool:
        """Remove all that is asked for; `False` when it was stopped before."""
        threads = [threading.Thread(target=self._work) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return not self._stopped

    def _work(self) -> None:
        while not self._stopped and (folders := self._next()):
            if not self._enter():
                return
            try:
                for folder in folders:
                    self._remove(folder)
            finally:
                self._watch.leave()

    def _next(self) -> list[str]:
        with self._reading:
            # The end is said, and not only seen: a fork of the parent may keep the pipe open.
            if not self._ended:
                folders = next(self._lines, DONE).split()
                if folders != [DONE]:
                    return folders
                self._ended = True
            return []

    def _enter(self) -> bool:
        try:
            may = self._watch.enter()
        except OSError:  # the lock or the guard is gone
            may = False
        self._stopped = self._stopped or not may
        return may

    def _remove(self, folder: str) -> None:
        try:
            if remove_record(os, f"{folder}/{RECORD}") == folder and os.path.exists(folder):  # noqa: PTH110
                self.left.append(folder)
        except OSError:
            self.left.append(folder)  # whoever asked for it tries again, and tells why not


def main(parent: str, guard: str, lock: str, token: str) -> int:
    """Work until the input ends, or the unit is held no more."""
    sweeper = Sweeper(Watch(int(parent), guard, lock, int(token)), sys.stdin)
    if not sweeper.run():
        return 1
    sys.stdout.write("\n".join([*sweeper.left, DONE]))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
