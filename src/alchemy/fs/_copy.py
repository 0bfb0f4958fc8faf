"""A copy of a file."""

# Plain calls of the os module: with thousands of files, Path objects would cost as much as the work.
# ruff: noqa: PTH116, PTH123

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import Mapping
from typing import Any

from alchemy.errors import DeclarationError, Gone
from alchemy.fs._paths import Folders, absolute_file, folders_of, look_for_file, refused
from alchemy.fs._removal import delete_file
from alchemy.fs._writing import INLINE, put, write_all
from alchemy.provider import Context, Provider
from alchemy.resource import Resource, output, prop

_CHUNK = 1024 * 1024


class CopyFile(Resource, kind="fs::CopyFile", provider="alchemy.fs._copy:CopyFileProvider"):
    """A copy of a file on this machine, with its permissions.

    It is copied again when the contents or permissions of the source change. What somebody else put at
    `destination` is not touched, unless the resource may adopt it. A source that another resource makes is passed
    as that resource's output, or named in `Options(depends_on=…)`, so that it is there in time.

    ```python
    CopyFile("licence", source="LICENSE", destination="out/LICENSE.txt")
    ```

    Attributes:
        source: what to copy; relative to the current folder. A symbolic link counts as what it leads to.
        destination: where to; another destination is another copy.
        absolute_path: where it was written.
        size: bytes.
        sha256: of the contents, in hexadecimal.
    """

    source: str
    destination: str = prop(replace=True)
    absolute_path: str = output()
    size: int = output()
    sha256: str = output()

    def fingerprint(self) -> Mapping[str, Any]:
        """Give what the source holds and its mode.

        Raises:
            DeclarationError: there is no such file, or it cannot be read.
        """
        path, _ = _source(self)
        try:
            with open(path, "rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "mode": mode}
        except OSError as error:
            raise _no_source(self, error.strerror or str(error)) from error


class CopyFileProvider(Provider[CopyFile]):
    """Handle `CopyFile`. Small files are copied in the event loop, large ones in a thread: see `INLINE`."""

    name_input = "destination"
    recover = "name"

    async def find(self, ctx: Context[CopyFile], want: CopyFile) -> CopyFile | None:
        """Look at the destination: a file is given with what it holds; anything else there is an error."""
        return await _observe(ctx, _place(want))

    async def read(self, ctx: Context[CopyFile], have: CopyFile) -> CopyFile | None:
        """Look at where it was written, from whatever folder this runs."""
        return await _observe(ctx, have.absolute_path)

    async def create(self, ctx: Context[CopyFile], want: CopyFile) -> CopyFile:
        """Copy to where nothing is."""
        return await _copy(ctx, want, _place(want), exclusive=not ctx.adopt)

    async def update(self, ctx: Context[CopyFile], want: CopyFile, have: CopyFile) -> CopyFile:
        """Copy again."""
        path = have.absolute_path
        found = look_for_file(path)
        if found is None:
            raise Gone(f"{path} is gone")
        return await _copy(ctx, want, path, exclusive=False)

    async def delete(self, ctx: Context[CopyFile], have: CopyFile) -> None:
        """Delete the copy, whatever it holds by now, and the empty folders made for it."""
        await delete_file(ctx, have.absolute_path)


def _place(want: CopyFile) -> str:
    return absolute_file(want.destination, f"'destination' of fs::CopyFile {want.id!r}")


def _source(want: CopyFile) -> tuple[str, int]:
    """Give the absolute path of the source, a file, and its size.

    Raises:
        DeclarationError: it is none, or it is the destination.
    """
    path = absolute_file(want.source, f"'source' of fs::CopyFile {want.id!r}")
    if os.path.realpath(path) == os.path.realpath(_place(want)):
        raise DeclarationError(f"fs::CopyFile {want.id!r} copies {path} onto itself", hint="change the destination")
    try:
        found = os.stat(path)
    except OSError as error:
        raise _no_source(want, error.strerror or str(error)) from error
    if stat.S_ISDIR(found.st_mode):
        raise _no_source(want, "it is a folder")
    if not stat.S_ISREG(found.st_mode):
        raise _no_source(want, "it is not a regular file")
    return path, found.st_size


def _no_source(want: CopyFile, why: str) -> DeclarationError:
    return DeclarationError(
        f"the source of fs::CopyFile {want.id!r} cannot be copied: {want.source}: {why}",
        hint="check the path; if another resource makes it, pass that one's output or name it in depends_on",
    )


async def _copy(ctx: Context[CopyFile], want: CopyFile, path: str, *, exclusive: bool) -> CopyFile:
    source, size = _source(want)
    folders = await folders_of(ctx)
    work = (source, path, ctx.fqn, folders, exclusive)
    size, digest = _copy_now(*work) if size <= INLINE else await asyncio.to_thread(_copy_now, *work)
    folders.remember_above(path, ctx.data)
    return ctx.result(absolute_path=path, size=size, sha256=digest)


def _copy_now(source: str, path: str, fqn: str, folders: Folders, exclusive: bool) -> tuple[int, str]:
    """Copy; give the size and hash of what was copied."""
    try:
        file = open(source, "rb")  # noqa: SIM115
    except OSError as error:
        raise refused(error, "cannot read", source) from error
    size, digest = 0, hashlib.sha256()

    def fill(fd: int) -> None:
        nonlocal size
        while chunk := _read(file.fileno(), source):
            write_all(fd, chunk)
            digest.update(chunk)
            size += len(chunk)

    with file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        put(path, fill, fqn=fqn, mode=mode, folders=folders, exclusive=exclusive)
    return size, digest.hexdigest()


def _read(fd: int, source: str) -> bytes:
    try:
        return os.read(fd, _CHUNK)
    except OSError as error:
        raise refused(error, "cannot read", source) from error


async def _observe(ctx: Context[CopyFile], path: str) -> CopyFile | None:
    found = look_for_file(path)
    if found is None:
        return None
    digest = _digest(path) if found.st_size <= INLINE else await asyncio.to_thread(_digest, path)
    return ctx.result(absolute_path=path, size=found.st_size, sha256=digest)


def _digest(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise refused(error, "cannot read", path) from error
