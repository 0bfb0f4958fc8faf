"""A nested scope that is given another store: nothing it has may be forgotten on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine.world import Cloud, Program, Store, Thing, alchemy, deploy

from alchemy.errors import AlchemyError, DeclarationError, StateError
from alchemy.events import Notice
from alchemy.opening import destroy_unit

pytestmark = pytest.mark.anyio


def program(place: str | None, *, full: bool = True) -> Program:
    """Give a program whose scope keeps its state in a place of its own, if it has one."""

    async def body(_app: Any) -> None:
        async with alchemy.run("eu", state_store=place):
            if full:
                await Thing("a")

    return body


@pytest.mark.parametrize(("first", "then"), [("one", "two"), ("one", None), (None, "two")])
async def test_another_store_is_refused_while_the_scope_has_records(
    cloud: Cloud, store: Store, tmp_path: Path, first: str | None, then: str | None
) -> None:
    """Else the next run would not see them. Once the scope is empty it may move, also back into its parent's store."""
    places = {name: str(tmp_path / name) for name in ("one", "two")}
    before, after = places.get(first or ""), places.get(then or "")
    await deploy(program(before), store)
    calls = cloud.changes()
    for _ in range(2):
        with pytest.raises(DeclarationError, match=r"app/dev/eu has 1 record in .*, and the program wants"):
            await deploy(program(after), store)
    await deploy(program(before), store)
    assert cloud.changes() == calls
    await deploy(program(before, full=False), store)
    assert cloud.objects == {}
    await deploy(program(after), store)
    calls = cloud.changes()
    await deploy(program(after), store)
    assert cloud.changes() == calls
    await deploy(program(after, full=False), store)
    assert cloud.objects == {}


async def test_the_same_store_may_be_said_in_other_words(cloud: Cloud, store: Store, tmp_path: Path) -> None:
    """A path and its URL are one store."""
    await deploy(program(str(tmp_path / "one")), store)
    calls = cloud.changes()
    await deploy(program((tmp_path / "one").as_uri()), store)
    assert cloud.changes() == calls


async def test_a_store_that_nobody_knows_is_not_recorded(cloud: Cloud, store: Store, tmp_path: Path) -> None:
    """A mistyped URL is an error, and the corrected program finds everything where it was."""
    place = str(tmp_path / "one")
    await deploy(program(place), store)
    calls = cloud.changes()
    with pytest.raises(AlchemyError, match="names another machine"):
        await deploy(program("file://elsewhere/state"), store)
    await deploy(program(place), store)
    assert cloud.changes() == calls


async def test_an_application_record_made_anew_is_told(cloud: Cloud, store: Store) -> None:
    """Names are computed from what is in it: without it, what has no record is not found again."""

    def told() -> list[str]:
        return [event.message for event in cloud.events if isinstance(event, Notice)]

    await deploy(program(None), store)
    assert told() == []
    store.memory.applications.clear()
    await deploy(program(None), store)
    assert [message.partition(" though")[0] for message in told()] == ["the record of the application app was missing"]


async def test_nothing_is_destroyed_while_a_scopes_store_is_gone(cloud: Cloud, store: Store, tmp_path: Path) -> None:
    """The error names the scope, the place and the remedy; with the store back, or an empty one, everything goes."""
    place = tmp_path / "one"
    await deploy(program(str(place)), store)
    place.rename(tmp_path / "elsewhere")
    with pytest.raises(StateError, match=r"app/dev/eu keeps its state in file://.*/one, and that is not there"):
        await destroy_unit("app/dev", state_store=store)
    assert len(cloud.objects) == 1
    assert not place.exists()
    (tmp_path / "elsewhere").rename(place)
    await destroy_unit("app/dev", state_store=store)
    assert cloud.objects == {}
