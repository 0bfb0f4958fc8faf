"""`fs.File`, its handlers driven without an engine."""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from alchemy.errors import AlreadyExists, DeclarationError, Gone, ProviderError
from alchemy.fs import File
from alchemy.fs._file import FileProvider
from alchemy.fs._writing import INLINE
from alchemy.secret import Secret

if TYPE_CHECKING:
    from tests.unit.fs.conftest import OneRun

pytestmark = pytest.mark.anyio
provider = FileProvider()


async def created(run: OneRun, path: Path | str, content: Any = "hello", id: str = "it", **values: Any) -> File:
    """Create a file as the engine does: find, then create."""
    want = run.make(File, id, path=str(path), content=content, **values)
    assert await provider.find(run.context(want), want) is None
    return await provider.create(run.context(want), want)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_creates(run: OneRun, tmp_path: Path) -> None:
    """A created file holds the text as UTF-8, and the outputs say where, how much and what."""
    made = await created(run, tmp_path / "a.txt", "grüße\n")
    data = "grüße\n".encode()
    assert (tmp_path / "a.txt").read_bytes() == data
    assert (made.absolute_path, made.size) == (str(tmp_path / "a.txt"), len(data))
    assert made.sha256 == hashlib.sha256(data).hexdigest()
    assert os.listdir(tmp_path) == ["a.txt"]
    assert run.data() == {}


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"x" * (INLINE + 1), b"y" * (5 << 20)])
async def test_creates_bytes(run: OneRun, tmp_path: Path, content: bytes) -> None:
    """Bytes are written as they are: none, binary, and so many that a thread writes them."""
    made = await created(run, tmp_path / "a.bin", content)
    assert (tmp_path / "a.bin").read_bytes() == content
    assert made.size == len(content)


async def test_mode_does_not_depend_on_the_umask(run: OneRun, tmp_path: Path) -> None:
    """The permissions are those asked for, or 0o644, also under a strict umask."""
    before = os.umask(0o077)
    try:
        await created(run, tmp_path / "a")
        await created(run, tmp_path / "b", mode=0o766)
    finally:
        os.umask(before)
    assert (mode_of(tmp_path / "a"), mode_of(tmp_path / "b")) == (0o644, 0o766)


async def test_secret_is_kept_from_others(run: OneRun, tmp_path: Path) -> None:
    """A secret is readable by its owner only, and no output gives it or its hash away."""
    made = await created(run, tmp_path / "key", Secret("hunter2"))
    assert (tmp_path / "key").read_text() == "hunter2"
    assert mode_of(tmp_path / "key") == 0o600
    assert made.sha256 is None
    assert "hunter2" not in repr(made.__dict__)


async def test_secret_with_a_mode(run: OneRun, tmp_path: Path) -> None:
    """A mode that the program gives counts for a secret too."""
    await created(run, tmp_path / "key", Secret("hunter2"), mode=0o644)
    assert mode_of(tmp_path / "key") == 0o644


async def test_relative_path(run: OneRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path starts at the current folder, `~` is a name, and the file is found again from elsewhere."""
    monkeypatch.chdir(tmp_path)
    made = await created(run, "~/../sub/a.txt")
    assert made.absolute_path == str(tmp_path / "sub" / "a.txt")
    monkeypatch.chdir("/")
    assert await provider.read(run.context(made), made) is not None
    await provider.delete(run.context(made), made)
    assert os.listdir(tmp_path) == []


async def test_current_folder_gone(run: OneRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path in a folder that was deleted is an error that says so."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    want = run.make(File, path="a.txt", content="")
    with pytest.raises(DeclarationError, match="the current folder is gone"):
        await provider.find(run.context(want), want)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"path": ""}, "'path' of fs::File 'it' is empty"),
        ({"path": "a\0b"}, "'path' of fs::File 'it' holds a NUL character"),
        ({"path": "a/"}, "'path' of fs::File 'it' names a folder"),
        ({"mode": 644}, r"'mode' of fs::File 'it' is 644, which is 0o1204 \(write it in octal: 0o644\)"),
        ({"mode": -1}, "'mode' of fs::File 'it' is -0o1"),
        ({"mode": 0o10000}, "'mode' of fs::File 'it' is 0o10000"),
        ({"content": "\ud800"}, "'content' of fs::File 'it' holds half a surrogate pair"),
    ],
)
async def test_refuses_wrong_inputs(
    run: OneRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], message: str
) -> None:
    """An input that cannot be is named, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    want = run.make(File, **{"path": "new/a.txt", "content": "hello", **values})
    with pytest.raises(DeclarationError, match=message):
        await provider.create(run.context(want), want)
    assert os.listdir(tmp_path) == []


async def test_wrong_secret_is_not_shown(run: OneRun, tmp_path: Path) -> None:
    """Not even the cause of an error holds a secret's value."""
    want = run.make(File, path=str(tmp_path / "a"), content=Secret("open\ud800sesame"))
    with pytest.raises(DeclarationError) as raised:
        await provider.create(run.context(want), want)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    assert "sesame" not in str(raised.value)


# What is there already


async def test_finds_what_is_there(run: OneRun, tmp_path: Path) -> None:
    """A file at the path is found with its contents and mode, in the form the program uses."""
    path = tmp_path / "a"
    path.write_bytes(b"theirs")
    path.chmod(0o640)
    for content, same in (("x", "theirs"), (b"x", b"theirs"), (Secret("x"), Secret("theirs"))):
        want = run.make(File, path=str(path), content=content)
        found = await provider.find(run.context(want), want)
        assert found is not None
        assert (found.content, found.mode, found.size) == (same, 0o640, 6)


async def test_finds_what_is_no_text(run: OneRun, tmp_path: Path) -> None:
    """Contents that are no UTF-8 are found as bytes, and hidden as a secret's: never equal to what is wanted."""
    path = tmp_path / "a"
    path.write_bytes(b"\xff")
    want = run.make(File, path=str(path), content="x")
    found = await provider.find(run.context(want), want)
    assert found is not None
    assert found.content == b"\xff"
    want = run.make(File, path=str(path), content=Secret("x"))
    found = await provider.find(run.context(want), want)
    assert found is not None
    assert isinstance(found.content, Secret)


async def test_default_mode_is_no_drift(run: OneRun, tmp_path: Path) -> None:
    """A file that is as it was written is read back equal, its mode left to the default included."""
    made = await created(run, tmp_path / "a", "x" * (INLINE + 1))
    read = await provider.read(run.context(made), made)
    assert read is not None
    assert (read.mode, read.content, read.sha256) == (None, made.content, made.sha256)
    (tmp_path / "a").chmod(0o600)
    read = await provider.read(run.context(made), made)
    assert read is not None
    assert read.mode == 0o600


async def test_read_says_gone(run: OneRun, tmp_path: Path) -> None:
    """A file that was deleted by somebody is gone, and so is one whose folder was."""
    made = await created(run, tmp_path / "sub" / "a")
    (tmp_path / "sub" / "a").unlink()
    assert await provider.read(run.context(made), made) is None
    (tmp_path / "sub").rmdir()
    assert await provider.read(run.context(made), made) is None


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
async def test_something_else_in_the_way(run: OneRun, tmp_path: Path, kind: str) -> None:
    """A folder, a symbolic link or a pipe at the path is an error, with adopt too; it is left as it is."""
    path = tmp_path / "a"
    (tmp_path / "other").write_text("theirs")
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "other")
    else:
        os.mkfifo(path)
    before = path.lstat()
    want = run.make(File, path=str(path), content="mine", absolute_path=str(path))
    with pytest.raises(ProviderError, match=f"{path} is a .*{kind}.*, where a file should be"):
        await provider.find(run.context(want, adopt=True), want)
    with pytest.raises(ProviderError, match="where a file should be"):
        await provider.update(run.context(want), want, want)
    assert path.lstat().st_ino == before.st_ino
    assert (tmp_path / "other").read_text() == "theirs"


async def test_create_never_overwrites(run: OneRun, tmp_path: Path) -> None:
    """What appeared at the path after `find` had looked is not overwritten."""
    (tmp_path / "a").write_text("theirs")
    want = run.make(File, path=str(tmp_path / "a"), content="mine")
    with pytest.raises(AlreadyExists, match="exists already"):
        await provider.create(run.context(want), want)
    assert (tmp_path / "a").read_text() == "theirs"
    assert os.listdir(tmp_path) == ["a"]


async def test_create_may_overwrite_when_adopting(run: OneRun, tmp_path: Path) -> None:
    """With adopt, what appeared after `find` had looked is taken over."""
    (tmp_path / "a").write_text("theirs")
    want = run.make(File, path=str(tmp_path / "a"), content="mine")
    await provider.create(run.context(want, adopt=True), want)
    assert (tmp_path / "a").read_text() == "mine"


async def test_two_creates_at_once(run: OneRun, tmp_path: Path) -> None:
    """Of several that create one path at the same time, in threads, exactly one does."""
    wants = [run.make(File, f"f{n}", path=str(tmp_path / "a"), content=str(n) * (INLINE + 1)) for n in range(8)]
    results = await asyncio.gather(
        *(provider.create(run.context(want), want) for want in wants), return_exceptions=True
    )
    made = [result for result in results if isinstance(result, File)]
    assert len(made) == 1
    assert sum(isinstance(result, AlreadyExists) for result in results) == 7
    assert (tmp_path / "a").read_text() == made[0].content
    assert os.listdir(tmp_path) == ["a"]


async def test_without_hard_links(run: OneRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without hard links files are created too, and still nothing is overwritten."""

    def refuse(source: str, target: str) -> None:
        raise PermissionError(1, os.strerror(1), source, None, target)

    monkeypatch.setattr(os, "link", refuse)
    await created(run, tmp_path / "a")
    want = run.make(File, path=str(tmp_path / "a"), content="other")
    with pytest.raises(AlreadyExists):
        await provider.create(run.context(want), want)
    assert (tmp_path / "a").read_text() == "hello"
    assert os.listdir(tmp_path) == ["a"]


# Update


async def test_update_replaces_the_file_whole(run: OneRun, tmp_path: Path) -> None:
    """Who has the file open goes on reading the old contents, and the path gives the new ones and the mode."""
    have = await created(run, tmp_path / "a", "old")
    want = run.make(File, path=str(tmp_path / "a"), content="new", mode=0o600)
    with (tmp_path / "a").open() as reader:
        made = await provider.update(run.context(want), want, have)
        assert reader.read() == "old"
    assert (tmp_path / "a").read_text() == "new"
    assert mode_of(tmp_path / "a") == 0o600
    assert made.sha256 == hashlib.sha256(b"new").hexdigest()
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("size", [10, INLINE + 1])
async def test_update_does_not_write_the_same(run: OneRun, tmp_path: Path, size: int) -> None:
    """Equal contents are not written again; another mode is set on the file as it is."""
    have = await created(run, tmp_path / "a", "x" * size)
    before = (tmp_path / "a").stat()
    want = run.make(File, path=str(tmp_path / "a"), content="x" * size, mode=0o640)
    await provider.update(run.context(want), want, have)
    after = (tmp_path / "a").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert mode_of(tmp_path / "a") == 0o640


async def test_update_repairs_what_was_edited(run: OneRun, tmp_path: Path) -> None:
    """What counts is what is on the disk: an edit of the same length is written over."""
    have = await created(run, tmp_path / "a", "mine")
    (tmp_path / "a").write_text("edit")
    await provider.update(run.context(have), have, have)
    assert (tmp_path / "a").read_text() == "mine"


async def test_update_of_a_file_that_is_gone(run: OneRun, tmp_path: Path) -> None:
    """An update of a file that was deleted says so, and does not make it."""
    have = await created(run, tmp_path / "a")
    (tmp_path / "a").unlink()
    with pytest.raises(Gone):
        await provider.update(run.context(have), have, have)
    assert os.listdir(tmp_path) == []


# Delete, and the folders above


async def test_delete_takes_edited_files(run: OneRun, tmp_path: Path) -> None:
    """A file is deleted also after somebody has edited it, and deleting it again is no error."""
    made = await created(run, tmp_path / "a")
    (tmp_path / "a").write_text("edited")
    await provider.delete(run.context(made), made)
    assert os.listdir(tmp_path) == []
    await provider.delete(run.context(made), made)
    assert run.logs == [f"{tmp_path}/a was gone already"]


async def test_delete_leaves_what_is_no_file(run: OneRun, tmp_path: Path) -> None:
    """A folder that stands where the file was is somebody else's; a link is removed and not followed."""
    made = await created(run, tmp_path / "a")
    (tmp_path / "a").unlink()
    (tmp_path / "a").mkdir()
    await provider.delete(run.context(made), made)
    assert (tmp_path / "a").is_dir()
    (tmp_path / "a").rmdir()
    (tmp_path / "other").write_text("theirs")
    (tmp_path / "a").symlink_to("other")
    await provider.delete(run.context(made), made)
    assert os.listdir(tmp_path) == ["other"]


async def test_delete_below_a_file(run: OneRun, tmp_path: Path) -> None:
    """Where the folder was replaced by a file, the file is gone: looked at, that is an error, deleted, a success."""
    made = await created(run, tmp_path / "sub" / "a")
    (tmp_path / "sub" / "a").unlink()
    (tmp_path / "sub").rmdir()
    (tmp_path / "sub").write_text("theirs")
    with pytest.raises(ProviderError, match="Not a directory"):
        await provider.read(run.context(made), made)
    await provider.delete(run.context(made), made)
    assert (tmp_path / "sub").read_text() == "theirs"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
async def test_folders_go_with_the_last_file(run: OneRun, tmp_path: Path, order: tuple[int, ...]) -> None:
    """Folders that were made for files go again, in a later run and in whatever order the files do."""
    paths = ["x/y/1", "x/y/2", "x/z/3"]
    files = [await created(run, tmp_path / path, id=f"f{n}") for n, path in enumerate(paths)]
    later = run.next()
    for n in order:
        assert (tmp_path / "x").exists()
        await provider.delete(later.context(files[n]), files[n])
    assert os.listdir(tmp_path) == []


async def test_others_folders_stay(run: OneRun, tmp_path: Path) -> None:
    """A folder that was there before stays when it is empty, one with something in it stays too."""
    (tmp_path / "theirs").mkdir()
    one = await created(run, tmp_path / "theirs" / "1", id="one")
    two = await created(run, tmp_path / "ours" / "2", id="two")
    (tmp_path / "ours" / "foreign").write_text("theirs")
    await provider.delete(run.context(one), one)
    await provider.delete(run.context(two), two)
    assert sorted(os.listdir(tmp_path)) == ["ours", "theirs"]
    assert os.listdir(tmp_path / "ours") == ["foreign"]


async def test_folders_removed_by_somebody(run: OneRun, tmp_path: Path) -> None:
    """When the folder has gone with the file, the folders above it that were made go all the same."""
    made = await created(run, tmp_path / "x" / "y" / "a")
    (tmp_path / "x" / "y" / "a").unlink()
    (tmp_path / "x" / "y").rmdir()
    await provider.delete(run.context(made), made)
    assert os.listdir(tmp_path) == []


async def test_concurrent_folders(run: OneRun, tmp_path: Path) -> None:
    """Files made at the same time, in threads, below a folder that is missing all get there."""
    wants = [
        run.make(File, f"f{n}", path=str(tmp_path / "x" / "y" / str(n % 3) / str(n)), content="z" * (INLINE + n))
        for n in range(24)
    ]
    made = await asyncio.gather(*(provider.create(run.context(want), want) for want in wants))
    assert sum(len(files) for _, _, files in os.walk(tmp_path)) == 24
    for file in made:
        await provider.delete(run.context(file), file)
    assert os.listdir(tmp_path) == []


async def test_concurrent_deletes(run: OneRun, tmp_path: Path) -> None:
    """Files deleted at the same time take their folders along, also when the last one did not make them."""
    made = [await created(run, tmp_path / "x" / "y" / str(n), id=f"f{n}") for n in range(50)]
    later = run.next()
    made.append(await created(later, tmp_path / "x" / "y" / "late", id="late"))
    assert not later.data("late")
    await asyncio.gather(*(provider.delete(later.context(file), file) for file in made))
    assert os.listdir(tmp_path) == []
    assert later.logs == []


async def test_one_of_many_cannot_be_deleted(run: OneRun, nobodys: Path) -> None:
    """A file that cannot be deleted is named, and holds up none of the others deleted with it."""
    made = [await created(run, nobodys / f"d{n % 2}" / str(n), id=f"f{n}") for n in range(20)]
    (nobodys / "d1").chmod(0o500)
    ends = await asyncio.gather(*(provider.delete(run.context(file), file) for file in made), return_exceptions=True)
    (nobodys / "d1").chmod(0o700)
    assert [end is None for end in ends] == [True, False] * 10
    assert all(isinstance(end, ProviderError) for end in ends[1::2])
    assert os.listdir(nobodys) == ["d1"]


async def test_a_cancelled_delete(run: OneRun, tmp_path: Path) -> None:
    """A delete that is cancelled ends at once, and keeps no other from being told."""
    one, two = [await created(run, tmp_path / "x" / name, id=name) for name in "ab"]
    async with asyncio.TaskGroup() as group:
        task = group.create_task(provider.delete(run.context(one), one))
        other = group.create_task(provider.delete(run.context(two), two))
        await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()
    assert other.result() is None
    assert not (tmp_path / "x" / "b").exists()
    await provider.delete(run.context(one), one)
    assert os.listdir(tmp_path) == []


async def test_folder_removed_while_creating(run: OneRun, tmp_path: Path) -> None:
    """A create is not tripped by deletes that remove the emptied folder again and again."""
    for n in range(50):
        first = await created(run, tmp_path / "x" / "y" / "1", "a" * (INLINE + 1), id=f"a{n}")
        want = run.make(File, f"b{n}", path=str(tmp_path / "x" / "y" / "2"), content="b" * (INLINE + 1))
        _, second = await asyncio.gather(
            provider.delete(run.context(first), first), provider.create(run.context(want), want)
        )
        assert (tmp_path / "x" / "y" / "2").exists()
        await provider.delete(run.context(second), second)
        assert os.listdir(tmp_path) == []


# What the operating system refuses


@pytest.mark.parametrize("size", [1, INLINE + 1])
async def test_write_permission_denied(run: OneRun, nobodys: Path, size: int) -> None:
    """A folder that may not be written to is named, with what to check; nothing is left."""
    (nobodys / "locked").mkdir()
    (nobodys / "locked").chmod(0o500)
    for path in ("locked/a", "locked/sub/a"):
        want = run.make(File, path=str(nobodys / path), content="x" * size)
        with pytest.raises(ProviderError, match=f"cannot write {nobodys / path}: Permission denied") as raised:
            await provider.create(run.context(want), want)
        assert (raised.value.code, raised.value.retryable) == ("EACCES", False)
        assert raised.value.hint == "check who owns it and the folder it is in, and their permissions"
    assert os.listdir(nobodys / "locked") == []


async def test_other_permissions_denied(run: OneRun, nobodys: Path) -> None:
    """What may not be looked at, read, or deleted is an error, and never taken for gone."""
    folder = nobodys / "locked"
    made = await created(run, folder / "a")
    (folder / "a").chmod(0)
    with pytest.raises(ProviderError, match=f"cannot read {folder}/a: Permission denied"):
        await provider.read(run.context(made), made)
    folder.chmod(0o500)
    with pytest.raises(ProviderError, match=f"cannot delete {folder}/a: Permission denied"):
        await provider.delete(run.context(made), made)
    folder.chmod(0)
    for handler in (provider.find, provider.read):
        with pytest.raises(ProviderError, match=f"cannot look at {folder}/a: Permission denied"):
            await handler(run.context(made), made)
    with pytest.raises(ProviderError, match="Permission denied"):
        await provider.delete(run.context(made), made)
    folder.chmod(0o700)
    assert os.listdir(folder) == ["a"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of somebody else")
async def test_mode_of_anothers_file(run: OneRun, nobodys: Path) -> None:
    """The mode of a file that belongs to another user cannot be set, and the error says so."""
    os.seteuid(0)
    (nobodys / "a").write_text("hello")
    (nobodys / "a").chmod(0o644)
    os.seteuid(65534)
    want = run.make(File, path=str(nobodys / "a"), content="hello", mode=0o600, absolute_path=str(nobodys / "a"))
    with pytest.raises(ProviderError, match=f"cannot set the mode of {nobodys}/a: Operation not permitted"):
        await provider.update(run.context(want), want, want)


async def test_a_file_where_a_folder_should_be(run: OneRun, tmp_path: Path) -> None:
    """A file in the middle of the path is an error that says what to do."""
    (tmp_path / "sub").write_text("a file")
    for path in ("sub/a", "sub/deeper/a"):
        want = run.make(File, path=str(tmp_path / path), content="")
        for handler in (provider.find, provider.create):
            with pytest.raises(ProviderError, match="a part of its path is a file and not a folder"):
                await handler(run.context(want), want)
    assert (tmp_path / "sub").read_text() == "a file"


async def test_a_dangling_link_where_a_folder_should_be(run: OneRun, tmp_path: Path) -> None:
    """A symbolic link to nothing in the middle of the path is an error, and is left."""
    (tmp_path / "sub").symlink_to("nowhere")
    want = run.make(File, path=str(tmp_path / "sub" / "a"), content="")
    with pytest.raises(ProviderError, match=r"cannot write .*: Not a directory"):
        await provider.create(run.context(want), want)
    assert (tmp_path / "sub").is_symlink()


async def test_name_too_long(run: OneRun, tmp_path: Path) -> None:
    """A name longer than the file system takes is an error, and the longest one is not."""
    await created(run, tmp_path / ("n" * 255))
    want = run.make(File, path=str(tmp_path / "new" / ("n" * 256)), content="")
    with pytest.raises(ProviderError, match="use a shorter path"):
        await provider.create(run.context(want), want)
    assert os.listdir(tmp_path) == ["n" * 255]


@pytest.mark.parametrize("size", [20_000, INLINE + 20_000])
async def test_disk_full(run: OneRun, tmp_path: Path, size: int) -> None:
    """A write that is cut short leaves the old contents, and nothing beside them."""
    have = await created(run, tmp_path / "a", "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        want = run.make(File, path=str(tmp_path / "a"), content="x" * size)
        with pytest.raises(ProviderError, match=r"cannot write .*: File too large"):
            await provider.update(run.context(want), want, have)
        want = run.make(File, path=str(tmp_path / "new" / "b"), content="x" * size)
        with pytest.raises(ProviderError, match=r"cannot write .*: File too large"):
            await provider.create(run.context(want), want)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


async def test_what_a_crash_left_is_taken_away(run: OneRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The half-written file of a crash is replaced by the next attempt; a link in its place is not followed."""

    def crash(fd: int, mode: int) -> None:
        raise SystemExit

    kept: list[str] = []
    monkeypatch.setattr(os, "fchmod", crash)
    monkeypatch.setattr(os, "unlink", kept.append)
    want = run.make(File, path=str(tmp_path / "a"), content="hello")
    with pytest.raises(SystemExit):
        await provider.create(run.context(want), want)
    monkeypatch.undo()
    (left,) = tmp_path.iterdir()
    assert kept == [str(left)]
    (tmp_path / "other").write_text("theirs")
    left.unlink()
    left.symlink_to("other")
    await provider.create(run.context(want), want)
    assert sorted(os.listdir(tmp_path)) == ["a", "other"]
    assert (tmp_path / "other").read_text() == "theirs"
