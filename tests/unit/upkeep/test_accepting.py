"""Taking back edited records, from outside the program: what is compared, and what is refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from alchemy.errors import ConfigurationError, LockedError, StateError
from alchemy.history import encode_backup
from alchemy.state import STAGE_KIND, Record
from alchemy.stores import FileStore, MemoryStore
from alchemy.testing.contract import UNIT, a_resource, a_scope, an_owner
from alchemy.upkeep.accepting import Accepted, Change, accept

pytestmark = pytest.mark.anyio
SECRET = {"@secret": {"v": 2, "c": "sealed"}}
RECORDS = [
    a_scope(UNIT, STAGE_KIND),
    a_resource(f"{UNIT}/api", props={"path": "a", "deep": {"x": 1, "y": 2}, "token": SECRET}),
    a_resource(f"{UNIT}/old"),
]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FileStore]:
    """A store with two folded stages, and a backup of one of them."""
    store = FileStore(tmp_path / ".alchemy")
    await store.init()
    await fill(store, UNIT, RECORDS)
    await fill(store, "notes/dev", [a_scope("notes/dev", STAGE_KIND), a_resource("notes/dev/api")])
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    raw = encode_backup(unit=UNIT, made_at="", operation="deploy", records=RECORDS)
    await store.save_backup(lease, "state-1.json", raw)
    await store.save_backup(lease, "state-2.json", raw[:-50])  # newer, and cut short: it is passed over
    await store.release(lease)
    yield store
    await store.deinit()


async def fill(store: FileStore, unit: str, records: list[Record]) -> None:
    """Write a stage and fold it."""
    lease = await store.acquire(unit, owner=an_owner(), timeout=0)
    await store.set(lease, *records)
    await store.fold(lease)
    await store.release(lease)


def edit(root: Path, name: str, **props: object) -> Path:
    """Edit the inputs in a record's file."""
    path = root / ".alchemy/notes" / name / "state.json"
    body = json.loads(path.read_text())
    body["props"] |= props
    path.write_text(json.dumps(body))
    return path


async def test_what_differs_from_the_newest_backup_is_told(store: FileStore, tmp_path: Path) -> None:
    """Value by value, secrets as a whole, and without what alchemy counts itself."""
    other = {"@secret": {"v": 2, "c": "other"}}
    path = edit(tmp_path, "prod/resources/api", deep={"x": 1, "y": 3}, token=other, more=[1])
    (accepted,) = await accept(store, [path], timeout=0)
    assert accepted == Accepted(
        path,
        f"{UNIT}/api",
        is_gone=False,
        compared_with="the backup state-1.json",
        changes=[
            Change("props.deep.y", 2, 3),
            Change("props.token", SECRET, other),
            Change("props.more", None, [1]),
        ],
    )
    assert (await store.all(UNIT))[f"{UNIT}/api"].props["deep"] == {"x": 1, "y": 3}


async def test_files_of_several_stages(store: FileStore, tmp_path: Path) -> None:
    """Each stage's are taken in a commit of its own; one without a backup has nothing to compare with."""
    paths = [edit(tmp_path, "prod/resources/api", path="b"), edit(tmp_path, "dev/resources/api", path="c")]
    first, second = await accept(store, paths, timeout=0)
    assert [change.key for change in first.changes] == ["props.path"]
    assert (second.fqn, second.compared_with, second.changes) == ("notes/dev/api", None, [])
    assert list(await store.locks()) == []


async def test_a_file_that_is_gone(store: FileStore, tmp_path: Path) -> None:
    """Its record is said to be gone; a dry run leaves the state as refused as it is."""
    path = tmp_path / ".alchemy/notes/prod/resources/old/state.json"
    path.unlink()
    (accepted,) = await accept(store, [path], timeout=0, dry_run=True)
    assert (accepted.fqn, accepted.is_gone) == (f"{UNIT}/old", True)
    with pytest.raises(StateError):
        await store.all(UNIT)
    await accept(store, [path], timeout=0)
    assert set(await store.all(UNIT)) == {UNIT, f"{UNIT}/api"}


async def test_a_record_that_a_run_has_changed_since(store: FileStore, tmp_path: Path) -> None:
    """With force the edit is compared with what it overrides; refused or taken, the stage is given back."""
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.set(lease, a_resource(f"{UNIT}/api", rev=8, props={"path": "newer"}))
    await store.release(lease)
    path = edit(tmp_path, "prod/resources/api", path="edited")
    with pytest.raises(StateError, match="out of date"):
        await accept(store, [path], timeout=0)
    (accepted,) = await accept(store, [path], timeout=0, force=True)
    assert accepted.compared_with == "the log of commits"
    assert Change("props.path", "newer", "edited") in accepted.changes
    assert list(await store.locks()) == []


async def test_what_cannot_be_accepted(store: FileStore, tmp_path: Path) -> None:
    """A store without files, a file of no stage, and a stage that somebody is at work on."""
    path = edit(tmp_path, "prod/resources/api", path="b")
    with pytest.raises(ConfigurationError, match="memory:"):
        await accept(MemoryStore(), [path], timeout=0)
    for elsewhere in (tmp_path / "readme.txt", tmp_path / ".alchemy/notes/state.json"):
        with pytest.raises(StateError, match="not a file of a stage"):
            await accept(store, [elsewhere], timeout=0)
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    with pytest.raises(LockedError):
        await accept(store, [path], timeout=0)
    await store.release(lease)


async def test_a_broken_lease_accepts_nothing(store: FileStore, tmp_path: Path) -> None:
    """Who has lost the stage, or never held it, takes nothing back."""
    path = edit(tmp_path, "prod/resources/api", path="b")
    before = path.read_bytes()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.break_(UNIT)
    with pytest.raises(StateError):
        await store.accept(lease, [path])
    await store.release(lease)
    with pytest.raises(StateError):
        await store.accept(lease, [path])
    assert path.read_bytes() == before
