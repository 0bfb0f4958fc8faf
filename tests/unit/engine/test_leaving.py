"""What a run could not destroy: it is in state, is tried first by the next run, and is known without the program."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.engine.test_lifecycle import errors_of
from tests.unit.engine.world import Cloud, Pair, Store, Thing, alchemy, deploy, nothing, refused, things

from alchemy.engine.leaving import orphans_of
from alchemy.events import RunFinished

pytestmark = pytest.mark.anyio
UNIT = "app/dev"


def stumble() -> None:
    """Fail as a body may."""
    raise ValueError


def orphans(store: Store) -> set[str]:
    """Give what is noted as having left the program, by the end of its FQN."""
    own = store.memory.records("").get(UNIT)
    return {fqn.removeprefix("app/dev/") for fqn in orphans_of(own)}


async def test_a_failed_delete_is_tried_first_by_the_next_run(cloud: Cloud, store: Store) -> None:
    """Before anything is created; once a run; while it fails the run fails, though all else is done."""
    await deploy(things(a=1, b=1), store)
    cloud.fail("delete", "a", refused("it is in use"), times=2)
    with pytest.raises(ExceptionGroup):
        await deploy(things(b=1), store)
    for last in (False, True):
        cloud.forget()
        if last:
            await deploy(things(b=1, c=1), store)
            assert cloud.changes() == ["delete a"]
        else:
            with pytest.raises(ExceptionGroup) as caught:
                await deploy(things(b=1, c=1), store)
            assert "it is in use" in errors_of(caught.value)[0]
            assert cloud.changes() == ["delete a", "create c"]
            finished = next(event for event in cloud.events if isinstance(event, RunFinished))
            assert not finished.ok
            assert "it is in use" in finished.failures[0]
    assert set(store.records()) == {"b", "c"}
    assert orphans(store) == set()


async def test_what_a_stuck_one_was_made_from_stays(cloud: Cloud, store: Store) -> None:
    """Tried at the beginning, in vain: at the end nothing that it needs is destroyed either."""

    async def program(_app: Any) -> None:
        base = await Thing("base")
        await Thing("user", needs=base)

    await deploy(program, store)
    cloud.fail("delete", "user", refused(), times=2)
    for _ in range(2):
        with pytest.raises(ExceptionGroup):
            await deploy(nothing, store)
    assert set(store.records()) == {"base", "user"}
    assert cloud.ops("delete") == ["delete user"] * 2
    assert orphans(store) == {"base", "user"}


async def test_orphans_that_a_failed_run_left_are_known(cloud: Cloud, store: Store) -> None:
    """A resource failed, so nothing was destroyed: what had left the program is noted until a run succeeds."""
    await deploy(things(a=1, b=1), store)
    cloud.fail("create", "c", refused())

    async def program(_app: Any) -> None:
        Thing("b")
        Thing("c")

    with pytest.raises(ExceptionGroup):
        await deploy(program, store)
    assert orphans(store) == {"a"}
    await deploy(program, store)
    assert orphans(store) == set()
    assert set(store.records()) == {"b", "c"}


async def test_a_program_that_did_not_come_to_its_end_says_nothing_of_orphans(cloud: Cloud, store: Store) -> None:
    """What it would have declared is not known; the same for a scope or a composite that was cut short."""

    async def whole(_app: Any) -> None:
        await Thing("a")
        async with alchemy.run("s"):
            await Thing("b")
        await Pair("p")
        await Thing("gone")

    await deploy(whole, store)

    async def cut(_app: Any) -> None:
        await Thing("a")
        raise ValueError

    with pytest.raises(ValueError):
        await deploy(cut, store)
    assert orphans(store) == set()

    async def parts(_app: Any) -> None:
        await Thing("a")
        Pair("p", size=2)
        try:
            async with alchemy.run("s"):
                stumble()
        except ValueError:
            pass

    cloud.fail("update", "left", refused())
    with pytest.raises(ExceptionGroup):
        await deploy(parts, store)
    assert orphans(store) == {"gone"}
    assert len(store.records()) == 6


async def test_an_error_in_a_scope_that_was_caught_destroys_nothing(cloud: Cloud, store: Store) -> None:
    """Its body did not come to its end: what it did not declare is no orphan."""

    def program(*, fails: bool) -> Any:
        async def body(_app: Any) -> None:
            try:
                async with alchemy.run("s"):
                    if fails:
                        stumble()
                    await Thing("a")
            except ValueError:
                pass

        return body

    await deploy(program(fails=False), store)
    await deploy(program(fails=True), store)
    assert list(store.records()) == ["s/a"]


async def test_one_that_is_in_the_program_again_is_no_orphan_at_once(cloud: Cloud, store: Store) -> None:
    """Before the run ends, for it may be killed, and cleaning up must not take what the program has."""
    await deploy(things(a=1, b=1), store)
    cloud.fail("delete", "a", refused())
    with pytest.raises(ExceptionGroup):
        await deploy(things(b=1), store)
    assert orphans(store) == {"a"}
    seen: list[set[str]] = []

    async def program(_app: Any) -> None:
        await Thing("a")
        seen.append(orphans(store))

    await deploy(program, store)
    assert seen == [set()]


async def test_a_dry_run_is_in_order_and_touches_nothing(cloud: Cloud, store: Store) -> None:
    """As the destroy would go; no call, no write."""

    async def program(_app: Any) -> None:
        first = await Thing("a")
        Thing("b", needs=first)

    await deploy(program, store)
    cloud.forget()
    store.writes.clear()
    listed: list[str] = []

    async def empty(app: Any) -> None:
        listed.extend(await app.finalize(dry_run=True))
        assert (cloud.ops(), store.writes) == ([], [])

    await deploy(empty, store)
    assert listed == ["app/dev/b", "app/dev/a"]
    assert cloud.ops("delete") == ["delete b", "delete a"]
