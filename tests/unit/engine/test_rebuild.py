"""Rebuilding: records are made by reading every declared object back; nothing is created, changed or destroyed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.engine.test_lifecycle import errors_of
from tests.unit.engine.world import (
    Cloud,
    Manual,
    Marked,
    Named,
    Options,
    Pair,
    Store,
    Thing,
    consistent,
    deploy,
    lost,
    things,
)

from alchemy import Resource, config, output
from alchemy.events import RunFinished, RunStarted
from alchemy.provider import Context, Provider

pytestmark = pytest.mark.anyio
UNIT = "app/dev"


@pytest.fixture
def rebuild(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give what runs a program as `alchemy scope rebuild` does."""

    async def run(program: Any, store: Store, **options: Any) -> Any:
        before = config.launch.get()
        assert before is not None
        token = config.launch.set(replace(before, rebuild=True, operation="rebuild"))
        try:
            return await deploy(program, store, **options)
        finally:
            config.launch.reset(token)

    return run


def forget_all(store: Store) -> None:
    """Lose every record but the unit's own."""
    kept = store.memory.units[UNIT].records
    for fqn in [fqn for fqn in kept if fqn != UNIT]:
        del kept[fqn]


async def program(_app: Any) -> None:
    thing = await Thing("a", size=3)
    Named("n", needs=thing)
    await Pair("p")


async def test_lost_records_are_rebuilt(cloud: Cloud, store: Store, rebuild: Any) -> None:
    """Everything that the engine named is found; the next deploy has nothing to do."""
    await deploy(program, store)
    forget_all(store)
    cloud.forget()
    await rebuild(program, store)
    assert cloud.changes() == []
    consistent(store)
    assert {event.phase for event in cloud.events if isinstance(event, RunStarted | RunFinished)} == {"rebuild"}
    assert set(cloud.outcomes().values()) <= {"read", "created"}
    cloud.forget()
    store.writes.clear()
    await deploy(program, store)
    assert (cloud.ops(), store.writes) == ([], [])


async def test_what_is_there_counts_and_is_not_changed(cloud: Cloud, store: Store, rebuild: Any) -> None:
    """Somebody changed it by hand: the record says so, and the next deploy changes it back."""
    await deploy(program, store)
    (made,) = cloud.of("a")
    made.props["size"] = 9
    cloud.forget()
    await rebuild(program, store)
    assert cloud.changes() == []
    assert store.records()["a"].props["size"] == 9
    await deploy(program, store)
    assert cloud.changes() == ["update a"]
    assert made.props["size"] == 3


async def test_nothing_is_destroyed(cloud: Cloud, store: Store, rebuild: Any) -> None:
    """What is in state and not in the program stays in both."""
    await deploy(things(a=1, b=1), store)
    cloud.forget()
    await rebuild(things(a=1), store)
    assert cloud.ops() == ["find a"]
    assert set(store.records()) == {"a", "b"}


@pytest.mark.parametrize("known", [True, False])
async def test_missing_ones_are_listed(cloud: Cloud, store: Store, rebuild: Any, known: bool) -> None:
    """All of them in one error, each with what to do; the others are read; nothing is created."""

    async def body(_app: Any) -> None:
        for id in ("a", "b", "c"):
            Thing(id)

    await deploy(body, store)
    for id in ("a", "b"):
        del cloud.objects[cloud.of(id)[0].id]
    if not known:
        forget_all(store)
    cloud.forget()
    with pytest.raises(ExceptionGroup) as caught:
        await rebuild(body, store)
    messages = errors_of(caught.value)
    assert len(messages) == 2
    assert all("it is missing" in message and "deploy" in message for message in messages)
    assert cloud.changes() == []
    assert store.records()["c"].status == "created"
    await deploy(body, store)
    consistent(store)


async def test_a_strangers_object_is_not_taken(cloud: Cloud, store: Store, rebuild: Any) -> None:
    """A name that the program chose, and no record of it: refused, unless it is adopted."""
    cloud.stranger("mine", shape="round")

    def named(**given: Any) -> Any:
        async def body(_app: Any) -> None:
            await Named("n", name="mine", **given)

        return body

    with pytest.raises(ExceptionGroup) as caught:
        await rebuild(named(), store)
    assert "not known whether this application made it" in errors_of(caught.value)[0]
    assert store.records() == {}
    await rebuild(named(options=Options(adopt=True)), store)
    assert cloud.changes() == []
    assert store.records()["n"].output["object_id"] == "id-1"


async def test_what_cannot_be_read_is_said(cloud: Cloud, store: Store, rebuild: Any) -> None:
    """No way to look: the record stays as it was."""

    async def body(_app: Any) -> None:
        await Manual("m")

    with pytest.raises(ExceptionGroup) as caught:
        await rebuild(body, store)
    assert "alchemy state resolve app/dev/m --id ID" in errors_of(caught.value)[0]
    await deploy(body, store)
    record = store.records()["m"]
    with pytest.raises(ExceptionGroup):
        await rebuild(body, store)
    assert store.records()["m"] == record
    assert cloud.changes() == ["create m"]


class Said(Resource, kind="test::Said", provider=f"{__name__}:SaidProvider"):
    """Something that is as it is declared, and nowhere else."""

    word: str
    said: str = output()


class SaidProvider(Provider[Said]):
    """Handles `Said`."""

    recover = "again"

    async def read(self, ctx: Context[Said], have: Said) -> Said | None:
        return ctx.result(said=have.word)

    async def create(self, ctx: Context[Said], want: Said) -> Said:
        return ctx.result(said=want.word)


async def test_what_its_inputs_say_is_read(cloud: Cloud, store: Store, rebuild: Any) -> None:
    """What can be created twice without harm, and be read, is read also when there is no record of it."""

    async def body(_app: Any) -> None:
        await Said("s", word="w")

    for _ in range(2):
        await rebuild(body, store)
        assert store.records()["s"].output == {"said": "w"}
        assert cloud.outcomes() == {"s": "read"}


async def test_what_was_begun_is_left_to_a_deploy(cloud: Cloud, store: Store, rebuild: Any) -> None:
    """A record half-way, or of another kind, is not touched."""
    cloud.fail("create", "a", lost(), after=True)
    with pytest.raises(ExceptionGroup):
        await deploy(things(a=1), store)

    async def other(_app: Any) -> None:
        await Named("a")

    for body, words in ((things(a=1), "creating in state"), (other, "state holds a testing::Thing")):
        with pytest.raises(ExceptionGroup) as caught:
            await rebuild(body, store)
        assert words in errors_of(caught.value)[0]
    assert store.records()["a"].status == "creating"
    assert cloud.ops("create", "update") == ["create a"]


async def test_what_files_held_cannot_be_read_back(cloud: Cloud, store: Store, rebuild: Any) -> None:
    """A fingerprint is not believed: the next deploy applies it again."""

    async def body(_app: Any) -> None:
        await Marked("m")

    await deploy(body, store)
    await rebuild(body, store)
    cloud.forget()
    await deploy(body, store)
    assert cloud.changes() == ["update m"]
