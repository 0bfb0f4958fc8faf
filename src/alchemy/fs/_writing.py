"""Put a file in its place whole or not at all."""

# Plain calls of the os module: with thousands of files, Path objects would cost as much as the work.
# ruff: noqa: PTH104, PTH108, PTH112, PTH114

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable

from alchemy.fs._paths import Folders, exists, refused

INLINE = 64 * 1024
"""Up to so many bytes a file is written and read in the event loop, more in a thread.

Measured on two cores, with 1 to 32 creates at a time: making a small file takes the kernel 80 to 400 µs of processor
time, and the handlers add 25 µs. Handing it to a thread and back adds 50 to 250 µs and hides nothing: the threads
only stand in each other's way, in the kernel and at the interpreter's lock. From 256 KiB on a write takes longer than
that, and would hold up everything else. On a file system that is slow to answer (a network's) so do small files.
"""

_ATTEMPTS = 5
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def put(path: str, fill: Callable[[int], None], *, fqn: str, mode: int, folders: Folders, exclusive: bool) -> None:
    """Write a file beside its place and move it there; missing folders above it are made.

    Whoever reads `path` sees all of the old or all of the new. Nothing waits for the disk: after a power failure
    the file may be what it was. A crash leaves at most a `.alchemy-….tmp`, which the next attempt takes away.

    Args:
        path: absolute.
        fill: writes the contents into a file descriptor.
        fqn: of the resource, whose name for the file beside it is always the same.
        mode: its permissions, whatever the umask.
        folders: the run's.
        exclusive: never take the place of what is there.

    Raises:
        AlreadyExists: `exclusive`, and something is there.
        ProviderError: refused; nothing is left behind.
    """
    try:
        _put(path, fill, fqn, mode, folders, exclusive)
    except BaseException as error:
        folders.undo_above(path)
        if isinstance(error, FileExistsError):
            raise exists(path) from error
        if isinstance(error, OSError):
            raise refused(error, "cannot write", path) from error
        raise


def _put(path: str, fill: Callable[[int], None], fqn: str, mode: int, folders: Folders, exclusive: bool) -> None:
    folder = path.rpartition("/")[0]
    name = hashlib.blake2b(f"{fqn}\0{path}".encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    beside = f"{folder}/.alchemy-{name}.tmp"
    for attempt in range(_ATTEMPTS):
        try:
            if attempt:
                folders.make_above(path)
            fd = _open_new(beside)
            break
        except FileNotFoundError:
            # Made once more when a delete that runs beside us has just removed an empty folder.
            if attempt == _ATTEMPTS - 1:
                raise
    else:
        raise AssertionError("unreachable")
    try:
        try:
            fill(fd)
            os.fchmod(fd, mode)
        finally:
            os.close(fd)
        if exclusive:
            _move_exclusive(beside, path)
        else:
            os.rename(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def _open_new(path: str) -> int:
    """Open a new file; one of that name is what a crash left. Never an open one: others' links are not followed."""
    try:
        return os.open(path, _NEW, 0o600)
    except FileExistsError:
        os.unlink(path)
        return os.open(path, _NEW, 0o600)


def _move_exclusive(source: str, path: str) -> None:
    """Move a file to where nothing is. A rename would take the place of what is there; a link never does."""
    try:
        os.link(source, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
        os.rename(source, path)
    else:
        with contextlib.suppress(OSError):
            os.unlink(source)


def write_all(fd: int, content: bytes) -> None:
    """Write all of `content`, however little the kernel takes at a time."""
    written = os.write(fd, content)
    while written < len(content):
        written += os.write(fd, memoryview(content)[written:])


def remove(path: str) -> bool:
    """Remove a file; give whether there was one. A folder in its place is not it.

    Raises:
        ProviderError: it cannot be removed.
    """
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        if os.path.isdir(path) and not os.path.islink(path):
            return False
        raise refused(error, "cannot delete", path) from error
    return True
