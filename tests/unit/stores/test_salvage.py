"""Damaged units are put in order: what can be read stays, the rest is put aside, and a crash loses nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from alchemy.errors import LeaseLost, StateDamaged, StateTooNew
from alchemy.history import encode_backup
from alchemy.owner import owner_of
from alchemy.ports import Lease
from alchemy.state import Record, Status
from alchemy.stores import FileStore
from alchemy.stores._disk import Disk

pytestmark = pytest.mark.anyio
UNIT = "app/dev"
IDS = ("a", "b", "c")


def record(id: str, **rest: object) -> Record:
    """Make a resource's record; without an id the unit's own."""
    if not id:
        return Record(kind="alchemy::Stage", id="dev", fqn=UNIT, status=Status.CREATED)
    return Record(kind="t::Thing", id=id, fqn=f"{UNIT}/{id}", status=Status.CREATED, props={**rest})


async def take(store: FileStore) -> Lease:
    """Take the unit."""
    await store.init()
    return await store.acquire(UNIT, owner=owner_of("test"), timeout=0)


@pytest.fixture
async def root(tmp_path: Path) -> Path:
    """A folder with a unit of three resources as files, and a change of one in a journal after that."""
    store = FileStore(tmp_path / "state")
    lease = await take(store)
    await store.set(lease, record(""), *map(record, IDS))
    await store.fold(lease)
    await store.release(lease)
    lease = await take(store)
    await store.load(UNIT, lease=lease)
    await store.set(lease, record("c", size=2))
    await store.set(lease, record("d"))
    backup = encode_backup(unit=UNIT, made_at="2026-01-01", operation="test", records=[])
    await store.save_backup(lease, "state-2026-01-01T00-00-00-000Z.json", backup)
    await store.append_log(UNIT, "a.ndjson", b"{}\n")
    await store.release(lease)
    await store.deinit()
    return tmp_path / "state"


def folder_of(root: Path) -> Path:
    """Give the unit's folder."""
    return root / "app/dev"


def journal_of(root: Path) -> Path:
    """Give the only journal."""
    (found,) = folder_of(root).glob("journal-*.ndjson")
    return found


async def salvaged(root: Path, disk: Disk | None = None) -> tuple[dict[str, Record], str | None]:
    """Put it in order, and load it; gives the records by id, and where the rest is."""
    store = FileStore(root, disk=disk)
    try:
        lease = await take(store)
        with pytest.raises(StateDamaged):
            await store.load(UNIT, lease=lease)
        aside = await store.salvage(lease)
        loaded = await store.load(UNIT, lease=lease)
        assert await store.salvage(lease) is None
        assert await store.problems(UNIT) == []
        await store.set(lease, record("new"))
        await store.fold(lease)
        await store.release(lease)
        again = await store.load(UNIT)
        assert again.records.keys() == {*loaded.records, f"{UNIT}/new"}
        assert list(await store.list_scopes("")) == ["app"]
    finally:
        await store.deinit()
    return {found.id: found for found in loaded.records.values() if found.fqn != UNIT}, aside


def damage_record(root: Path) -> None:
    """Cut a record file."""
    (folder_of(root) / "resources/a/state.json").write_text("{")


def damage_head(root: Path) -> None:
    """Cut the unit's own file."""
    (folder_of(root) / "state.json").write_text("{")


def lose_record(root: Path) -> None:
    """Remove a record file."""
    shutil.rmtree(folder_of(root) / "resources/a")


def damage_journal(root: Path) -> None:
    """Change a byte in a journal's first frame."""
    raw = bytearray(journal_of(root).read_bytes())
    raw[raw.index(b'"size"') + 1] ^= 1
    journal_of(root).write_bytes(raw)


DAMAGES = {
    "record": (damage_record, {"b", "c", "d"}),
    "lost": (lose_record, {"b", "c", "d"}),
    "head": (damage_head, {"a", "b", "c", "d"}),
    "journal": (damage_journal, {"a", "b", "c"}),
}


@pytest.mark.parametrize("name", DAMAGES)
async def test_what_can_be_read_stays(root: Path, name: str) -> None:
    """Every record but those that are damaged is there, to be verified; all that was there can be looked at."""
    damage, left = DAMAGES[name]
    damage(root)
    before = {path.relative_to(folder_of(root)) for path in folder_of(root).rglob("*") if path.is_file()}
    records, aside = await salvaged(root)
    assert records.keys() == left
    assert all(found.verify for found in records.values())
    assert aside is not None
    kept = {path.relative_to(aside) for path in Path(aside).rglob("*") if path.is_file()}
    assert kept == {path for path in before if path.parts[0] not in ("logs", "backups")}
    assert (folder_of(root) / "logs/a.ndjson").exists()
    assert len(list((folder_of(root) / "backups").iterdir())) == 1


async def test_what_is_whole_is_left_alone(root: Path) -> None:
    """Nothing is done, and nothing is put aside."""
    store = FileStore(root)
    lease = await take(store)
    before = await store.load(UNIT, lease=lease)
    assert await store.salvage(lease) is None
    assert (await store.load(UNIT, lease=lease)).records == before.records
    assert not (root / ".aside").exists()
    await store.deinit()


async def test_what_a_newer_version_wrote_is_left_alone(root: Path) -> None:
    """It is not damaged: this version just cannot read it."""
    from alchemy.state import seal, unseal

    path = folder_of(root) / "resources/a/state.json"
    path.write_bytes(seal({**unseal(path.read_bytes(), where="a"), "version": 99}))
    store = FileStore(root)
    lease = await take(store)
    with pytest.raises(StateTooNew):
        await store.salvage(lease)
    assert path.exists()
    await store.deinit()


async def test_only_the_holder_may(root: Path) -> None:
    """A lease that was given back, or taken away, is refused."""
    damage_record(root)
    store = FileStore(root)
    lease = await take(store)
    await store.release(lease)
    with pytest.raises(LeaseLost):
        await store.salvage(lease)
    lease = await take(store)
    await store.break_(UNIT)
    with pytest.raises(LeaseLost):
        await store.salvage(lease)
    assert (folder_of(root) / "resources/a").exists()
    await store.deinit()


class Dying(Disk):
    """A disk on which the process dies before one of its changes."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def replace(self, source: str, target: str) -> None:
        self._count()
        super().replace(source, target)

    def sync_folder(self, path: str) -> None:
        self._count()
        super().sync_folder(path)


@pytest.mark.parametrize("name", DAMAGES)
async def test_a_crash_at_any_step_loses_nothing(root: Path, tmp_path: Path, name: str) -> None:
    """Afterwards it is damaged as before and can be put in order again, or it is in order; with the same records."""
    from alchemy.stores._salvage import salvage

    damage, left = DAMAGES[name]
    damage(root)
    done = False
    step = 0
    while not done:
        step += 1
        copy = tmp_path / f"copy-{step}"
        shutil.copytree(root, copy)
        try:
            salvage(Dying(step), str(folder_of(copy)), UNIT, aside=str(copy / ".aside/x"), token=9)
            done = True
        except KeyboardInterrupt:
            pass
        store = FileStore(copy)
        lease = await take(store)
        try:
            records = (await store.load(UNIT, lease=lease)).records
        except StateDamaged:
            await store.salvage(lease)
            records = (await store.load(UNIT, lease=lease)).records
        assert {found.id for found in records.values() if found.fqn != UNIT} == left, step
        await store.deinit()
    assert step > 5


async def test_a_disk_that_refuses_is_told(root: Path) -> None:
    """What cannot be moved is named, and nothing more is written by this run."""
    from alchemy.errors import StateError

    class Full(Disk):
        def replace(self, source: str, target: str) -> None:
            raise OSError(28, os.strerror(28), source)

    damage_record(root)
    store = FileStore(root, disk=Full())
    lease = await take(store)
    with pytest.raises(StateError, match="put aside what is in"):
        await store.salvage(lease)
    store.abandon(kept=True)
