"""The calls that change a disk, in one place, so that tests can fail or stop at each of them."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable

NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
OVERWRITTEN = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
APPENDED = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


def _find_syncfs() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return None


class Disk:
    """The real disk. Files are made with mode 0600 and folders with 0700."""

    def __init__(self) -> None:
        self._syncfs = _find_syncfs()

    @property
    def syncs_whole(self) -> bool:
        """Whether `sync_all` is to be had here."""
        return self._syncfs is not None

    def open_append(self, path: str) -> int:
        """Open a file to be appended to, making it if need be."""
        return os.open(path, APPENDED, 0o600)

    def append(self, fd: int, data: bytes) -> None:
        """Write all of `data` where the file stands, or at its end; on an error part of it may be there."""
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    def fdatasync(self, fd: int) -> None:
        """Wait until what was written to `fd` would survive a power cut."""
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # fsync alone leaves it in the drive's cache there
        else:
            os.fdatasync(fd)

    def truncate(self, fd: int, size: int) -> None:
        """Cut a file to `size` bytes."""
        os.ftruncate(fd, size)

    def write_file(self, path: str, data: bytes, *, sync: bool) -> None:
        """Make a file or write over one; not atomic, see `replace`."""
        # Cut afterwards and not on opening: ext4 writes out at once what was cut to nothing before.
        fd = os.open(path, OVERWRITTEN, 0o600)
        try:
            self.append(fd, data)
            if os.fstat(fd).st_size != len(data):
                self.truncate(fd, len(data))
            if sync:
                self.fdatasync(fd)
        finally:
            os.close(fd)

    def replace(self, source: str, target: str) -> None:
        """Put one file in another's place in one step."""
        os.rename(source, target)  # noqa: PTH104

    def link(self, source: str, target: str) -> None:
        """Give a file a second name; fails with `FileExistsError` where there is one."""
        os.link(source, target)

    def mkdir(self, path: str) -> None:
        """Make one folder."""
        os.mkdir(path, 0o700)  # noqa: PTH102

    def unlink(self, path: str) -> None:
        """Remove a file."""
        os.unlink(path)  # noqa: PTH108

    def rmdir(self, path: str) -> None:
        """Remove an empty folder."""
        os.rmdir(path)  # noqa: PTH106

    def sync_folder(self, path: str) -> None:
        """Wait until the names in a folder would survive a power cut."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def sync_all(self, path: str) -> None:
        """Wait until everything on the file system of `path` would survive a power cut."""
        assert self._syncfs is not None
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if self._syncfs(fd) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), path)
        finally:
            os.close(fd)

    def reserve(self, path: str, size: int) -> None:
        """Make a file that keeps `size` bytes of the disk."""
        fd = os.open(path, NEW_FILE, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(fd, 0, size)
            else:
                self.append(fd, bytes(size))
        finally:
            os.close(fd)
