"""Checking and unpacking npm tarballs."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from pathlib import Path, PurePosixPath

import pytest

from alchemy.local._errors import ToolchainError
from alchemy.local._tarball import extract, verify


def make(path: Path, *members: tuple[str, bytes | None, int]) -> Path:
    """Write a tarball; a member without content is a link to `/etc/passwd`."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content, mode in members:
            member = tarfile.TarInfo(name)
            member.mode = mode
            if content is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def everything(path: PurePosixPath) -> PurePosixPath:
    """Choose every file."""
    return path


def test_a_digest_must_agree(tmp_path: Path) -> None:
    """The right digest passes, another names both and what to look at."""
    file = tmp_path / "x.tgz"
    file.write_bytes(b"content")
    right = "sha512-" + base64.b64encode(hashlib.sha512(b"content").digest()).decode()
    verify(file, right, package="x@1")
    file.write_bytes(b"other")
    with pytest.raises(ToolchainError, match="x@1") as refused:
        verify(file, right, package="x@1")
    assert right in refused.value.message
    assert refused.value.hint


def test_chosen_files_are_written(tmp_path: Path) -> None:
    """Only what was chosen, where it was chosen to be, executable when it was."""
    tarball = make(
        tmp_path / "x.tgz", ("package/bin/run", b"#!", 0o755), ("package/a/b.js", b"js", 0o600), ("package/no", b"", 0)
    )
    into = tmp_path / "into"
    places = {"bin/run": PurePosixPath("run"), "a/b.js": PurePosixPath("deep/b.js")}
    assert extract(tarball, into, choose=lambda path: places.get(str(path))) == 2
    assert sorted(str(path.relative_to(into)) for path in into.rglob("*") if path.is_file()) == ["deep/b.js", "run"]
    assert (into / "run").stat().st_mode & 0o777 == 0o755
    assert (into / "deep/b.js").stat().st_mode & 0o777 == 0o644


def test_links_are_not_written(tmp_path: Path) -> None:
    """A symbolic link in the archive is left out."""
    tarball = make(tmp_path / "x.tgz", ("package/link", None, 0o777))
    assert extract(tarball, tmp_path / "into", choose=everything) == 0
    assert not (tmp_path / "into").exists()


def test_a_path_that_climbs_out_is_refused(tmp_path: Path) -> None:
    """Nothing is written outside the folder."""
    tarball = make(tmp_path / "x.tgz", ("package/../../evil", b"evil", 0o644))
    with pytest.raises(ToolchainError, match="unsafe"):
        extract(tarball, tmp_path / "into", choose=everything)
    assert [path.name for path in tmp_path.rglob("*")] == ["x.tgz"]


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    """Rubbish is an error that names the file."""
    (tmp_path / "x.tgz").write_bytes(b"rubbish")
    with pytest.raises(ToolchainError, match=r"x\.tgz"):
        extract(tmp_path / "x.tgz", tmp_path / "into", choose=everything)
