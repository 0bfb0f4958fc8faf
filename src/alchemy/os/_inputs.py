"""The files that a command works from, and what they hold."""

from __future__ import annotations

import glob
import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from alchemy.errors import DeclarationError


def matching(pattern: str, cwd: str) -> list[str]:
    """List the files that a pattern matches, relative to `cwd`, sorted.

    `**` stands for any number of folders. As in a shell, `*` does not match names that begin with a dot. A folder's
    own name stands for all the files below it.
    """
    root = Path(cwd)
    if not glob.has_magic(pattern) and (root / pattern).is_dir():
        pattern = str(Path(glob.escape(pattern)) / "**")
    found = glob.glob(pattern, root_dir=cwd, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
    return sorted({os.path.normpath(name) for name in found if _is_file(root / name)})


def digests(patterns: Sequence[str], cwd: str, what: str) -> tuple[dict[str, str], list[str]]:
    """Hash the files that patterns match.

    Args:
        patterns: relative to `cwd`.
        cwd: absolute.
        what: names the resource, for messages.

    Returns:
        SHA-256 in hexadecimal by path relative to `cwd`; and the patterns that match no file.

    Raises:
        DeclarationError: a file cannot be read.
    """
    found: dict[str, str] = {}
    idle: list[str] = []
    for pattern in patterns:
        names = matching(pattern, cwd)
        if not names:
            idle.append(pattern)
        for name in names:
            if name in found:
                continue
            try:
                with (Path(cwd) / name).open("rb") as file:
                    found[name] = hashlib.file_digest(file, "sha256").hexdigest()
            except FileNotFoundError:
                continue  # gone since it was listed
            except OSError as error:
                raise DeclarationError(
                    f"{what}: the input {name} cannot be read: {error.strerror}",
                    hint="check its permissions, or leave it out of 'inputs'",
                ) from error
    return found, idle


def _is_file(path: Path) -> bool:
    """Say whether there is a regular file. Opening anything else (a pipe) might never return."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False
