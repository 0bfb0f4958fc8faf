"""Places as a released version left them, files and all: today's version reads them, and goes on from there."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from alchemy.history import decode_backup
from alchemy.owner import owner_of
from alchemy.ports import StateStore
from alchemy.state import VERSION
from alchemy.stores import FileStore, SQLiteStateStore
from alchemy.testing.contract import UNIT
from alchemy.testing.contract.golden import check_golden

pytestmark = pytest.mark.anyio
GOLDEN = Path(__file__).parents[1] / "golden"
VERSIONS = range(1, VERSION + 1)


def folder(version: int, tmp_path: Path) -> StateStore:
    """Open a copy of a folder; its last commit is in the log only, as after a crash."""
    shutil.copytree(GOLDEN / f"file-v{version}", tmp_path / "state")
    return FileStore(tmp_path / "state")


def database(version: int, tmp_path: Path) -> StateStore:
    """Open a database made from what SQLite's own dump wrote."""
    made = sqlite3.connect(tmp_path / "state.db")
    made.executescript((GOLDEN / f"sqlite-v{version}.sql").read_text("utf-8"))
    made.close()
    return SQLiteStateStore(tmp_path / "state.db")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("place", [folder, database])
async def test_a_place_of_a_released_version_is_read_and_written(
    version: int, place: Callable[[int, Path], StateStore], tmp_path: Path
) -> None:
    """Records, application, backup and log; and the next commit, fold and load leave the rest as it was."""
    store = place(version, tmp_path)
    await store.init()
    check_golden(dict((await store.load(UNIT)).records))
    application = await store.application("notes")
    assert application is not None
    assert application.lineage == "00112233445566778899aabbccddeeff"
    (name,) = await store.backups(UNIT)
    assert sorted(decode_backup(await store.read_backup(UNIT, name), where=name).records) == [UNIT, f"{UNIT}/docs"]
    assert len(await store.logs(UNIT)) == 1
    assert list(await store.problems("")) == []
    lease = await store.acquire(UNIT, owner=owner_of("test"), timeout=0)
    records = dict((await store.load(UNIT, lease=lease)).records)
    await store.set(lease, records[f"{UNIT}/old"])
    await store.fold(lease)
    await store.release(lease)
    check_golden(dict((await store.load(UNIT)).records))
    await store.deinit()
