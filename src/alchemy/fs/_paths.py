"""Paths as programs write them, what a file system refuses, and the folders above what is made."""

# Plain calls of the os module: with thousands of files, Path objects would cost as much as the work.
# ruff: noqa: PTH100, PTH102, PTH106, PTH112, PTH120

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Awaitable, Mapping
from typing import Any

from alchemy.errors import AlreadyExists, DeclarationError, ProviderError
from alchemy.provider import Context

FOLDERS = "folders"
"""The key in a record's `data`: how many folders above the object were made for it."""

_PERMISSIONS = "check who owns it and the folder it is in, and their permissions"
_HINTS: Mapping[int, str] = {
    errno.EACCES: _PERMISSIONS,
    errno.EPERM: _PERMISSIONS,
    errno.EROFS: "the file system is mounted read-only: choose another place",
    errno.ENOSPC: "free some space, and deploy again",
    errno.EDQUOT: "free some of your quota, and deploy again",
    errno.ENAMETOOLONG: "use a shorter path",
    errno.ENOTDIR: "a part of its path is a file and not a folder: move that away, or choose another path",
    errno.ELOOP: "a symbolic link in its path leads in a circle",
}
_PASSING = frozenset({errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EMFILE, errno.ENFILE, errno.ESTALE})


def absolute(path: str, what: str) -> str:
    """Give the absolute form of a path; a relative one starts at the current folder. `~` is an ordinary character.

    Raises:
        DeclarationError: it is empty, or cannot be a path; `what` names the input and the resource.
    """
    if not path:
        raise DeclarationError(f"{what} is empty", hint="give the path of a file or folder")
    if "\0" in path:
        raise DeclarationError(f"{what} holds a NUL character, which no path can")
    try:
        return os.path.abspath(path)
    except OSError as error:
        raise DeclarationError(
            f"{what} is relative, and the current folder is gone", hint="give an absolute path"
        ) from error


def absolute_file(path: str, what: str) -> str:
    """Do as `absolute` for the path of a file. Raises `DeclarationError` when it can only be that of a folder."""
    if path.endswith("/"):
        raise DeclarationError(f"{what} names a folder: {path!r}", hint="add the file's name")
    return absolute(path, what)


def check_mode(mode: int, what: str) -> int:
    """Give `mode` back if a file or folder can have it.

    Raises:
        DeclarationError: it is out of range, or permissions were written in decimal (`644` is `0o1204`).
    """
    digits = str(mode)
    if 0o777 < mode <= 777 and set(digits) <= set("01234567"):
        raise DeclarationError(f"{what} is {mode}, which is {mode:#o}", hint=f"write it in octal: 0o{digits}")
    if not 0 <= mode <= 0o7777:
        raise DeclarationError(f"{what} is {mode:#o}", hint="write permissions such as 0o644")
    return mode


def refused(error: OSError, doing: str, path: str) -> ProviderError:
    """Say what the operating system refused, and what can be done: `doing` is such as "cannot write"."""
    code = error.errno or 0
    return ProviderError(
        f"{doing} {path}: {os.strerror(code) if code else error}",
        hint=_HINTS.get(code),
        code=errno.errorcode.get(code, str(code)),
        retryable=code in _PASSING,
    )


def look(path: str) -> os.stat_result | None:
    """Look what is at a path, without following a symbolic link there; `None` when nothing is.

    Raises:
        ProviderError: it cannot be known.
    """
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise refused(error, "cannot look at", path) from error


def look_for_file(path: str) -> os.stat_result | None:
    """Look for a file at a path, without following a symbolic link there; `None` when nothing is.

    Raises:
        ProviderError: something else is there, or it cannot be known.
    """
    found = look(path)
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise in_the_way(path, found, "a file")
    return found


def exists(path: str) -> AlreadyExists:
    """Say that a path is taken, by something that appeared after `find` had looked."""
    return AlreadyExists(f"{path} exists already", hint="choose another path, or adopt what is there")


def in_the_way(path: str, found: os.stat_result, wanted: str) -> ProviderError:
    """Say that something of another type is where `wanted` should be."""
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFREG: "a file", stat.S_IFLNK: "a symbolic link"}
    kind = kinds.get(stat.S_IFMT(found.st_mode), "a device, pipe or socket")
    return ProviderError(
        f"{path} is {kind}, where {wanted} should be", hint="move it away, or choose another path", code="EEXIST"
    )


class Folders:
    """The folders above files of one run: those made to hold them, and those that go once they are empty.

    Every object remembers how many folders above it were made in its run, not only the one whose create made them:
    they are deleted in any order, and the last must take the folders along. In a later run an object put into such
    a folder does not know of it; a folder that must surely go is declared as a `Folder`.

    Attributes:
        made: made in this run and declared by nobody.
        waiting: to go in this run, once what is in them has gone.
    """

    def __init__(self) -> None:
        self.made: set[str] = set()
        self.waiting: set[str] = set()

    def make_above(self, path: str) -> None:
        """Make the missing folders above `path`. Raises `OSError`; what was made by then stays known as made."""
        missing: list[str] = []
        folder = os.path.dirname(path)
        while not os.path.isdir(folder) and folder != os.path.dirname(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for folder in reversed(missing):
            try:
                os.mkdir(folder)
            except FileExistsError:
                if not os.path.isdir(folder):
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder) from None
            else:
                self.made.add(folder)

    def count_above(self, path: str) -> int:
        """Count the folders directly above `path` that were made in this run."""
        count = 0
        if self.made:
            folder: str = os.path.dirname(path)
            while folder in self.made:
                count += 1
                folder = os.path.dirname(folder)
        return count

    def remember_above(self, path: str, data: dict[str, Any]) -> None:
        """Note in a record's data how many folders go with the object at `path`."""
        count = max(self.count_above(path), data.get(FOLDERS, 0))
        if count:
            data[FOLDERS] = count

    def remove_above(self, path: str, data: Mapping[str, Any]) -> None:
        """Remove the folders that were made for `path`, and those waiting to be empty, as far as they are."""
        count: int = data.get(FOLDERS, 0)
        if not count and not self.waiting:
            return
        folder = os.path.dirname(path)
        while count > 0 or folder in self.waiting:
            made = folder in self.made
            self.made.discard(folder)  # before it goes: a thread that makes it again says so at once
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                pass
            except OSError:  # something else is in it, or it is not ours to remove: it stays
                if made:
                    self.made.add(folder)
                return
            self.waiting.discard(folder)
            count -= 1
            folder = os.path.dirname(folder)

    def leave(self, folder: str, data: Mapping[str, Any]) -> None:
        """Take note that a `Folder` is to go, and the folders made for it too, once what is in it has gone."""
        self.waiting.add(folder)
        self.leave_above(folder, data)

    def leave_above(self, path: str, data: Mapping[str, Any]) -> None:
        """Take note that the folders that were made for `path` are to go, once what is in them has gone."""
        for _ in range(data.get(FOLDERS, 0)):
            path = path.rpartition("/")[0]
            self.waiting.add(path)

    def undo_above(self, path: str) -> None:
        """Remove the folders that were made for something that then could not be made."""
        with contextlib.suppress(OSError):
            self.remove_above(path, {FOLDERS: self.count_above(path)})


def folders_of(ctx: Context[Any]) -> Awaitable[Folders]:
    """Give the run's `Folders`."""
    return ctx.shared("alchemy.fs.folders", _make_folders)


async def _make_folders() -> Folders:
    return Folders()
