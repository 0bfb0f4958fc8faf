"""Killed or cancelled at any instant, the next run converges: nothing twice, nothing forgotten, nobody else's taken."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from tests.unit.engine import world
from tests.unit.engine.world import (
    Again,
    Cloud,
    Fixed,
    Named,
    Options,
    Pair,
    Program,
    Store,
    Thing,
    Token,
    consistent,
    deploy,
    nothing,
)

from alchemy import alchemy
from alchemy.opening import destroy_unit

pytestmark = pytest.mark.anyio


async def two(_app: Any) -> None:
    a = await Thing("a")
    Thing("b", needs=a)
    Thing("c", tags={"id": a.object_id})


async def two_changed(_app: Any) -> None:
    a = await Thing("a", size=2)
    Thing("b", needs=a, size=5)


async def two_replaced(_app: Any) -> None:
    a = await Thing("a", shape="square")
    Thing("b", needs=a, shape="oval")


async def fixed_name(_app: Any) -> None:
    await Named("n", name="chosen")
    Named("m", name="other")


async def fixed_name_replaced(_app: Any) -> None:
    await Named("n", name="chosen", shape="square")
    Named("m", name="another")


async def other_kind(_app: Any) -> None:
    Named("a")
    Pair("b")


async def nested(_app: Any) -> None:
    async with alchemy.run("inner"):
        pair = Pair("pair")
    alchemy.run("fn", lambda: Thing("t", needs=pair))


async def side_by_side(_app: Any) -> None:
    await asyncio.gather(*(Thing(f"t{n}") for n in range(3)), Pair("pair"))


async def side_by_side_replaced(_app: Any) -> None:
    await asyncio.gather(*(Thing(f"t{n}", shape="square") for n in range(3)), Pair("pair", both=False))


async def again(_app: Any) -> None:
    await Again("a", path="p1")
    await Token("t")
    await Fixed("f")


async def again_changed(_app: Any) -> None:
    await Again("a", path="p2", size=3)
    await Token("t", size=3)
    await Fixed("f", shape="square")


async def renamed(_app: Any) -> None:
    a = await Thing("z", options=Options(aliases=["a"]))
    Thing("b", needs=a)
    Thing("c", tags={"id": a.object_id})


@dataclass(frozen=True)
class Story:
    """From one program to another, with what is there afterwards."""

    name: str
    before: Program
    after: Program


STORIES = [
    Story("create", nothing, two),
    Story("update", two, two_changed),
    Story("replace", two, two_replaced),
    Story("replace-fixed-name", fixed_name, fixed_name_replaced),
    Story("create-fixed-name", nothing, fixed_name),
    Story("delete", two, nothing),
    Story("kind", two, other_kind),
    Story("kind-back", other_kind, two),
    Story("nested", nothing, nested),
    Story("nested-away", nested, nothing),
    Story("side-by-side", side_by_side, side_by_side_replaced),
    Story("again", nothing, again),
    Story("again-changed", again, again_changed),
    Story("again-away", again, nothing),
    Story("renamed", two, renamed),
]
KINDS = pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)


async def snapshot(program: Program) -> list[tuple[str, str, Any]]:
    """Give what exists after a program ran alone: kinds, owners and inputs."""
    kept = dict(world.cloud.__dict__)
    world.reset()
    store = Store()
    await deploy(program, store)
    made = described(store)
    world.cloud.__dict__.update(kept)
    return made


def described(store: Store) -> list[tuple[str, str, Any]]:
    """Give what exists that is ours, and who owns it, as values."""
    owners = {record.output.get("object_id"): fqn for fqn, record in store.records().items()}
    ours = [made for made in world.cloud.objects.values() if made.fqn]
    return sorted((made.kind, owners.get(made.id, "nobody"), repr(_plain(made.props))) for made in ours)


def _plain(props: dict[str, Any]) -> dict[str, Any]:
    """Leave out ids, which differ between runs."""
    return {k: v for k, v in props.items() if k in ("size", "shape", "path") or (k == "name" and v)}


async def prepare(story: Story, store: Store) -> None:
    """Bring the cloud to where the story begins, with strangers in it."""
    await deploy(story.before, store)
    world.cloud.stranger("somebody-elses")
    world.cloud.forget()


async def killed_at(instant: int, program: Program, store: Store) -> bool:
    """Run a program in a process that dies at an instant; say whether it did."""
    world.cloud.faults.crash(at=instant)
    with contextlib.suppress(BaseException):
        await deploy(program, store)
    died = world.cloud.died
    for _ in range(50):  # what the dead process still had in flight comes to nothing
        await asyncio.sleep(0)
    return died


async def check(program: Program, expected: Sequence[Any], store: Store, where: str) -> None:
    """Check that the world is as the program says, and that another run has nothing left to do."""
    assert described(store) == expected, where
    strangers = [made.name for made in world.cloud.objects.values() if not made.fqn]
    assert strangers == ["somebody-elses"], where
    world.cloud.forget()
    store.writes.clear()
    await deploy(program, store)
    assert world.cloud.calls == [], where
    if expected:  # a stage of nothing leaves no record, and begins with one each time
        assert store.writes == [], where
    with_ids = [r for r in store.records().values() if r.kind not in ("t::Pair",)]
    assert len(with_ids) == len(expected), where


@KINDS
@pytest.mark.parametrize("then", ["again", "back", "destroy"])
async def test_killed_at_any_instant(cloud: Cloud, story: Story, then: str) -> None:
    """Whatever the next run is (the same program, the one before, a destroy), it ends where it should."""
    follow = {"again": story.after, "back": story.before, "destroy": nothing}[then]
    expected = await snapshot(follow)
    instants = 0
    for instant in range(200):
        world.reset()
        store = Store()
        await prepare(story, store)
        if not await killed_at(instant, story.after, store):
            break
        instants += 1
        store = store.after_death()
        where = f"{story.name} killed at {instant}, then {then}: {cloud.ops()} {store.writes}"
        if then == "destroy":
            await destroy_unit("app/dev", state_store=store, retry_delay=0.001)
            assert described(store) == [], where
            assert store.records() == {}, where
            continue
        await deploy(follow, store)
        await check(follow, expected, store, where)
        consistent(store)
    assert instants >= 2, "nothing was killed"


@KINDS
async def test_a_destroy_killed_at_any_instant(cloud: Cloud, story: Story) -> None:
    """A destroy that was killed is finished by the next; or a deploy makes everything anew."""
    expected = await snapshot(story.after)
    for instant in range(200):
        for then in ("destroy", "deploy"):
            world.reset()
            store = Store()
            await deploy(story.after, store)
            world.cloud.stranger("somebody-elses")
            world.cloud.faults.crash(at=instant)
            with contextlib.suppress(BaseException):
                await destroy_unit("app/dev", state_store=store)
            died = cloud.died
            store = store.after_death()
            if then == "destroy":
                await destroy_unit("app/dev", state_store=store)
                assert described(store) == []
                assert store.memory.records("") == {}
            else:
                await deploy(story.after, store)
                await check(story.after, expected, store, f"{story.name} destroy killed at {instant}")
        if not died:
            break


@KINDS
async def test_cancelled_at_any_instant(cloud: Cloud, story: Story) -> None:
    """A cancelled program lets what runs finish and records it; the next run goes on from there."""
    expected = await snapshot(story.after)
    for instant in range(100):
        world.reset()
        store = Store()
        await prepare(story, store)
        cancelled = await _cancelled_at(instant, story.after, store)
        where = f"{story.name} cancelled at {instant}"
        if cancelled:
            assert cloud.running["all"] == 0, where
            consistent_so_far(store)
        await deploy(story.after, store)
        await check(story.after, expected, store, where)
        if not cancelled:
            break


def consistent_so_far(store: Store) -> None:
    """Check that nothing was left half-way: a drained run knows what became of all it began."""
    statuses = {fqn: record.status for fqn, record in store.records().items() if record.kind != "t::Pair"}
    assert set(statuses.values()) <= {"created", "updated"}, statuses


async def _cancelled_at(instant: int, program: Program, store: Store) -> bool:
    task = asyncio.ensure_future(deploy(program, store))
    seen = 0

    def count() -> int:
        return len(world.cloud.calls) + len(store.writes)

    while not task.done():
        seen = max(count(), seen)
        if seen > instant:
            task.cancel()
            break
        await asyncio.sleep(0)
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False
