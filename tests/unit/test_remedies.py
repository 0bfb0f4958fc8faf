"""Damaged and missing state: the errors and warnings name the command that brings it back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine import world
from tests.unit.engine.world import deploy, things

from alchemy import config
from alchemy.config import Launch
from alchemy.errors import StateDamaged
from alchemy.events import Event, Notice
from alchemy.opening import destroy_unit
from alchemy.remedies import with_remedy
from alchemy.stores import FileStore, MemoryStore
from alchemy.upkeep.stores import Stores

pytestmark = pytest.mark.anyio
UNIT = "app/dev"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A stage that was deployed twice, so that it has a backup."""
    world.reset()
    return tmp_path / ".alchemy"


async def deployed(folder: Path, *sizes: int) -> str:
    """Deploy with these sizes, one after the other; give the newest backup's name, or nothing."""
    for size in sizes:
        await deploy(things(a=size, b=1), FileStore(folder))
    return next(iter(sorted((path.name for path in folder.glob("app/dev/backups/*")), reverse=True)), "")


async def test_damage_is_told_with_the_newest_backup(folder: Path) -> None:
    """By a run and by who only looks: one that can be pasted, with where the state is when it has to be said."""
    newest = await deployed(folder, 1, 2, 3)
    shutil.rmtree(folder / "app/dev/resources/a")
    with pytest.raises(StateDamaged) as refused:
        await deployed(folder, 4)
    assert refused.value.hint is not None
    command = f"the newest of 2 backups: alchemy scope restore {UNIT} --backup {newest}"
    assert f"{command} --state-store {FileStore(folder).url}" in refused.value.hint
    store = FileStore(folder)
    await store.init()
    with pytest.raises(StateDamaged) as refused:
        await Stores(store).contents(UNIT)
    assert refused.value.hint is not None
    assert refused.value.hint.endswith(command)
    await store.deinit()


async def test_without_a_backup_it_can_be_read_back(folder: Path) -> None:
    """There is another command for that."""
    await deployed(folder, 1)
    shutil.rmtree(folder / "app/dev/resources/a")
    with pytest.raises(StateDamaged, match="put back what was removed") as refused:
        await deployed(folder, 2)
    assert refused.value.hint is not None
    assert f"there is no backup, but what the program declares can be read back: alchemy scope rebuild {UNIT}" in (
        refused.value.hint
    )


async def test_backups_that_cannot_be_listed_are_none() -> None:
    """The damage is what is told, not what comes of looking for a remedy."""

    class Broken(MemoryStore):
        async def backups(self, unit: str) -> Any:
            raise StateDamaged("gone too", path=unit)

    told = await with_remedy(StateDamaged("it is damaged", path="x"), Broken(), UNIT)
    assert (told.message, str(told.path)) == ("it is damaged", "x")
    assert told.hint is not None
    assert told.hint.startswith("there is no backup")


async def warnings(folder: Path, size: int) -> list[str]:
    """Deploy, and give what was warned of."""
    heard: list[Event] = []
    before = config.launch.set(Launch(operation="deploy", listeners=(heard.append,)))
    try:
        await deployed(folder, size)
    finally:
        config.launch.reset(before)
    return [event.message for event in heard if isinstance(event, Notice) and event.level == "warning"]


async def test_records_that_were_removed_by_hand(folder: Path) -> None:
    """A deploy that begins anew where there are backups says so; not after a destroy, and not the first time."""
    assert await warnings(folder, 1) == []
    newest = await deployed(folder, 2)
    shutil.rmtree(folder / "app/dev/resources")
    (folder / "app/dev/state.json").unlink()
    (told,) = await warnings(folder, 2)
    assert "app/dev has no records, though it has backups" in told
    assert f"alchemy scope restore {UNIT} --backup {newest}" in told
    await destroy_unit(UNIT, state_store=FileStore(folder))
    assert await warnings(folder, 1) == []
