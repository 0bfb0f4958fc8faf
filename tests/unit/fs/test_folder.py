"""`fs.Folder`, its handlers driven without an engine."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from alchemy.errors import AlreadyExists, DeclarationError, Gone, ProviderError
from alchemy.fs import File, Folder
from alchemy.fs._file import FileProvider
from alchemy.fs._folder import FolderProvider

if TYPE_CHECKING:
    from tests.unit.fs.conftest import OneRun

pytestmark = pytest.mark.anyio
provider = FolderProvider()
files = FileProvider()


async def created(run: OneRun, path: Path | str, id: str = "it", **values: Any) -> Folder:
    """Create a folder as the engine does: find, then create."""
    want = run.make(Folder, id, path=str(path), **values)
    assert await provider.find(run.context(want), want) is None
    return await provider.create(run.context(want), want)


async def a_file(run: OneRun, path: Path, id: str = "file") -> File:
    want = run.make(File, id, path=str(path), content="hello")
    return await files.create(run.context(want), want)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_creates(run: OneRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is made, with those missing above it, and has the mode asked for whatever the umask."""
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o077)
    try:
        made = await created(run, "x/y/")
        await created(run, "shared", id="shared", mode=0o2775)
    finally:
        os.umask(before)
    assert made.absolute_path == str(tmp_path / "x" / "y")
    assert (mode_of(tmp_path / "x" / "y"), mode_of(tmp_path / "shared")) == (0o755, 0o2775)


async def test_finds_what_is_there(run: OneRun, tmp_path: Path) -> None:
    """A folder that is there is found, with its mode, so that it is taken over only when that is wanted."""
    (tmp_path / "a").mkdir(0o700)
    want = run.make(Folder, path=str(tmp_path / "a"))
    found = await provider.find(run.context(want), want)
    assert found is not None
    assert (found.absolute_path, found.mode) == (str(tmp_path / "a"), 0o700)
    with pytest.raises(AlreadyExists):
        await provider.create(run.context(want), want)
    assert mode_of(tmp_path / "a") == 0o700
    made = await provider.update(run.context(want, adopt=True), want, found)
    assert mode_of(tmp_path / "a") == 0o755
    assert made.absolute_path == found.absolute_path


async def test_create_takes_over_when_adopting(run: OneRun, tmp_path: Path) -> None:
    """With adopt, a folder that appeared after `find` had looked is taken over; a file is not."""
    (tmp_path / "a").mkdir(0o700)
    want = run.make(Folder, path=str(tmp_path / "a"))
    await provider.create(run.context(want, adopt=True), want)
    assert mode_of(tmp_path / "a") == 0o755
    (tmp_path / "b").write_text("theirs")
    want = run.make(Folder, path=str(tmp_path / "b"))
    with pytest.raises(ProviderError, match="b is a file, where a folder should be"):
        await provider.create(run.context(want, adopt=True), want)
    assert (tmp_path / "b").read_text() == "theirs"


@pytest.mark.parametrize("kind", ["file", "link"])
async def test_something_else_in_the_way(run: OneRun, tmp_path: Path, kind: str) -> None:
    """A file, or a link even to a folder, is an error and is left as it is."""
    (tmp_path / "other").mkdir()
    path = tmp_path / "a"
    path.write_text("theirs") if kind == "file" else path.symlink_to("other")
    want = run.make(Folder, path=str(path), absolute_path=str(path))
    for work in (
        provider.find(run.context(want), want),
        provider.read(run.context(want), want),
        provider.update(run.context(want), want, want),
    ):
        with pytest.raises(ProviderError, match=f"a is a .*{kind}, where a folder should be"):
            await work
    assert path.is_symlink() == (kind == "link")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"path": ""}, "'path' of fs::Folder 'it' is empty"),
        ({"mode": 755}, "write it in octal: 0o755"),
        ({"mode": 0o10000}, "'mode' of fs::Folder 'it'"),
        ({"path": ".", "clean": True}, "must not be cleaned"),
        ({"path": "..", "clean": True}, "must not be cleaned"),
        ({"path": "/", "clean": True}, "must not be cleaned"),
        ({"path": "~home", "clean": True}, "must not be cleaned"),
        ({"path": "link", "clean": True}, "must not be cleaned"),
    ],
)
async def test_refuses_wrong_inputs(
    run: OneRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], message: str
) -> None:
    """An input that cannot be is named; what holds the current folder or the home is never to be cleaned."""
    (tmp_path / "cwd").mkdir()
    (tmp_path / "home").mkdir()
    (tmp_path / "cwd" / "link").symlink_to("..")
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if values.get("path") == "~home":
        values = {**values, "path": str(tmp_path / "home")}
    want = run.make(Folder, **{"path": "a", **values})
    with pytest.raises(DeclarationError, match=message):
        await provider.create(run.context(want), want)
    assert os.listdir(tmp_path / "cwd") == ["link"]


async def test_clean_is_checked_in_updates_and_deletes(
    run: OneRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that has come to hold the current one is not cleaned, whatever was said before."""
    made = await created(run, tmp_path / "a")
    cleaned = await created(run, tmp_path / "b", id="b", clean=True)
    for name in "ab":
        (tmp_path / name / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "a" / "inner")
    want = run.make(Folder, path=str(tmp_path / "a"), clean=True)
    with pytest.raises(DeclarationError, match="must not be cleaned"):
        await provider.update(run.context(want), want, made)
    monkeypatch.chdir(tmp_path / "b" / "inner")
    with pytest.raises(DeclarationError, match="must not be cleaned"):
        await provider.delete(run.context(cleaned), cleaned)
    assert (tmp_path / "b" / "inner").is_dir()


async def test_update(run: OneRun, tmp_path: Path) -> None:
    """Another mode is set on the folder as it is; one that is gone is said to be gone."""
    have = await created(run, tmp_path / "a")
    want = run.make(Folder, path=str(tmp_path / "a"), mode=0o700)
    before = (tmp_path / "a").stat().st_ino
    await provider.update(run.context(want), want, have)
    assert (mode_of(tmp_path / "a"), (tmp_path / "a").stat().st_ino) == (0o700, before)
    (tmp_path / "a").rmdir()
    assert await provider.read(run.context(have), have) is None
    with pytest.raises(Gone):
        await provider.update(run.context(want), want, have)


# Delete


async def test_deletes_with_the_folders_above(run: OneRun, tmp_path: Path) -> None:
    """An empty folder is deleted with those that were made for it; deleting it again is no error."""
    made = await created(run, tmp_path / "x" / "y" / "z")
    await provider.delete(run.context(made), made)
    assert os.listdir(tmp_path) == []
    await provider.delete(run.context(made), made)
    assert run.logs == [f"{tmp_path}/x/y/z was gone already"]


async def test_foreign_files_are_left(run: OneRun, tmp_path: Path) -> None:
    """A folder with somebody else's file is left with it, and the log says so."""
    made = await created(run, tmp_path / "x" / "a")
    (tmp_path / "x" / "a" / "foreign").write_text("theirs")
    await provider.delete(run.context(made), made)
    assert (tmp_path / "x" / "a" / "foreign").read_text() == "theirs"
    assert run.logs == [f"{tmp_path}/x/a is not empty: it goes only if all that is in it goes in this run"]


async def test_goes_with_what_is_in_it_in_any_order(run: OneRun, tmp_path: Path) -> None:
    """A folder that is deleted before the files and folders in it goes with the last of them."""
    outer = await created(run, tmp_path / "top" / "outer", id="outer")
    inner = await created(run, tmp_path / "top" / "outer" / "inner", id="inner")
    one = await a_file(run, tmp_path / "top" / "outer" / "1", id="one")
    two = await a_file(run, tmp_path / "top" / "outer" / "inner" / "2", id="two")
    later = run.next()
    await provider.delete(later.context(outer), outer)
    await provider.delete(later.context(inner), inner)
    await files.delete(later.context(one), one)
    assert (tmp_path / "top" / "outer" / "inner" / "2").exists()
    await files.delete(later.context(two), two)
    assert os.listdir(tmp_path) == []


async def test_a_file_may_come_first(run: OneRun, tmp_path: Path) -> None:
    """A folder that a file of the same run made on the way is the declared folder's; it gets its mode."""
    file = await a_file(run, tmp_path / "x" / "a" / "1")
    made = await created(run, tmp_path / "x" / "a", mode=0o750)
    assert mode_of(tmp_path / "x" / "a") == 0o750
    await files.delete(run.context(file), file)
    await provider.delete(run.context(made), made)
    assert os.listdir(tmp_path) == []


async def test_clean_deletes_everything(run: OneRun, tmp_path: Path) -> None:
    """With `clean` all that is in the folder goes, but nothing that links in it lead to."""
    made = await created(run, tmp_path / "a", clean=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "theirs").write_text("theirs")
    (tmp_path / "a" / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "a" / "deep" / "file").write_text("")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "other")
    (tmp_path / "a" / "deep" / "link").symlink_to(tmp_path / "other")
    await provider.delete(run.context(made), made)
    assert os.listdir(tmp_path) == ["other"]
    assert (tmp_path / "other" / "theirs").exists()
    await provider.delete(run.context(made), made)


async def test_clean_follows_no_link(run: OneRun, tmp_path: Path) -> None:
    """When a link to another folder stands where the folder was, neither is touched: the folder is gone."""
    made = await created(run, tmp_path / "a", clean=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "theirs").write_text("theirs")
    (tmp_path / "a").rmdir()
    (tmp_path / "a").symlink_to("other")
    await provider.delete(run.context(made), made)
    assert (tmp_path / "other" / "theirs").exists()
    assert (tmp_path / "a").is_symlink()


# What the operating system refuses


async def test_permission_denied(run: OneRun, nobodys: Path) -> None:
    """What may not be made, deleted or cleaned is named, and what may not be looked at is not taken for gone."""
    made = await created(run, nobodys / "locked" / "a", clean=True)
    (nobodys / "locked" / "a" / "b").mkdir()
    (nobodys / "locked" / "a" / "b" / "c").write_text("")
    (nobodys / "locked" / "a" / "b").chmod(0o500)
    with pytest.raises(ProviderError, match=r"cannot delete .*/locked/a/b/c: Permission denied"):
        await provider.delete(run.context(made), made)
    (nobodys / "locked" / "a" / "b").chmod(0o700)
    (nobodys / "locked").chmod(0o500)
    with pytest.raises(ProviderError, match=r"cannot delete the folder .*/a: Permission denied"):
        await provider.delete(run.context(made), made)
    want = run.make(Folder, path=str(nobodys / "locked" / "new"))
    with pytest.raises(ProviderError, match=r"cannot make the folder .*/new: Permission denied"):
        await provider.create(run.context(want), want)
    (nobodys / "locked").chmod(0)
    with pytest.raises(ProviderError, match=r"cannot look at .*/a: Permission denied"):
        await provider.read(run.context(made), made)


async def test_what_vanishes_while_a_folder_is_cleaned(
    run: OneRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else deletes a file below it at the same moment: gone is gone."""
    made = await created(run, tmp_path / "a", clean=True)
    (tmp_path / "a" / "b").mkdir()
    (tmp_path / "a" / "b" / "c").write_text("")
    unlink = os.unlink

    def twice(path: Any, **options: Any) -> None:
        unlink(path, **options)
        unlink(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", twice)
        await provider.delete(run.context(made), made)
    assert not (tmp_path / "a").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of somebody else")
async def test_mode_of_anothers_folder(run: OneRun, nobodys: Path) -> None:
    """The mode of a folder that belongs to another user cannot be set, and the error says so."""
    os.seteuid(0)
    (nobodys / "a").mkdir()
    os.seteuid(65534)
    want = run.make(Folder, path=str(nobodys / "a"), mode=0o700, absolute_path=str(nobodys / "a"))
    with pytest.raises(ProviderError, match=r"cannot set the mode of .*: Operation not permitted"):
        await provider.update(run.context(want), want, want)


async def test_a_file_where_a_folder_should_be(run: OneRun, tmp_path: Path) -> None:
    """A file in the middle of the path is an error that says what to do."""
    (tmp_path / "x").write_text("a file")
    want = run.make(Folder, path=str(tmp_path / "x" / "y" / "z"))
    with pytest.raises(ProviderError, match="a part of its path is a file"):
        await provider.create(run.context(want), want)


async def test_concurrent_folders(run: OneRun, tmp_path: Path) -> None:
    """Folders made side by side below one that is missing all get there, and all go."""
    wants = [run.make(Folder, f"f{n}", path=str(tmp_path / "x" / "y" / str(n))) for n in range(10)]
    made = await asyncio.gather(*(provider.create(run.context(want), want) for want in wants))
    for folder in made:
        await provider.delete(run.context(folder), folder)
    assert os.listdir(tmp_path) == []
