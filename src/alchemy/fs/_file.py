"""A file with given contents."""

# Plain calls of the os module: with thousands of files, Path objects would cost as much as the work.
# ruff: noqa: PTH101, PTH123

from __future__ import annotations

import asyncio
import hashlib
import os
import stat

from alchemy.errors import DeclarationError, Gone
from alchemy.fs._paths import Folders, absolute_file, check_mode, folders_of, look_for_file, refused
from alchemy.fs._removal import delete_file
from alchemy.fs._writing import INLINE, put, write_all
from alchemy.provider import Context, Provider
from alchemy.resource import Resource, output, prop
from alchemy.secret import Secret


class File(
    Resource,
    kind="fs::File",
    provider="alchemy.fs._file:FileProvider",
    reference=("path", "mode", "absolute_path", "size", "sha256"),
):
    """A file on this machine, with the contents the program gives.

    Missing folders above it are made, and go with the last file of the run that made them, if they are empty then.
    What somebody else put at `path` is not touched, unless the resource may adopt it. Once it is the resource's, it
    is written over by an update and deleted at the end also when somebody has edited it: `Options(retain=True)`
    leaves it.

    ```python
    config = await File("config", path="out/config.json", content=json.dumps(settings))
    ```

    Attributes:
        path: where; relative to the current folder. `~` is not expanded. Another path is another file.
        content: text is written as UTF-8. A secret is encrypted in state.
        mode: its permissions, whatever the umask; by default `0o600` for a secret, `0o644` for anything else.
        absolute_path: where it was written.
        size: bytes.
        sha256: of the contents, in hexadecimal; `None` for a secret, since state would show it.
    """

    path: str = prop(replace=True)
    content: str | bytes | Secret[str]
    mode: int | None = None
    absolute_path: str = output()
    size: int = output()
    sha256: str | None = output()


class FileProvider(Provider[File]):
    """Handle `File`. Small files are handled in the event loop, large ones in a thread: see `INLINE`."""

    name_input = "path"
    recover = "name"

    async def find(self, ctx: Context[File], want: File) -> File | None:
        """Look at the path: a file is given with what it holds; anything else there is an error."""
        return await _observe(ctx, want, _place(want))

    async def read(self, ctx: Context[File], have: File) -> File | None:
        """Look at where it was written, from whatever folder this runs."""
        return await _observe(ctx, have, have.absolute_path)

    async def create(self, ctx: Context[File], want: File) -> File:
        """Write it where nothing is."""
        return await _write(ctx, want, _place(want), exclusive=not ctx.adopt)

    async def update(self, ctx: Context[File], want: File, have: File) -> File:
        """Write it if the contents on disk are others, else set its permissions."""
        path = have.absolute_path
        found = look_for_file(path)
        if found is None:
            raise Gone(f"{path} is gone")
        content, mode = _bytes(want), _mode(want)
        if found.st_size != len(content) or await _load(path, found.st_size) != content:
            return await _write(ctx, want, path, exclusive=False)
        if stat.S_IMODE(found.st_mode) != mode:
            try:
                os.chmod(path, mode)
            except OSError as error:
                raise refused(error, "cannot set the mode of", path) from error
        return _result(ctx, want, path, content)

    async def delete(self, ctx: Context[File], have: File) -> None:
        """Delete it, whatever it holds by now, and the empty folders made for it."""
        await delete_file(ctx, have.absolute_path)


def _place(want: File) -> str:
    return absolute_file(want.path, f"'path' of fs::File {want.id!r}")


def _bytes(want: File) -> bytes:
    content = want.content
    text = content.reveal() if isinstance(content, Secret) else content
    if isinstance(text, bytes):
        return text
    try:
        return text.encode()
    except UnicodeEncodeError:  # not chained: it holds the contents
        what = f"'content' of fs::File {want.id!r}"
    raise DeclarationError(f"{what} holds half a surrogate pair, which UTF-8 cannot", hint="pass bytes")


def _mode(want: File) -> int:
    if want.mode is None:
        return 0o600 if isinstance(want.content, Secret) else 0o644
    return check_mode(want.mode, f"'mode' of fs::File {want.id!r}")


async def _write(ctx: Context[File], want: File, path: str, *, exclusive: bool) -> File:
    content, mode = _bytes(want), _mode(want)
    folders = await folders_of(ctx)
    if len(content) <= INLINE:
        _put(path, content, ctx.fqn, mode, folders, exclusive)
    else:
        await asyncio.to_thread(_put, path, content, ctx.fqn, mode, folders, exclusive)
    folders.remember_above(path, ctx.data)
    return _result(ctx, want, path, content)


def _put(path: str, content: bytes, fqn: str, mode: int, folders: Folders, exclusive: bool) -> None:
    put(path, lambda fd: write_all(fd, content), fqn=fqn, mode=mode, folders=folders, exclusive=exclusive)


def _result(ctx: Context[File], want: File, path: str, content: bytes) -> File:
    digest = None if isinstance(want.content, Secret) else hashlib.sha256(content).hexdigest()
    return ctx.result(absolute_path=path, size=len(content), sha256=digest)


async def _observe(ctx: Context[File], file: File, path: str) -> File | None:
    """Give the file at `path` with its contents and mode as they are."""
    found = look_for_file(path)
    if found is None:
        return None
    content = await _load(path, found.st_size)
    mode = stat.S_IMODE(found.st_mode)
    observed = _result(ctx, file, path, content)
    observed.content = _like(file.content, content)
    observed.mode = None if file.mode is None and mode == _mode(file) else mode
    return observed


def _like(content: str | bytes | Secret[str], found: bytes) -> str | bytes | Secret[str]:
    """Give what was found in the form in which the program gives its contents, so that equal ones are equal."""
    if isinstance(content, Secret):
        return Secret(found.decode(errors="replace"))
    if isinstance(content, bytes):
        return found
    try:
        return found.decode()
    except UnicodeDecodeError:
        return found


async def _load(path: str, size: int) -> bytes:
    return _load_now(path) if size <= INLINE else await asyncio.to_thread(_load_now, path)


def _load_now(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise refused(error, "cannot read", path) from error
