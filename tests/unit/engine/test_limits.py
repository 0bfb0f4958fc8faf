"""Options for destroying, of a scope and of a resource, also when the program is not there to say them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.engine.world import Cloud, Options, Store, Thing, alchemy, busy, deploy, nothing

from alchemy import config
from alchemy.opening import destroy_unit
from alchemy.upkeep.cleanup import clean_up

pytestmark = pytest.mark.anyio
UNIT = "app/dev"


async def test_a_scopes_retries_hold_for_what_is_in_it(cloud: Cloud, store: Store) -> None:
    """The nearest scope's, then those around it; kept in state, for the program need not run."""

    async def program(_app: Any) -> None:
        async with alchemy.run("patient", max_retries=2):
            await Thing("a")
            async with alchemy.run("inner", max_retries=0):
                await Thing("b")

    await deploy(program, store)
    cloud.fail("delete", "b", busy())
    with pytest.raises(ExceptionGroup):
        await destroy_unit(UNIT, state_store=store, max_retries=1, retry_delay=0.001)
    assert cloud.ops("delete") == ["delete patient/inner/b"]
    cloud.forget()
    cloud.fail("delete", "a", busy(), times=2)
    await destroy_unit(UNIT, state_store=store, max_retries=0, retry_delay=0.001)
    assert cloud.ops("delete") == ["delete patient/inner/b", *["delete patient/a"] * 3]
    assert cloud.objects == {}


async def test_a_resources_own_retries_are_the_strongest(cloud: Cloud, store: Store) -> None:
    """They hold when it has left the program, too."""

    async def program(_app: Any) -> None:
        async with alchemy.run("s", max_retries=5):
            await Thing("a", options=Options(retry=0))

    await deploy(program, store)
    cloud.fail("delete", "a", busy())
    with pytest.raises(ExceptionGroup):
        await deploy(nothing, store)
    assert cloud.ops("delete") == ["delete s/a"]


async def test_what_is_said_to_finalize_is_stronger_than_the_scope(cloud: Cloud, store: Store) -> None:
    """An option of the call itself."""

    async def program(_app: Any) -> None:
        async with alchemy.run("s", max_retries=0, retry_delay=0.001):
            await Thing("a")

    await deploy(program, store)
    cloud.fail("delete", "a", busy())
    app = await alchemy("app", stage="dev", state_store=store)
    await app.finalize(max_retries=1)
    assert cloud.objects == {}


@pytest.mark.parametrize(
    ("options", "width"),
    [({"destroy_strategy": "sequential"}, 1), ({"destroy_strategy": "batched", "batch_size": 2}, 2), ({}, 5)],
)
async def test_a_scopes_strategy_holds_in_it(cloud: Cloud, store: Store, options: dict[str, Any], width: int) -> None:
    """A careful scope in a run that destroys side by side."""

    async def program(_app: Any) -> None:
        async with alchemy.run("s", **options):
            for n in range(5):
                Thing(f"t{n}")

    await deploy(program, store)
    cloud.forget()
    await destroy_unit(UNIT, state_store=store, destroy_strategy="parallel")
    assert cloud.peak["delete"] == width


async def test_unchanged_options_write_nothing(cloud: Cloud, store: Store) -> None:
    """They are part of the record, written when they are said otherwise, and not before."""

    def program(retry: int) -> Any:
        async def body(_app: Any) -> None:
            async with alchemy.run("s", max_retries=retry):
                await Thing("a", options=Options(retry=retry, timeout=5))

        return body

    await deploy(program(1), store)
    store.writes.clear()
    await deploy(program(1), store)
    assert store.writes == []
    await deploy(program(2), store)
    assert store.records()["s/a"].limits == {"retry": 2, "timeout": 5}
    assert cloud.changes() == ["create s/a"]


async def ten(_app: Any) -> None:
    """Ten things that know nothing of each other."""
    for n in range(10):
        Thing(f"t{n}")


async def test_what_the_program_said_holds_without_it(
    cloud: Cloud, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage's options for destroying are in its record. They are stronger than the project's table, and weaker than
    the environment.
    """

    async def width(**options: Any) -> int:
        await deploy(ten, store, **options)
        cloud.forget()
        await destroy_unit(UNIT, state_store=store)
        return cloud.peak["delete"]

    three: dict[str, Any] = {"destroy_strategy": "batched", "batch_size": 3}
    assert await width(**three) == 3
    monkeypatch.setattr(config, "project_options", lambda _root: {"destroy_strategy": "parallel"})
    assert await width(**three) == 3
    monkeypatch.setenv("ALCHEMY_DESTROY_STRATEGY", "parallel")
    assert await width(destroy_strategy="sequential") == 10


async def test_what_the_program_says_no_more_is_forgotten(cloud: Cloud, store: Store) -> None:
    """Written when it has changed, and not otherwise."""
    await deploy(ten, store, destroy_strategy="parallel")
    for options, writes in (({"destroy_strategy": "parallel"}, 0), ({}, 1), ({}, 0)):
        store.writes.clear()
        await deploy(ten, store, **options)
        assert len(store.writes) == writes
    cloud.forget()
    await destroy_unit(UNIT, state_store=store)
    assert cloud.peak["delete"] == 1


async def test_a_cleanup_keeps_to_what_the_program_said(cloud: Cloud, store: Store) -> None:
    """How often a delete is tried again, here."""
    await deploy(ten, store, max_retries=1)
    cloud.fail("delete", "t9", busy(), times=4)
    with pytest.raises(ExceptionGroup):
        await destroy_unit(UNIT, state_store=store)
    assert cloud.ops("delete").count("delete t9") == 2
    with pytest.raises(ExceptionGroup):
        await clean_up(UNIT, UNIT, state_store=store)
    assert cloud.ops("delete").count("delete t9") == 4
    await clean_up(UNIT, UNIT, state_store=store)
    assert cloud.objects == {}
