"""`fs.CopyFile`, its handlers driven without an engine."""

from __future__ import annotations

import hashlib
import os
import resource
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from alchemy.errors import AlreadyExists, DeclarationError, Gone, ProviderError
from alchemy.fs import CopyFile
from alchemy.fs._copy import CopyFileProvider
from alchemy.fs._writing import INLINE

if TYPE_CHECKING:
    from tests.unit.fs.conftest import OneRun

pytestmark = pytest.mark.anyio
provider = CopyFileProvider()


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a folder that holds `source`."""
    monkeypatch.chdir(tmp_path)
    Path("source").write_text("hello")
    Path("source").chmod(0o750)


def a_copy(run: OneRun, source: str = "source", destination: str = "out/copy", **values: Any) -> CopyFile:
    return run.make(CopyFile, source=source, destination=destination, **values)


async def created(run: OneRun, **values: Any) -> CopyFile:
    """Create a copy as the engine does: find, then create."""
    want = a_copy(run, **values)
    assert await provider.find(run.context(want), want) is None
    return await provider.create(run.context(want), want)


@pytest.mark.parametrize("size", [0, 5, INLINE + 1, 5 << 20])
async def test_copies(run: OneRun, tmp_path: Path, size: int) -> None:
    """A copy has the contents and permissions of its source, small ones and those that a thread copies."""
    Path("source").write_bytes(b"x" * size)
    made = await created(run)
    copy = tmp_path / "out" / "copy"
    assert copy.read_bytes() == b"x" * size
    assert stat.S_IMODE(copy.stat().st_mode) == 0o750
    assert (made.absolute_path, made.size) == (str(copy), size)
    assert made.sha256 == hashlib.sha256(b"x" * size).hexdigest()
    read = await provider.read(run.context(made), made)
    assert read is not None
    assert (read.size, read.sha256) == (made.size, made.sha256)
    await provider.delete(run.context(made), made)
    assert os.listdir() == ["source"]


async def test_fingerprint(run: OneRun) -> None:
    """The contents and permissions of the source count, its age and name do not."""
    first = a_copy(run).fingerprint()
    os.utime("source", (0, 0))
    Path("link").symlink_to("source")
    assert a_copy(run).fingerprint() == a_copy(run, source="link").fingerprint() == first
    Path("source").chmod(0o640)
    second = a_copy(run).fingerprint()
    Path("source").write_text("other")
    assert len({str(first), str(second), str(a_copy(run).fingerprint())}) == 3


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("missing", "missing: No such file or directory"),
        ("folder", "folder: it is a folder"),
        ("pipe", "pipe: it is not a regular file"),
        ("source/below", "source/below: Not a directory"),
        ("", "'source' of fs::CopyFile 'it' is empty"),
        ("out/copy", "copies .* onto itself"),
        ("out-link/copy", "copies .* onto itself"),
    ],
)
async def test_refuses_wrong_sources(run: OneRun, source: str, why: str) -> None:
    """A source that cannot be copied is named with the reason, before and in the handler; nothing is written."""
    Path("folder").mkdir()
    os.mkfifo("pipe")
    Path("out-link").symlink_to("out")
    want = a_copy(run, source=source)
    with pytest.raises(DeclarationError, match=why):
        want.fingerprint()
    with pytest.raises(DeclarationError, match=why):
        await provider.create(run.context(want), want)
    assert not Path("out").exists()


async def test_unreadable_source(run: OneRun, nobodys: Path) -> None:
    """A source that may not be read is an error before anything is made."""
    (nobodys / "source").write_text("hello")
    (nobodys / "source").chmod(0)
    want = a_copy(run, source=str(nobodys / "source"), destination=str(nobodys / "out" / "copy"))
    with pytest.raises(DeclarationError, match="source: Permission denied"):
        want.fingerprint()
    with pytest.raises(ProviderError, match=r"cannot read .*/source: Permission denied"):
        await provider.create(run.context(want), want)
    assert os.listdir(nobodys) == ["source"]


async def test_unreadable_copy(run: OneRun, nobodys: Path) -> None:
    """A copy that may not be read or deleted is an error, and never taken for gone."""
    (nobodys / "source").write_text("hello")
    (nobodys / "source").chmod(0o600)
    made = await created(run, source=str(nobodys / "source"), destination=str(nobodys / "out" / "copy"))
    (nobodys / "out" / "copy").chmod(0)
    with pytest.raises(ProviderError, match=r"cannot read .*/out/copy: Permission denied"):
        await provider.read(run.context(made), made)
    (nobodys / "out").chmod(0o500)
    with pytest.raises(ProviderError, match=r"cannot delete .*/out/copy: Permission denied"):
        await provider.delete(run.context(made), made)
    with pytest.raises(ProviderError, match=r"cannot write .*/out/copy: Permission denied"):
        await provider.update(run.context(made), made, made)


async def test_refuses_wrong_destinations(run: OneRun) -> None:
    """A destination that names a folder, or is empty, is refused."""
    for destination in ("", "out/"):
        want = a_copy(run, destination=destination)
        with pytest.raises(DeclarationError, match="'destination' of fs::CopyFile 'it'"):
            await provider.find(run.context(want), want)


async def test_a_source_that_cannot_be_read_to_its_end(run: OneRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing disk under the source is an error that names the source; nothing is left of the copy."""

    def fail(fd: int, size: int) -> bytes:
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(os, "read", fail)
    want = a_copy(run)
    with pytest.raises(ProviderError, match=r"cannot read .*/source: Input/output error"):
        await provider.create(run.context(want), want)
    assert os.listdir() == ["source"]


async def test_disk_full(run: OneRun) -> None:
    """A copy that is cut short leaves the old one, and nothing beside it."""
    have = await created(run)
    Path("source").write_bytes(b"x" * 20_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(ProviderError, match=r"cannot write .*/out/copy: File too large"):
            await provider.update(run.context(have), have, have)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert Path("out/copy").read_text() == "hello"
    assert os.listdir("out") == ["copy"]


async def test_never_overwrites(run: OneRun) -> None:
    """What is at the destination is found, and not overwritten by a create, but by an update that adopts it."""
    Path("out").mkdir()
    Path("out/copy").write_text("theirs")
    want = a_copy(run)
    found = await provider.find(run.context(want), want)
    assert found is not None
    assert found.sha256 == hashlib.sha256(b"theirs").hexdigest()
    with pytest.raises(AlreadyExists):
        await provider.create(run.context(want), want)
    assert Path("out/copy").read_text() == "theirs"
    await provider.update(run.context(want, adopt=True), want, found)
    assert Path("out/copy").read_text() == "hello"


async def test_something_else_in_the_way(run: OneRun) -> None:
    """A folder at the destination is an error."""
    Path("out/copy").mkdir(parents=True)
    want = a_copy(run, absolute_path=str(Path("out/copy").absolute()))
    for work in (provider.find(run.context(want), want), provider.update(run.context(want), want, want)):
        with pytest.raises(ProviderError, match="copy is a folder, where a file should be"):
            await work


async def test_gone(run: OneRun) -> None:
    """A copy that was deleted is gone for read and update, and deleted for delete."""
    made = await created(run)
    Path("out/copy").unlink()
    assert await provider.read(run.context(made), made) is None
    with pytest.raises(Gone):
        await provider.update(run.context(made), made, made)
    await provider.delete(run.context(made), made)
    assert run.logs == [f"{Path.cwd()}/out/copy was gone already"]
    assert os.listdir() == ["source"]
