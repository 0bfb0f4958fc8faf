"""`on_failure="destroy"`: a scope whose body raises takes back what it created in this run, and nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.engine.test_lifecycle import errors_of
from tests.unit.engine.world import (
    Cloud,
    Named,
    Options,
    Pair,
    Store,
    Thing,
    alchemy,
    consistent,
    deploy,
    lost,
    nothing,
    refused,
    things,
)

from alchemy.errors import ConfigurationError

pytestmark = pytest.mark.anyio


class Broken(Exception):
    """The body's own error."""


def stumble() -> None:
    """Fail as a body may."""
    raise Broken


@pytest.mark.parametrize("how", ["with", "function"])
async def test_what_was_created_is_destroyed_in_order(cloud: Cloud, store: Store, how: str) -> None:
    """Dependents first, nested scopes and composites too; then the error goes on, and nothing is left in state."""

    async def body() -> None:
        first = await Thing("a")
        await Thing("b", needs=first)
        async with alchemy.run("inner"):
            await Pair("p")
        raise Broken

    async def program(_app: Any) -> None:
        await Thing("outside")
        if how == "with":
            async with alchemy.run("s", on_failure="destroy"):
                await body()
        else:
            await alchemy.run("s", body, on_failure="destroy")

    with pytest.raises(Broken):
        await deploy(program, store)
    assert cloud.ops("delete") == [
        "delete s/inner/p/right",
        "delete s/inner/p/left",
        "delete s/b",
        "delete s/a",
    ]
    assert list(store.records()) == ["outside"]
    assert "app/dev/s" not in store.memory.records("")
    consistent(store)


async def test_the_default_keeps(cloud: Cloud, store: Store) -> None:
    """The next run goes on from there."""

    async def program(_app: Any) -> None:
        async with alchemy.run("s"):
            await Thing("a")
            raise Broken

    with pytest.raises(Broken):
        await deploy(program, store)
    assert cloud.ops("delete") == []
    assert list(store.records()) == ["s/a"]


async def test_only_what_this_run_created(cloud: Cloud, store: Store) -> None:
    """What was there before, updated, replaced, adopted, or unchanged, stays; and what it was made from."""
    cloud.stranger("mine", shape="round")

    def program(*, fails: bool) -> Any:
        async def body(_app: Any) -> None:
            async with alchemy.run("s", on_failure="destroy"):
                base = await Thing("base") if fails else None
                await Thing("same")
                await Thing("updated", size=2 if fails else 1, needs=base)
                await Thing("replaced", shape="square" if fails else "round")
                if fails:
                    await Named("adopted", name="mine", options=Options(adopt=True))
                    await Thing("new")
                    raise Broken

        return body

    await deploy(program(fails=False), store)
    with pytest.raises(Broken):
        await deploy(program(fails=True), store)
    assert cloud.ops("delete") == ["delete s/new"]
    assert set(store.records()) == {"s/base", "s/same", "s/updated", "s/replaced", "s/adopted"}


async def test_a_failed_resource_is_a_failed_scope(cloud: Cloud, store: Store) -> None:
    """Also one that nobody awaited; what may have been created, and was not recorded, is looked for and goes too."""
    cloud.fail("create", "bad", refused())
    cloud.fail("create", "unsure", lost(), after=True)

    async def program(_app: Any) -> None:
        async with alchemy.run("s", on_failure="destroy"):
            Thing("good")
            Thing("bad")
            Thing("unsure")

    with pytest.raises(ExceptionGroup) as caught:
        await deploy(program, store)
    assert len(errors_of(caught.value)) == 2
    assert cloud.objects == {}
    assert store.records() == {}


async def test_what_cannot_be_destroyed_is_noted_on_the_error(cloud: Cloud, store: Store) -> None:
    """The error goes on as it is; the record says `deleting`, and the next run tries that first."""
    cloud.fail("delete", "a", refused("it is in use"))

    async def program(_app: Any) -> None:
        async with alchemy.run("s", on_failure="destroy"):
            await Thing("a")
            raise Broken

    with pytest.raises(Broken) as caught:
        await deploy(program, store)
    assert len(caught.value.__notes__) == 1
    assert "it is in use" in caught.value.__notes__[0]
    assert store.records()["s/a"].status == "deleting"
    await deploy(nothing, store)
    assert cloud.objects == {}


async def test_an_error_that_the_program_deals_with(cloud: Cloud, store: Store) -> None:
    """The scope took its own back; the others go on, and nothing else is destroyed at the end."""
    await deploy(things(orphan=1), store)

    async def program(_app: Any) -> None:
        try:
            async with alchemy.run("s", on_failure="destroy"):
                await Thing("a")
                stumble()
        except Broken:
            await Thing("instead")

    await deploy(program, store)
    assert cloud.ops("delete") == ["delete s/a"]
    assert set(store.records()) == {"orphan", "instead"}


async def test_it_is_inherited_and_a_nested_scope_may_keep(cloud: Cloud, store: Store) -> None:
    """The whole application may say so; a scope in it that keeps is kept, with what it was made from."""

    async def program(_app: Any) -> None:
        base = await Thing("base")
        await Thing("other")
        async with alchemy.run("kept", on_failure="keep"):
            await Thing("a", needs=base)
        async with alchemy.run("gone"):
            await Thing("b")
        raise Broken

    with pytest.raises(Broken):
        await deploy(program, store, on_failure="destroy")
    assert set(store.records()) == {"base", "kept/a"}
    consistent(store)


async def test_a_request_to_stop_is_no_failure(cloud: Cloud, store: Store) -> None:
    """Ctrl-C keeps everything, for the next run to go on from."""
    gate = cloud.hold("create", "b")

    async def program(_app: Any) -> None:
        async with alchemy.run("s", on_failure="destroy"):
            await Thing("a")
            await Thing("b")

    task = asyncio.ensure_future(deploy(program, store))
    await gate.entered.wait()
    task.cancel()
    await asyncio.sleep(0)
    gate.open()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert set(store.records()) == {"s/a", "s/b"}
    assert cloud.ops("delete") == []


async def test_another_word_is_refused(cloud: Cloud, store: Store) -> None:
    """The options are two."""

    async def program(_app: Any) -> None:
        alchemy.run("s", on_failure="explode")  # type: ignore[call-overload]

    with pytest.raises(ConfigurationError, match="explode"):
        await deploy(program, store)
