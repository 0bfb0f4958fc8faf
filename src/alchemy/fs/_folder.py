"""A folder."""

# Plain calls of the os module: with thousands of files, Path objects would cost as much as the work.
# ruff: noqa: PTH101, PTH102, PTH106, PTH108, PTH111

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import stat
import sys

from alchemy.errors import DeclarationError, Gone
from alchemy.fs._paths import Folders, absolute, check_mode, exists, folders_of, in_the_way, look, refused
from alchemy.provider import Context, Provider
from alchemy.resource import Resource, output, prop

_NOT_EMPTY = frozenset({errno.ENOTEMPTY, errno.EEXIST})
_ATTEMPTS = 5


class Folder(Resource, kind="fs::Folder", provider="alchemy.fs._folder:FolderProvider"):
    """A folder on this machine.

    At the end it is deleted if it is empty. Files in it that the application declared go before or with it; what
    somebody else put there is left alone, and the folder with it, unless `clean` is set.

    ```python
    out = await Folder("out", path="build")
    File("index", path=f"{out.absolute_path}/index.html", content=page)
    ```

    Attributes:
        path: where; relative to the current folder. `~` is not expanded. Another path is another folder.
        mode: its permissions, whatever the umask.
        clean: delete it with all that is in it, whoever made that.
        absolute_path: where it was made.
    """

    path: str = prop(replace=True)
    mode: int = 0o755
    clean: bool = False
    absolute_path: str = output()


class FolderProvider(Provider[Folder]):
    """Handle `Folder`."""

    name_input = "path"
    recover = "name"

    async def find(self, ctx: Context[Folder], want: Folder) -> Folder | None:
        """Look at the path. A folder that this run made to put a file into it counts as ours: not as found."""
        path = _place(want)
        if path in (await folders_of(ctx)).made:
            return None
        return _observe(ctx, want, path)

    async def read(self, ctx: Context[Folder], have: Folder) -> Folder | None:
        """Look at where it was made, from whatever folder this runs."""
        return _observe(ctx, have, have.absolute_path)

    async def create(self, ctx: Context[Folder], want: Folder) -> Folder:
        """Make it, and missing folders above it."""
        path, mode = _place(want), check_mode(want.mode, f"'mode' of fs::Folder {want.id!r}")
        folders = await folders_of(ctx)
        try:
            _make(path, folders)
        except FileExistsError as error:
            if path not in folders.made and not (ctx.adopt and _observe(ctx, want, path)):
                raise exists(path) from error
        except OSError as error:
            folders.undo_above(path)
            raise refused(error, "cannot make the folder", path) from error
        _set_mode(path, mode)  # after mkdir, whose mode is cut by the umask
        folders.made.discard(path)
        folders.waiting.discard(path)
        folders.remember_above(path, ctx.data)
        return ctx.result(absolute_path=path)

    async def update(self, ctx: Context[Folder], want: Folder, have: Folder) -> Folder:
        """Set its permissions."""
        path, mode = have.absolute_path, check_mode(want.mode, f"'mode' of fs::Folder {want.id!r}")
        if want.clean:
            _check_clean(path, want.id)
        observed = _observe(ctx, have, path)
        if observed is None:
            raise Gone(f"{path} is gone")
        if observed.mode != mode:
            _set_mode(path, mode)
        return ctx.result(absolute_path=path)

    async def delete(self, ctx: Context[Folder], have: Folder) -> None:
        """Delete it when it is empty, or whatever is in it with `clean`; else it is left, and the log says so."""
        path = have.absolute_path
        folders = await folders_of(ctx)
        if have.clean:
            _check_clean(path, have.id)
            await asyncio.to_thread(_clear, path)
        try:
            os.rmdir(path)
        except (FileNotFoundError, NotADirectoryError):
            ctx.log(f"{path} was gone already")
        except OSError as error:
            if error.errno not in _NOT_EMPTY:
                raise refused(error, "cannot delete the folder", path) from error
            # What is in it may be ours, and be deleted later in this run: then the last takes the folder along.
            folders.leave(path, ctx.data)
            ctx.log(f"{path} is not empty: it goes only if all that is in it goes in this run")
        else:
            folders.remove_above(path, ctx.data)


def _place(want: Folder) -> str:
    path = absolute(want.path, f"'path' of fs::Folder {want.id!r}")
    if want.clean:
        _check_clean(path, want.id)
    return path


def _check_clean(path: str, id: str) -> None:
    """Refuse to ever clear a folder that holds where this runs, or the user's home."""
    real = os.path.realpath(path)
    for kept in (os.path.realpath("."), os.path.realpath(os.path.expanduser("~"))):
        if os.path.commonpath([real, kept]) == real:
            raise DeclarationError(
                f"fs::Folder {id!r} must not be cleaned: {path} holds {kept}", hint="leave out clean=True"
            )


def _observe(ctx: Context[Folder], folder: Folder, path: str) -> Folder | None:
    found = look(path)
    if found is None:
        return None
    if not stat.S_ISDIR(found.st_mode):
        raise in_the_way(path, found, "a folder")
    return ctx.result(absolute_path=path, mode=stat.S_IMODE(found.st_mode))


def _make(path: str, folders: Folders) -> None:
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(FileNotFoundError):
            os.mkdir(path)
            return
        folders.make_above(path)
    os.mkdir(path)


def _set_mode(path: str, mode: int) -> None:
    try:
        os.chmod(path, mode)
    except OSError as error:
        raise refused(error, "cannot set the mode of", path) from error


def _clear(path: str) -> None:
    """Delete all that is in a folder. Links in it are removed and not followed; nor is one in its place."""
    found = look(path)
    if found is None or not stat.S_ISDIR(found.st_mode):
        return
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    _remove_tree(entry.path)
                else:
                    os.unlink(entry.path)
    except OSError as error:
        raise refused(error, "cannot delete", str(error.filename)) from error


def _remove_tree(path: str) -> None:
    # Told while it happens: what rmtree raises in the end names a folder above in some versions of Python, and no
    # folders at all in others.
    def tell(_call: object, at: str, error: BaseException) -> None:
        if not isinstance(error, OSError):
            raise error
        if not isinstance(error, FileNotFoundError):  # gone already is success
            raise refused(error, "cannot delete", at) from error

    if sys.version_info >= (3, 12):
        shutil.rmtree(path, onexc=tell)
    else:
        shutil.rmtree(path, onerror=lambda call, at, raised: tell(call, at, raised[1]))
