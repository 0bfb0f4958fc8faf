"""What the `.alchemy` folder looks like, and how it says that somebody has been at it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import stat
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alchemy.errors import LeaseLost, StateDamaged, StateError, StateTooNew
from alchemy.ports import Lease, LogEnd
from alchemy.state import STAGE_KIND, VERSION, Application, seal, unseal
from alchemy.stores import FileStore
from alchemy.stores._disk import Disk
from alchemy.testing.contract import UNIT, a_resource, a_scope, an_owner

pytestmark = pytest.mark.anyio
Hold = Callable[..., Any]


@pytest.fixture
def folded(hold: Hold, tmp_path: Path) -> Path:
    """The folder of a unit that was folded: a scope, a composite with a child, and a dependence."""
    holder = hold()
    holder.write(
        a_scope(UNIT, STAGE_KIND),
        a_scope(f"{UNIT}/database"),
        a_resource(f"{UNIT}/database/main-db"),
        a_resource(f"{UNIT}/api", deps=[f"{UNIT}/database/main-db"]),
        a_resource(f"{UNIT}/site"),
        a_resource(f"{UNIT}/site/page"),
        a_scope(f"{UNIT}/site/resources"),
        a_resource(f"{UNIT}/site/resources/logo"),
    )
    holder.unit.fold()
    holder.unit.close()
    holder.lock.release()
    return tmp_path / ".alchemy/notes/prod"


def files_in(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Give every file with its inode and content."""
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rewrite(path: Path, **changes: Any) -> None:
    """Change keys of a sealed file as a version of this package would, with the right checksum."""
    path.write_bytes(seal({**unseal(path.read_bytes(), where=str(path)), **changes}))


async def test_the_layout(folded: Path) -> None:
    """Records lie where DESIGN.md says, and nothing else is left after a clean end."""
    assert set(files_in(folded)) == {
        "state.json",
        "database/state.json",
        "database/resources/main-db/state.json",
        "resources/api/state.json",
        "resources/site/state.json",
        "resources/site/resources/page/state.json",
        "resources/site/%72esources/state.json",
        "resources/site/%72esources/resources/logo/state.json",
    }
    root = folded.parents[1]
    assert {entry.name for entry in root.iterdir()} == {".gitignore", "locks", "notes"}
    assert (root / ".gitignore").read_text() == "*\n"
    assert (root / "locks/notes/prod.lock").exists()


async def test_a_units_file_holds_its_record_and_the_manifest(folded: Path) -> None:
    """Beside the record's keys stand who may read and write the unit, and what the other files add up to."""
    body = json.loads((folded / "state.json").read_text())
    assert body["fqn"] == UNIT
    assert (body["min_reader"], body["min_writer"]) == (VERSION, VERSION)
    assert body["manifest"]["count"] == 7
    assert len(body["manifest"]["hash"]) == 32


async def test_a_record_that_is_not_folded_yet_is_only_in_the_journal(hold: Hold, tmp_path: Path) -> None:
    """Before the fold there are no record files; a second holder's journal has a name of its own."""
    for rev in (1, 2):
        holder = hold()
        holder.write(a_resource(f"{UNIT}/a", rev=rev))
        holder.leave()
    names = {path.name for path in (tmp_path / ".alchemy/notes/prod").iterdir()}
    assert names == {"journal-1.ndjson", "journal-2.ndjson"}


async def test_only_the_owner_may_look(folded: Path) -> None:
    """Files have mode 0600 and folders 0700, also under a lax umask."""
    root = folded.parents[1]
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in [root, *root.rglob("*")]}
    assert modes == {(True, 0o700), (False, 0o600)}


async def test_only_what_changed_is_written(folded: Path, hold: Hold) -> None:
    """A fold writes the changed record's file and the unit's own, and touches no other."""
    before = files_in(folded)
    holder = hold()
    holder.write(a_resource(f"{UNIT}/api", rev=2), a_resource(f"{UNIT}/site"))
    holder.unit.fold()
    after = files_in(folded)
    assert {name for name in after if after[name] != before.get(name)} == {"state.json", "resources/api/state.json"}
    assert after.keys() == before.keys()


async def test_without_a_commit_nothing_is_touched(folded: Path) -> None:
    """A run that loads, folds and releases without a write leaves every file as it was, inode and all."""
    before = files_in(folded)
    store = FileStore(folded.parents[1])
    await store.init()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.load(UNIT, lease=lease)
    await store.fold(lease)
    await store.release(lease)
    await store.deinit()
    assert files_in(folded) == before


async def test_reading_makes_no_file(tmp_path: Path) -> None:
    """Looking at a place that is not there leaves it so."""
    store = FileStore(tmp_path / "none")
    assert (await store.load(UNIT)).records == {}
    assert await store.list_scopes("") == []
    assert await store.locks() == []
    await store.deinit()
    assert list(tmp_path.iterdir()) == []


async def test_folders_of_dropped_records_go(folded: Path, hold: Hold) -> None:
    """Dropping the last record of a folder removes the folder, and those above it that are empty then."""
    holder = hold()
    holder.drop(f"{UNIT}/site/resources/logo", f"{UNIT}/site/resources", f"{UNIT}/site/page")
    holder.unit.fold()
    assert [path.name for path in (folded / "resources/site").iterdir()] == ["state.json"]


async def test_an_empty_unit_leaves_its_logs_and_backups(folded: Path, hold: Hold) -> None:
    """The folder of a destroyed unit goes, but for `logs/` and `backups/`; without those it goes whole."""
    holder = hold()
    holder.folder.logs(UNIT).append("a.ndjson", b"{}\n")
    (folded / "backups").mkdir()
    (folded / "backups/state.json").write_text("{}")
    holder.drop(*holder.revs())
    holder.unit.fold()
    assert set(files_in(folded)) == {"logs/a.ndjson", "backups/state.json"}
    assert holder.revs() == {}
    shutil.rmtree(folded)
    holder.write(a_resource(f"{UNIT}/a"))
    (folded / "journal.torn-1-1").write_bytes(b"{")
    holder.unit.fold()
    holder.drop(f"{UNIT}/a")
    holder.unit.fold()
    assert not folded.exists()
    assert folded.parent.exists()


# -- somebody has been at it -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resources/api/state.json", "resources/api/state.json is missing"),
        ("database/resources/main-db/state.json", "database/resources/main-db/state.json is missing"),
        ("state.json", "prod/state.json is missing"),
    ],
)
async def test_a_lost_file_is_named(folded: Path, hold: Hold, name: str, said: str) -> None:
    """A record file that is gone is an error naming it, for readers and for the holder."""
    (folded / name).unlink()
    holder = hold()
    for attempt in (holder.revs, holder.unit.load, lambda: holder.write(a_resource(f"{UNIT}/x"))):
        with pytest.raises(StateDamaged, match=said) as damaged:
            attempt()
        assert damaged.value.hint
    assert not list(folded.glob("journal*"))


async def test_a_lost_folder_is_noticed(folded: Path, hold: Hold) -> None:
    """A record whose whole folder is gone is noticed, and named when others depend on it."""
    shutil.rmtree(folded / "database/resources/main-db")
    with pytest.raises(StateDamaged, match=r"7 records were written and 6 are there.*main-db") as damaged:
        hold().revs()
    assert damaged.value.hint


async def test_an_older_version_of_a_file_is_noticed(folded: Path, hold: Hold) -> None:
    """Putting back an old copy of one record does not go through."""
    old = (folded / "resources/api/state.json").read_bytes()
    holder = hold()
    holder.write(a_resource(f"{UNIT}/api", rev=2))
    holder.unit.fold()
    (folded / "resources/api/state.json").write_bytes(old)
    with pytest.raises(StateDamaged, match="another version"):
        holder.revs()


async def test_a_copied_record_is_named(folded: Path, hold: Hold) -> None:
    """A copied, renamed or misplaced folder is an error naming the file and what it holds."""
    shutil.copytree(folded / "resources/api", folded / "resources/api2")
    with pytest.raises(StateDamaged, match=r"api2/state\.json holds the record of notes/prod/api") as damaged:
        hold().revs()
    assert "api2" in str(damaged.value.path)
    shutil.move(folded / "resources/api2", folded / "database/resources/api")
    with pytest.raises(StateDamaged, match=r"database/resources/api/state\.json holds the record"):
        hold(folded.parents[1].with_name("other")).folder.__class__(str(folded.parents[1]), Disk()).read(UNIT)


async def test_a_record_added_by_hand_is_noticed(folded: Path, hold: Hold) -> None:
    """A well-formed record that no commit wrote is not taken in."""
    path = folded / "resources/new/state.json"
    path.parent.mkdir()
    body = unseal((folded / "resources/api/state.json").read_bytes(), where="")
    path.write_bytes(seal({**body, "id": "new", "fqn": f"{UNIT}/new"}))
    with pytest.raises(StateDamaged, match="7 records were written and 8 are there"):
        hold().revs()


@pytest.mark.parametrize("name", ["state.json", "resources/api/state.json"])
async def test_a_hand_edited_record_is_refused(folded: Path, hold: Hold, name: str) -> None:
    """An edited file is an error naming it and the remedy, and it is not overwritten."""
    path = folded / name
    edited = path.read_bytes().replace(b"created", b"updated", 1)
    path.write_bytes(edited)
    with pytest.raises(StateDamaged, match=r"was changed since alchemy wrote it") as damaged:
        FileStore(folded.parents[1])._folder.read(UNIT)
    assert damaged.value.path == str(path)
    assert damaged.value.hint
    if name != "state.json":
        holder = hold()
        with pytest.raises(StateDamaged):
            holder.write(a_resource(f"{UNIT}/api", rev=5))
        with pytest.raises(StateDamaged):
            holder.unit.load()
    assert path.read_bytes() == edited


@pytest.mark.parametrize("key", ["min_reader", "min_writer"])
async def test_a_unit_for_newer_versions_is_refused(folded: Path, key: str) -> None:
    """`min_reader` keeps older versions from reading, `min_writer` from taking the lease."""
    rewrite(folded / "state.json", **{key: VERSION + 1})
    store = FileStore(folded.parents[1])
    with pytest.raises(StateTooNew, match="upgrade"):
        await store.acquire(UNIT, owner=an_owner(), timeout=0)
    if key == "min_reader":
        with pytest.raises(StateTooNew, match="upgrade"):
            await store.load(UNIT)
    else:
        assert len((await store.load(UNIT)).records) == 8
    assert await store.locks() == []
    await store.deinit()


async def test_a_newer_record_is_refused(folded: Path, hold: Hold) -> None:
    """A record in a newer form is an error naming its file."""
    path = folded / "resources/api/state.json"
    rewrite(path, version=VERSION + 1)
    with pytest.raises(StateTooNew, match=r"api/state\.json"):
        hold().revs()


async def test_a_damaged_application_record_is_refused(tmp_path: Path) -> None:
    """The application's record is checked like the others, and never written over."""
    store = FileStore(tmp_path)
    await store.init()
    standing = await store.create_application(Application(app="notes", lineage="00" * 16, created_at=""))
    path = tmp_path / "notes/state.json"
    rewrite(path, min_reader=VERSION + 1)
    with pytest.raises(StateTooNew):
        await store.application("notes")
    path.write_bytes(b"{}")
    for attempt in (store.application("notes"), store.create_application(standing)):
        with pytest.raises(StateDamaged, match=r"notes/state\.json"):
            await attempt
    path.write_bytes(seal({"app": 5}))
    with pytest.raises(StateDamaged, match="not an application's record"):
        await store.application("notes")
    await store.deinit()


# -- the object ------------------------------------------------------------------------------------------------------


async def test_a_place_that_cannot_be_used(tmp_path: Path) -> None:
    """A file where the folder should be is an error naming it."""
    (tmp_path / "file").write_text("x")
    store = FileStore(tmp_path / "file/.alchemy")
    with pytest.raises(StateError, match="file"):
        await store.init()
    with pytest.raises(StateError, match="file"):
        await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.deinit()


async def test_a_store_belongs_to_one_loop(tmp_path: Path) -> None:
    """Using it from another event loop is a clear error, until it was let go of."""
    store = FileStore(tmp_path)
    await store.init()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)

    def elsewhere() -> None:
        with pytest.raises(StateError, match="another event loop"):
            asyncio.run(store.load(UNIT))

        async def write() -> None:
            await store.set(lease, a_resource(f"{UNIT}/a"))

        with pytest.raises(StateError, match="another event loop"):
            asyncio.run(write())

    await asyncio.to_thread(elsewhere)
    await store.deinit()
    loaded: list[int] = []

    async def load() -> None:
        loaded.append(len((await store.load(UNIT)).records))
        await store.deinit()

    await asyncio.to_thread(lambda: asyncio.run(load()))
    assert loaded == [0]


async def test_nothing_is_left_running(tmp_path: Path) -> None:
    """After `deinit` no lease is held and no file is open, and no warning is given for what nobody awaited."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = FileStore(tmp_path)
        await store.init()
        lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
        store.set(lease, a_resource(f"{UNIT}/a"))
        await store.deinit()
        other = FileStore(tmp_path)
        assert await other.locks() == []
        assert await other.list(UNIT) == ["a"]
        await other.deinit()
        assert open_below(tmp_path) == []


async def test_deinit_gives_back_all_that_is_held(tmp_path: Path) -> None:
    """A failed write in one unit is told, and does not keep the store from giving back the others."""
    store, other = FileStore(tmp_path), FileStore(tmp_path)
    await store.init()
    lost = await store.acquire("a/lost", owner=an_owner(), timeout=0)
    await store.acquire("a/kept", owner=an_owner(), timeout=0)
    await other.break_("a/lost")
    store.set(lost, a_resource("a/lost/x"))
    with pytest.raises(LeaseLost):
        await store.deinit()
    assert await other.locks() == []
    await store.deinit()
    await other.deinit()


def open_below(folder: Path) -> list[str]:
    """List the files below a folder that this process has open, where the system tells."""
    found: list[str] = []
    for fd in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(OSError):  # another thread's, closed meanwhile
            found.append(os.readlink(fd))
    return [path for path in found if path.startswith(f"{folder}/")]


async def test_a_commit_is_one_group_however_many_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of writes in one step of the loop become few frames, told in as few wake-ups."""
    monkeypatch.setattr("alchemy.stores._commits.PATIENCE", 60.0)
    store = FileStore(tmp_path)
    await store.init()
    lease: Lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    acks = [store.set(lease, a_resource(f"{UNIT}/r{n}")) for n in range(2000)]
    for ack in acks:
        await ack
    lines = (tmp_path / "notes/prod/journal-1.ndjson").read_bytes().count(b"\n")
    assert lines < 400
    assert await store.count(UNIT) == 2000
    await store.deinit()


async def test_what_nobody_waits_for_goes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that nobody awaits is in the commit of the next one that somebody does; all of a turn share one."""
    monkeypatch.setattr("alchemy.stores._commits.PATIENCE", 60.0)
    store = FileStore(tmp_path)
    await store.init()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.set(lease, a_resource(f"{UNIT}/first"))
    journal = tmp_path / "notes/prod/journal-1.ndjson"
    before = journal.read_bytes().count(b"\n")
    store.set(lease, a_resource(f"{UNIT}/a"))
    async with asyncio.TaskGroup() as group:
        for name in "bcd":
            group.create_task(_written(store, lease, f"{UNIT}/{name}"))
    assert journal.read_bytes().count(b"\n") == before + 2  # a frame has two lines
    assert await store.count(UNIT) == 5
    await store.deinit()


async def test_what_nobody_waits_for_is_written_soon(tmp_path: Path) -> None:
    """A write that nobody ever awaits is written all the same, while the program does something else."""
    store, other = FileStore(tmp_path), FileStore(tmp_path)
    await store.init()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    store.set(lease, a_resource(f"{UNIT}/a"))
    async with asyncio.timeout(30):
        while not await other.count(UNIT):
            await asyncio.sleep(0.005)
    await store.deinit()
    await other.deinit()


async def _written(store: FileStore, lease: Lease, fqn: str) -> None:
    await store.set(lease, a_resource(fqn))


async def test_cancelled_while_the_log_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that is cancelled while it writes the log's end gives the unit back all the same."""
    store, other = FileStore(tmp_path), FileStore(tmp_path)
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    begun = asyncio.Event()

    async def stand(*_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(store, "append_log", stand)
    releasing = asyncio.ensure_future(store.release(lease, log=LogEnd(name="run.ndjson", lines=b"{}\n")))
    await begun.wait()
    releasing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await releasing
    await other.release(await other.acquire(UNIT, owner=an_owner(), timeout=0))
    for each in (store, other):
        await each.deinit()
