"""Checking an npm tarball against its digest and taking single files out of it."""

from __future__ import annotations

import base64
import hashlib
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from alchemy.local._errors import ToolchainError

_BLOCK = 1 << 20


def verify(tarball: Path, integrity: str, *, package: str) -> None:
    """Compare the file's SHA-512 with `integrity` (`sha512-` and base64).

    Raises:
        ToolchainError: they differ; the file must not be used.
    """
    digest = hashlib.sha512()
    with tarball.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    found = "sha512-" + base64.b64encode(digest.digest()).decode("ascii")
    if found != integrity:
        raise ToolchainError(
            f"the tarball of {package} is not the one this version was built with: "
            f"its digest is {found}, expected {integrity}",
            hint="check the registry that npm is configured to use; nothing was installed",
        )


def extract(tarball: Path, into: Path, *, choose: Callable[[PurePosixPath], PurePosixPath | None]) -> int:
    """Write the regular files that `choose` gives a place to, and return how many there were.

    `choose` gets the path inside the package (npm's leading `package/` is dropped) and answers with the path below
    `into`, or `None` to leave the file out. Links, devices and paths that climb out are never followed or written,
    whatever `choose` says. Files that are executable in the archive are executable afterwards.

    Raises:
        ToolchainError: the file is not a gzipped tar archive, or a path in it climbs out.
    """
    count = 0
    try:
        with tarfile.open(tarball, "r:gz") as archive:
            for member in archive:
                target = choose(PurePosixPath(*PurePosixPath(member.name).parts[1:]))
                if target is None or not member.isfile():
                    continue
                if target.is_absolute() or ".." in target.parts:
                    raise ToolchainError(f"the tarball {tarball.name} holds an unsafe path: {member.name}")
                _write(archive, member, into.joinpath(*target.parts))
                count += 1
    except tarfile.TarError as error:
        raise ToolchainError(f"the tarball {tarball.name} cannot be read: {error}") from error
    return count


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    source = archive.extractfile(member)
    if source is None:  # isfile() was true, so tarfile gives a reader; said for the type checker
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with source, path.open("wb") as file:
        while block := source.read(_BLOCK):
            file.write(block)
    path.chmod(0o755 if member.mode & 0o100 else 0o644)
