"""Create, skip, update, replace, delete: what the engine calls, and what it writes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.engine.world import (
    Again,
    Cloud,
    Fixed,
    Marked,
    Named,
    Options,
    Pair,
    Store,
    Thing,
    busy,
    consistent,
    deploy,
    lost,
    nothing,
    refused,
    things,
)

from alchemy import Resource, alchemy, prop
from alchemy.errors import Gone, ResourceFailed
from alchemy.events import ResourceFinished
from alchemy.opening import destroy_unit
from alchemy.provider import Context, Provider

pytestmark = pytest.mark.anyio


def errors_of(group: BaseException) -> list[str]:
    """Give the messages of a group, or of one error."""
    if isinstance(group, BaseExceptionGroup):
        return [text for inner in group.exceptions for text in errors_of(inner)]
    return [str(group)]


def thing(**given: Any) -> Any:
    """Give a program of one `Thing` called `a`."""

    async def program(_app: Any) -> Any:
        return await Thing("a", **given)

    return program


async def test_what_is_declared_is_created_once(cloud: Cloud, store: Store) -> None:
    """A first run creates; awaiting gives real values."""

    async def program(_app: Any) -> str:
        made = await Thing("a", size=3)
        assert made.size == 3
        return made.object_id

    assert await deploy(program, store) == "id-1"
    assert cloud.changes() == ["create a"]
    consistent(store)


async def test_a_second_run_neither_calls_nor_writes(cloud: Cloud, store: Store) -> None:
    """Unchanged: no provider call at all, no write at all."""
    await deploy(things(a=1, b=2), store)
    cloud.forget()
    store.writes.clear()
    await deploy(things(a=1, b=2), store)
    assert cloud.calls == []
    assert store.writes == []
    assert cloud.outcomes() == {"a": "unchanged", "b": "unchanged"}


async def test_a_second_run_of_everything_neither_calls_nor_writes(cloud: Cloud, store: Store) -> None:
    """Nested scopes, functions, composites, references, un-awaited resources and persisted data: still nothing."""

    async def inner(scope: Any) -> str:
        made = await Thing("in-fn", size=1)
        await scope.set("key", {"a": [1, 2]})
        return made.object_id

    async def program(app: Any) -> None:
        first = Thing("first", tags={"b": 1, "a": [1, {"x": None}]})
        async with alchemy.run("nested"):
            second = await Thing("second", needs=[first, {"again": first}])
            Thing("not-awaited", needs=second)
        fn = alchemy.run("fn", inner)
        pair = await Pair("pair")
        Thing("last", needs=[pair, *pair.ids], options=Options(depends_on=[second]))
        await asyncio.gather(Thing("g1"), Thing("g2"), fn)
        await app.set("once", 1)

    await deploy(program, store)
    cloud.forget()
    store.writes.clear()
    await deploy(program, store)
    assert cloud.calls == []
    assert store.writes == []
    consistent(store)


async def test_what_left_the_program_is_destroyed(cloud: Cloud, store: Store) -> None:
    """Orphans go, newest first, and leave nothing in the store."""
    await deploy(things(a=1, b=2), store)
    cloud.forget()
    await deploy(nothing, store)
    assert cloud.changes() == ["delete b", "delete a"]
    assert store.records() == {}
    assert cloud.objects == {}


async def test_a_changed_input_updates(cloud: Cloud, store: Store) -> None:
    """Inputs differ: update, on the same object."""
    await deploy(thing(size=1), store)
    made = await deploy(thing(size=2), store)
    assert cloud.changes() == ["create a", "update a"]
    assert (made.object_id, made.version) == ("id-1", 2)
    assert store.records()["a"].props["size"] == 2
    assert store.records()["a"].attempted is None


@pytest.mark.parametrize(
    "again",
    [
        {"tags": {"y": [2], "x": 1}},
        {"tags": {"x": 1, "y": (2,)}, "size": 1},
        {"tags": {"x": 1, "y": [2]}, "shape": "round", "token": None},
    ],
)
async def test_equal_values_are_no_change(cloud: Cloud, store: Store, again: dict[str, Any]) -> None:
    """Key order, spelled-out defaults and tuple or list make no difference."""
    await deploy(thing(tags={"x": 1, "y": [2]}), store)
    cloud.forget()
    store.writes.clear()
    await deploy(thing(**again), store)
    assert cloud.calls == []
    assert store.writes == []


@pytest.mark.parametrize(("before", "after"), [(1, True), ({"a": 1}, {"a": "1"}), ([1, 2], [2, 1]), (None, 0)])
async def test_values_that_only_look_alike_are_a_change(cloud: Cloud, store: Store, before: Any, after: Any) -> None:
    """`1` and `True` are two values, and so are two orders of a list."""
    await deploy(thing(tags={"v": before}), store)
    cloud.forget()
    await deploy(thing(tags={"v": after}), store)
    assert cloud.changes() == ["update a"]


async def test_replace_creates_first_and_deletes_at_the_end(cloud: Cloud, store: Store) -> None:
    """An input that cannot change in place: new object, dependents updated, then the old one goes."""

    def program(shape: str) -> Any:
        async def body(_app: Any) -> None:
            a = await Thing("a", shape=shape)
            await Thing("b", tags={"a": a.object_id})

        return body

    await deploy(program("round"), store)
    cloud.forget()
    await deploy(program("square"), store)
    assert cloud.changes() == ["create a", "update b", "delete a"]
    assert [made.props["shape"] for made in cloud.of("a")] == ["square"]
    assert store.records()["a"].generations == []
    consistent(store)


async def test_replace_with_a_chosen_name_deletes_first(cloud: Cloud, store: Store) -> None:
    """Two objects cannot have one name: the old one goes first."""

    def program(shape: str) -> Any:
        async def body(_app: Any) -> None:
            await Named("a", name="mine", shape=shape)

        return body

    await deploy(program("round"), store)
    cloud.forget()
    await deploy(program("square"), store)
    assert cloud.changes() == ["delete a", "create a"]
    assert [made.props["shape"] for made in cloud.of("a")] == ["square"]
    consistent(store)


async def test_a_new_chosen_name_replaces_create_first(cloud: Cloud, store: Store) -> None:
    """A different chosen name can exist beside the old one."""

    def program(name: str) -> Any:
        async def body(_app: Any) -> None:
            await Named("a", name=name)

        return body

    await deploy(program("one"), store)
    cloud.forget()
    await deploy(program("two"), store)
    assert cloud.changes() == ["create a", "delete a"]
    assert [made.name for made in cloud.of("a")] == ["two"]


async def test_another_kind_under_the_same_id_replaces(cloud: Cloud, store: Store) -> None:
    """A changed kind is a replacement, never a skip; the old kind's provider deletes the old object."""

    async def one(_app: Any) -> None:
        await Thing("a")

    async def other(_app: Any) -> None:
        await Named("a")

    await deploy(one, store)
    cloud.forget()
    await deploy(other, store)
    assert cloud.changes() == ["create a", "delete a"]
    assert [made.kind for made in cloud.of("a")] == ["testing::Named"]
    assert store.records()["a"].kind == "testing::Named"
    consistent(store)


async def test_a_resource_becomes_a_composite_and_back(cloud: Cloud, store: Store) -> None:
    """Another kind under the same id also where one of them is a composite."""

    async def one(_app: Any) -> None:
        await Thing("a")

    async def other(_app: Any) -> None:
        await Pair("a")

    await deploy(one, store)
    await deploy(other, store)
    assert sorted(store.records()) == ["a", "a/left", "a/right"]
    assert len(cloud.objects) == 2
    await deploy(one, store)
    assert sorted(store.records()) == ["a"]
    consistent(store)


async def test_a_removed_scope_goes_with_all_in_it(cloud: Cloud, store: Store) -> None:
    """A nested scope that left the program is destroyed, its record too."""

    async def full(_app: Any) -> None:
        async with alchemy.run("outer"):
            await Thing("x")
            async with alchemy.run("inner"):
                await Thing("y")

    await deploy(full, store)
    cloud.forget()
    await deploy(nothing, store)
    assert cloud.changes() == ["delete outer/inner/y", "delete outer/x"]
    assert store.memory.records("app/dev/outer") == {}


async def test_a_composite_makes_its_parts_and_gives_their_values(cloud: Cloud, store: Store) -> None:
    """`declare()` runs in a scope of the resource's own."""

    async def program(_app: Any) -> Any:
        return (await Pair("p", size=2)).ids

    assert await deploy(program, store) == ["id-1", "id-2"]
    assert sorted(store.records()) == ["p", "p/left", "p/right"]
    assert store.records()["p"].output == {"ids": ["id-1", "id-2"]}


async def test_a_part_that_left_the_composite_is_destroyed(cloud: Cloud, store: Store) -> None:
    """Orphans are found inside composites too."""

    def program(both: bool) -> Any:
        async def body(_app: Any) -> None:
            await Pair("p", both=both)

        return body

    await deploy(program(True), store)
    cloud.forget()
    await deploy(program(False), store)
    assert cloud.changes() == ["delete p/right"]
    consistent(store)


async def test_a_composite_goes_after_its_parts(cloud: Cloud, store: Store) -> None:
    """A removed composite: children first, dependents before them."""

    async def program(_app: Any) -> None:
        pair = Pair("p")
        Thing("user", needs=pair)

    await deploy(program, store)
    cloud.forget()
    await deploy(nothing, store)
    assert cloud.changes() == ["delete user", "delete p/right", "delete p/left"]
    assert store.records() == {}
    deleted = [e.fqn for e in cloud.events if isinstance(e, ResourceFinished) and e.outcome == "deleted"]
    assert deleted[-1] == "app/dev/p"


async def test_a_failed_replace_then_revert_keeps_the_live_object(cloud: Cloud, store: Store) -> None:
    """The replacement was refused and the program goes back: the first object is the live one, and stays."""
    await deploy(thing(shape="round"), store)
    cloud.fail("create", "a", refused())
    with pytest.raises(ExceptionGroup):
        await deploy(thing(shape="square"), store)
    cloud.forget()
    await deploy(thing(shape="round"), store)
    assert cloud.changes() == []
    assert list(cloud.objects) == ["id-1"]
    consistent(store)


@pytest.mark.parametrize("after", [False, True])
async def test_an_uncertain_replace_then_revert_keeps_the_live_object(cloud: Cloud, store: Store, after: bool) -> None:
    """The same when nobody knows whether the replacement came to be: it goes, if it did."""
    await deploy(thing(shape="round"), store)
    cloud.fail("create", "a", lost(), after=after)
    with pytest.raises(ExceptionGroup):
        await deploy(thing(shape="square"), store)
    await deploy(thing(shape="round"), store)
    assert list(cloud.objects) == ["id-1"]
    consistent(store)
    cloud.forget()
    store.writes.clear()
    await deploy(thing(shape="round"), store)
    assert (cloud.calls, store.writes) == ([], [])


async def test_an_uncertain_replace_then_a_third_shape(cloud: Cloud, store: Store) -> None:
    """What was begun with another unchangeable input is not taken for what is wanted now."""
    await deploy(thing(shape="round"), store)
    cloud.fail("create", "a", lost(), after=True)
    with pytest.raises(ExceptionGroup):
        await deploy(thing(shape="square"), store)
    await deploy(thing(shape="oval"), store)
    assert [made.props["shape"] for made in cloud.objects.values()] == ["oval"]
    consistent(store)


async def test_an_uncertain_create_then_another_shape(cloud: Cloud, store: Store) -> None:
    """The same for a first create."""
    cloud.fail("create", "a", lost(), after=True)
    with pytest.raises(ExceptionGroup):
        await deploy(thing(shape="square"), store)
    await deploy(thing(shape="oval"), store)
    assert [made.props["shape"] for made in cloud.objects.values()] == ["oval"]
    consistent(store)


async def test_a_refused_replacement_keeps_what_the_old_one_was_made_from(cloud: Cloud, store: Store) -> None:
    """After a refused replacement the old object still counts as made from what it was made from."""

    def program(shape: str, source: str) -> Any:
        async def body(_app: Any) -> None:
            Thing("a", shape=shape, needs=Thing(source))

        return body

    await deploy(program("round", "old"), store)
    cloud.fail("create", "a", refused())
    with pytest.raises(ExceptionGroup):
        await deploy(program("square", "new"), store)
    assert store.records()["a"].deps == ["app/dev/old"]
    cloud.forget()
    await deploy(program("square", "new"), store)
    assert cloud.ops("delete") == ["delete a", "delete old"]


async def test_parallel_replaces_lose_none(cloud: Cloud, store: Store) -> None:
    """Four replacements at once: four old objects are destroyed."""

    def program(shape: str) -> Any:
        async def body(_app: Any) -> None:
            await asyncio.gather(*(Thing(f"t{n}", shape=shape) for n in range(4)))

        return body

    await deploy(program("round"), store)
    await deploy(program("square"), store)
    assert [made.props["shape"] for made in cloud.objects.values()] == ["square"] * 4
    consistent(store)


async def test_an_old_generation_that_could_not_go_is_deleted_later(cloud: Cloud, store: Store) -> None:
    """It stays in the record until it is gone, over several replacements."""
    await deploy(thing(shape="round"), store)
    cloud.fail("delete", "a", refused())
    with pytest.raises(ExceptionGroup, match="could not be destroyed"):
        await deploy(thing(shape="square"), store)
    assert len(store.records()["a"].generations) == 1
    cloud.fail("delete", "a", refused(), times=2)
    with pytest.raises(ExceptionGroup):
        await deploy(thing(shape="oval"), store)
    assert len(store.records()["a"].generations) == 2
    await deploy(thing(shape="oval"), store)
    assert [made.props["shape"] for made in cloud.objects.values()] == ["oval"]
    consistent(store)


async def test_old_generations_go_in_the_order_of_their_own_dependencies(cloud: Cloud, store: Store) -> None:
    """Two resources replaced at once: the dependent's old object goes before what it was made from."""

    def program(shape: str) -> Any:
        async def body(_app: Any) -> None:
            base = Thing("base", shape=shape)
            Thing("top", shape=shape, needs=base)

        return body

    await deploy(program("round"), store)
    cloud.forget()
    await deploy(program("square"), store)
    assert cloud.ops("delete") == ["delete top", "delete base"]


async def test_an_orphan_goes_before_the_old_generation_that_it_used(cloud: Cloud, store: Store) -> None:
    """The dependent leaves in the very run that replaces what it depends on."""

    async def before(_app: Any) -> None:
        Thing("top", needs=Thing("base"))

    async def after(_app: Any) -> None:
        Thing("base", shape="square")

    await deploy(before, store)
    cloud.forget()
    await deploy(after, store)
    assert cloud.changes() == ["create base", "delete top", "delete base"]


async def test_retain_leaves_the_object_alone(cloud: Cloud, store: Store) -> None:
    """A retained resource that leaves the program is forgotten; its object stays."""

    async def program(_app: Any) -> None:
        Thing("a", options=Options(retain=True))

    await deploy(program, store)
    await deploy(nothing, store)
    assert cloud.ops("delete") == []
    assert len(cloud.objects) == 1
    assert store.records() == {}
    assert cloud.outcomes()["a"] == "forgotten"


async def test_retain_leaves_the_replaced_object_alone_too(cloud: Cloud, store: Store) -> None:
    """A replacement of a retained resource leaves the old object."""

    def program(shape: str) -> Any:
        async def body(_app: Any) -> None:
            Thing("a", shape=shape, options=Options(retain=True))

        return body

    await deploy(program("round"), store)
    await deploy(program("square"), store)
    assert len(cloud.objects) == 2
    assert cloud.ops("delete") == []


async def test_protect_refuses_to_delete_and_to_replace(cloud: Cloud, store: Store) -> None:
    """A protected resource is not destroyed, not as an orphan either, nor replaced."""

    def program(shape: str, protect: bool) -> Any:
        async def body(_app: Any) -> None:
            Thing("a", shape=shape, options=Options(protect=protect))

        return body

    await deploy(program("round", True), store)
    with pytest.raises(ExceptionGroup) as caught:
        await deploy(nothing, store)
    assert "app/dev/a is protected" in errors_of(caught.value)[0]
    with pytest.raises(ExceptionGroup) as caught:
        await deploy(program("square", True), store)
    assert "app/dev/a is protected" in errors_of(caught.value)[0]
    with pytest.raises(ExceptionGroup):
        await destroy_unit("app/dev", state_store=store)
    assert list(cloud.objects) == ["id-1"]
    await deploy(program("square", False), store)  # as the hint says
    assert list(cloud.objects) == ["id-2"]
    await deploy(nothing, store)
    assert cloud.objects == {}


async def test_an_alias_keeps_the_object(cloud: Cloud, store: Store) -> None:
    """A renamed resource keeps its object; a second run has nothing left to do."""

    async def before(_app: Any) -> None:
        Thing("user", needs=Thing("old"))

    async def after(_app: Any) -> None:
        Thing("user", needs=Thing("new", options=Options(aliases=["old"])))

    await deploy(before, store)
    cloud.forget()
    await deploy(after, store)
    assert cloud.changes() == []
    assert sorted(store.records()) == ["new", "user"]
    assert store.records()["new"].physical_name == cloud.objects["id-1"].name
    store.writes.clear()
    await deploy(after, store)
    assert (cloud.calls, store.writes) == ([], [])
    await deploy(nothing, store)
    assert cloud.objects == {}


async def test_an_alias_by_fqn_moves_it_between_scopes(cloud: Cloud, store: Store) -> None:
    """A resource may move into a nested scope."""

    async def after(_app: Any) -> None:
        async with alchemy.run("inner"):
            await Thing("a", options=Options(aliases=["app/dev/a"]))

    await deploy(thing(), store)
    cloud.forget()
    await deploy(after, store)
    assert cloud.changes() == []
    assert sorted(store.records()) == ["inner/a"]


async def test_an_alias_takes_its_parts_along(cloud: Cloud, store: Store) -> None:
    """A renamed composite keeps its parts."""

    async def before(_app: Any) -> None:
        Pair("old")

    async def after(_app: Any) -> None:
        Pair("new", options=Options(aliases=["old"]))

    await deploy(before, store)
    cloud.forget()
    await deploy(after, store)
    assert cloud.changes() == []
    assert sorted(store.records()) == ["new", "new/left", "new/right"]


async def test_an_alias_that_is_declared_itself_is_left_alone(cloud: Cloud, store: Store) -> None:
    """Nobody's record is taken away, named by id or by FQN."""

    async def after(_app: Any) -> None:
        await Thing("a")
        await Thing("b", options=Options(aliases=["a"]))
        async with alchemy.run("inner"):
            await Thing("c", options=Options(aliases=["app/dev/a"]))

    await deploy(thing(), store)
    cloud.forget()
    await deploy(after, store)
    assert cloud.changes() == ["create b", "create inner/c"]


async def test_what_takes_a_renamed_resources_old_id_gets_an_object_of_its_own(cloud: Cloud, store: Store) -> None:
    """The renamed one keeps its object and the name it has; nobody else is given that name."""

    async def renamed(_app: Any) -> None:
        Thing("z", options=Options(aliases=["a"]))

    async def both(_app: Any) -> None:
        Thing("z")
        Thing("a")

    await deploy(thing(), store)
    await deploy(renamed, store)
    await deploy(both, store)
    assert len(cloud.objects) == 2
    consistent(store)
    await deploy(thing(), store)
    assert list(cloud.objects) == ["id-2"]
    consistent(store)


async def test_depends_on_orders_both_ways(cloud: Cloud, store: Store) -> None:
    """Made before, destroyed after, without a value passed."""
    gate = cloud.hold("create", "base")

    async def program(_app: Any) -> None:
        base = Thing("base")
        Thing("top", options=Options(depends_on=[base]))
        await gate.entered.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert cloud.ops("create") == ["create base"]
        gate.open()

    await deploy(program, store)
    assert cloud.changes() == ["create base", "create top"]
    cloud.forget()
    await deploy(nothing, store)
    assert cloud.changes() == ["delete top", "delete base"]


async def test_a_call_that_takes_too_long_is_an_error(cloud: Cloud, store: Store) -> None:
    """`options.timeout` ends it; what came of it is looked up in the next run."""
    cloud.hold("create", "a")
    with pytest.raises(ExceptionGroup) as caught:
        await deploy(thing(options=Options(timeout=0.01)), store)
    assert "longer than 0.01 s" in errors_of(caught.value)[0]
    assert store.records()["a"].status == "creating"
    cloud.faults.clear()
    await deploy(thing(), store)
    assert cloud.ops()[-2:] == ["find a", "create a"]
    consistent(store)


async def test_options_retry_says_how_often(cloud: Cloud, store: Store) -> None:
    """A call that fails in a way that may pass is tried again as often as the resource says."""
    cloud.fail("create", "a", busy(), times=3)
    with pytest.raises(ExceptionGroup):
        await deploy(thing(options=Options(retry=1)), store)
    assert cloud.ops("create") == ["create a"] * 2
    cloud.forget()
    await deploy(thing(options=Options(retry=1)), store)
    assert cloud.ops("create") == ["create a"] * 2


async def test_gone_on_update_creates_anew(cloud: Cloud, store: Store) -> None:
    """Somebody deleted the object behind our back."""
    await deploy(thing(size=1), store)
    cloud.objects.clear()
    made = await deploy(thing(size=2), store)
    assert made.object_id == "id-2"
    assert cloud.changes() == ["create a", "update a", "create a"]
    consistent(store)


async def test_gone_then_refused_forgets_nothing(cloud: Cloud, store: Store) -> None:
    """Gone on update, the create refused, an old generation still to be deleted: it is still deleted."""
    await deploy(thing(shape="round"), store)
    cloud.fail("delete", "a", refused())
    with pytest.raises(ExceptionGroup):
        await deploy(thing(shape="square"), store)
    del cloud.objects["id-2"]
    cloud.fail("create", "a", refused())
    with pytest.raises(ExceptionGroup):
        await deploy(thing(shape="square", size=2), store)
    await deploy(thing(shape="square", size=2), store)
    assert [(made.props["shape"], made.props["size"]) for made in cloud.objects.values()] == [("square", 2)]
    consistent(store)


async def test_gone_on_delete_is_success(cloud: Cloud, store: Store) -> None:
    """A provider that raises `Gone` from delete has nothing left to delete."""
    await deploy(thing(), store)
    cloud.fail("delete", "a", Gone("no such thing"))
    await deploy(nothing, store)
    assert store.records() == {}


async def test_a_fingerprint_counts_as_an_input(cloud: Cloud, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an input names may change while the input does not."""

    async def program(_app: Any) -> None:
        await Marked("m")

    await deploy(program, store)
    cloud.forget()
    await deploy(program, store)
    assert cloud.changes() == []
    monkeypatch.setitem(Marked.marks, "m", "changed")
    await deploy(program, store)
    assert cloud.changes() == ["update m"]


async def test_a_fingerprint_that_fails_is_the_failure_of_its_resource(
    cloud: Cloud, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing file is reported like any failure, wherever the resource is declared."""

    def missing(_self: Marked) -> Any:
        raise FileNotFoundError("no such file: notes.txt")

    async def program(_app: Any) -> None:
        Marked("m")

    await deploy(program, store)
    monkeypatch.setattr(Marked, "fingerprint", missing)
    with pytest.raises(ExceptionGroup) as caught:
        await deploy(program, store)
    assert "app/dev/m" in errors_of(caught.value)[0]
    assert "notes.txt" in errors_of(caught.value)[0]


async def test_force_updates_what_is_unchanged(cloud: Cloud, store: Store) -> None:
    """`force` calls the provider all the same, and leaves what cannot be updated alone."""

    async def program(_app: Any) -> None:
        await Thing("a")
        await Fixed("f")

    await deploy(program, store)
    cloud.forget()
    await deploy(program, store, force=True)
    assert cloud.changes() == ["update a"]


async def test_every_output_must_be_given(cloud: Cloud, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that leaves an output out is told so; what it made is not forgotten."""
    from tests.unit.engine import world

    monkeypatch.setattr(world.ThingProvider, "outputs", lambda _self, made: {"object_id": made.id})
    with pytest.raises(ExceptionGroup) as caught:
        await deploy(thing(), store)
    assert "left out the output 'version'" in errors_of(caught.value)[0]
    assert store.records()["a"].status == "creating"
    monkeypatch.undo()
    await deploy(thing(), store)
    assert len(cloud.objects) == 1


async def test_checks_the_path_of_again(cloud: Cloud, store: Store) -> None:
    """A kind that is found by its own inputs is replaced when they change."""

    def program(path: str) -> Any:
        async def body(_app: Any) -> None:
            await Again("a", path=path)

        return body

    await deploy(program("one"), store)
    cloud.forget()
    await deploy(program("two"), store)
    assert cloud.changes() == ["create a", "delete a"]
    assert [made.name for made in cloud.objects.values()] == ["two"]


async def test_a_failure_names_the_resource_and_the_action(cloud: Cloud, store: Store) -> None:
    """The error of a run says which resource failed doing what, and why; the cause is kept."""
    cloud.fail("create", "a", refused("quota exceeded"))
    with pytest.raises(ExceptionGroup) as caught:
        await deploy(thing(), store)
    (error,) = caught.value.exceptions
    assert isinstance(error, ResourceFailed)
    assert (error.fqn, error.action) == ("app/dev/a", "create")
    assert "quota exceeded" in str(error)
    assert error.__cause__ is not None
    assert store.records() == {}


async def test_a_composite_that_awaits_itself_is_told(cloud: Cloud, store: Store) -> None:
    """In its own `declare`, or in a scope within: an error, where it would wait for ever."""

    class Selfish(Resource, kind="t::Selfish"):
        deep: bool = False

        async def declare(self) -> None:
            if self.deep:
                async with alchemy.run("inner"):
                    await self
            await self

    for deep in (False, True):

        async def program(_app: Any, *, deep: bool = deep) -> None:
            await Selfish("s", deep=deep)

        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(deploy(program, store), 60)
        assert "would wait for itself" in errors_of(caught.value)[0]


TOLD: list[tuple[str, bool, list[str]]] = []


class Holder(Resource, kind="test::Holder", provider=f"{__name__}:HolderProvider"):
    """Keeps a word with its record."""

    word: str = prop(replace=True)


class HolderProvider(Provider[Holder]):
    """Notes what its context says of others."""

    recover = "again"

    async def create(self, ctx: Context[Holder], want: Holder) -> Holder:
        kept = sorted(data["word"] for data in ctx.kept())
        TOLD.append((want.word, ctx.declares(f"{ctx.app}/{ctx.stage}/b"), kept))
        ctx.data["word"] = want.word
        return ctx.result()

    async def delete(self, ctx: Context[Holder], have: Holder) -> None:
        """Nothing is there to be deleted."""


async def test_a_handler_learns_what_others_of_its_kind_have_kept(cloud: Cloud, store: Store) -> None:
    """Those that were replaced or are leaving included; and whether the program has declared something so far."""
    TOLD.clear()

    async def first(_app: Any) -> None:
        await Holder("a", word="one")
        await Holder("b", word="two")

    async def second(_app: Any) -> None:
        await Holder("a", word="three")
        await Thing("c")

    await deploy(first, store)
    await deploy(second, store)
    assert TOLD == [("one", False, []), ("two", True, ["one"]), ("three", False, ["one", "two"])]
