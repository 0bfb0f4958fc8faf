"""State that is moved to a real server and away again: nothing is lost on the way, and no password is told."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.stores.servers.redis import RedisServer

from alchemy import alchemy
from alchemy.config import Settings
from alchemy.ports import StateStore
from alchemy.state import encode
from alchemy.stores import FileStore, RedisStateStore, SQLiteStateStore
from alchemy.testing.cloud import Cloud, use
from alchemy.testing.kinds import Thing
from alchemy.upkeep.copying import copy

pytestmark = pytest.mark.anyio
UNIT = "app/dev"
COUNT = 600
OPTIONS: dict[str, Any] = {"stage": "dev", "password": "pw", "encrypt_state": True}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """Give a server with a password."""
    made = RedisServer(tmp_path, password="open-sesame")
    made.start()
    try:
        yield made
    finally:
        made.kill()


async def deploy(store: StateStore) -> None:
    """Deploy many things."""
    async with alchemy("app", state_store=store, **OPTIONS):
        for number in range(COUNT):
            Thing(f"thing-{number}")


async def test_a_stage_goes_through_three_sorts_of_store(server: RedisServer, tmp_path: Path) -> None:
    """From files to a server to a database; the next deploy from there changes nothing."""
    cloud = use(Cloud())
    await deploy(FileStore(tmp_path / "state"))
    places: list[StateStore] = [
        FileStore(tmp_path / "state"),
        RedisStateStore(server.url),
        SQLiteStateStore(tmp_path / "state.db"),
    ]
    for store in places:
        await store.init()
    for source, target in itertools.pairwise(places):
        (done,) = await copy(source, target, [UNIT], Settings(stage="dev"))
        assert (done.records, done.already) == (COUNT + 1, False)
    found = [{fqn: encode(record) for fqn, record in (await store.all(UNIT)).items()} for store in places]
    assert found[0] == found[1] == found[2]
    assert "open-sesame" not in places[1].url
    for store in places:
        assert list(await store.problems("")) == []
        await store.deinit()
    cloud.calls.clear()
    await deploy(SQLiteStateStore(tmp_path / "state.db"))
    assert cloud.ops() == []
