"""Destroying: order, width, failures, dry runs, phases, tests, and scopes with a store of their own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine import world
from tests.unit.engine.test_lifecycle import errors_of
from tests.unit.engine.world import (
    Cloud,
    Named,
    Pair,
    Store,
    Thing,
    busy,
    consistent,
    deploy,
    nothing,
    refused,
    things,
)

from alchemy import alchemy
from alchemy.engine import teardown
from alchemy.engine.run import Destroyed
from alchemy.errors import ConfigurationError, DeclarationError, ResourceFailed
from alchemy.events import Notice, Planned, ResourceFinished, ResourceRetrying
from alchemy.opening import destroy_unit
from alchemy.stores import FileStore

pytestmark = pytest.mark.anyio


async def independent(_app: Any) -> None:
    """Ten things that know nothing of each other."""
    await asyncio.gather(*(Thing(f"t{n}") for n in range(10)))


async def chain(_app: Any) -> None:
    """Four things, each made from the one before."""
    needs: Any = None
    for n in range(4):
        needs = await Thing(f"c{n}", needs=needs)


# Strategies


@pytest.mark.parametrize(
    ("options", "width"),
    [
        ({"destroy_strategy": "sequential"}, 1),
        ({"destroy_strategy": "batched", "batch_size": 3}, 3),
        ({"destroy_strategy": "parallel"}, 10),
        ({"destroy_strategy": "parallel", "parallelism": 4}, 4),
        ({"destroy_strategy": "batched", "batch_size": 8, "parallelism": 2}, 2),
    ],
)
async def test_width(cloud: Cloud, store: Store, options: dict[str, Any], width: int) -> None:
    """As many deletes at a time as the strategy and the run allow, and no more."""
    await deploy(independent, store)
    cloud.forget()
    await deploy(nothing, store, **options)
    assert cloud.peak["delete"] == width
    assert cloud.objects == {}


@pytest.mark.parametrize("strategy", ["sequential", "batched", "parallel"])
async def test_every_strategy_keeps_the_order(cloud: Cloud, store: Store, strategy: str) -> None:
    """Dependents go first in each of them."""
    await deploy(chain, store)
    cloud.forget()
    await destroy_unit("app/dev", state_store=store, destroy_strategy=strategy)
    assert cloud.changes() == ["delete c3", "delete c2", "delete c1", "delete c0"]


async def test_sequential_is_in_reverse(cloud: Cloud, store: Store) -> None:
    """Also among what is independent."""
    await deploy(things(a=1, b=1, c=1), store)
    cloud.forget()
    await deploy(nothing, store)
    assert cloud.changes() == ["delete c", "delete b", "delete a"]


@pytest.mark.parametrize("parallelism", [1, 3])
async def test_creates_are_bounded(cloud: Cloud, store: Store, parallelism: int) -> None:
    """One limit for all calls of a run."""
    await deploy(independent, store, parallelism=parallelism)
    assert cloud.peak["all"] == parallelism


async def test_a_providers_own_limit(cloud: Cloud, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider may allow fewer, for creates and for deletes."""
    monkeypatch.setattr(world.ThingProvider, "concurrency", 2)
    await deploy(independent, store)
    assert cloud.peak["create"] == 2
    await deploy(nothing, store, destroy_strategy="parallel")
    assert cloud.peak["delete"] == 2


async def test_a_second_request_aborts_a_delete(cloud: Cloud, store: Store) -> None:
    """The first waits for what is being deleted; the second cuts it, and its intent says what may still exist."""
    await deploy(things(a=1, b=1), store)
    gate = cloud.hold("delete", "b")
    task = asyncio.ensure_future(destroy_unit("app/dev", state_store=store))
    await gate.entered.wait()
    for _ in range(2):
        assert not task.done()
        task.cancel()
        for _ in range(30):
            await asyncio.sleep(0)
    assert task.cancelled()
    assert {id: record.status for id, record in store.records().items()} == {"a": "created", "b": "deleting"}
    assert not store.memory.holder("app/dev")


@contextlib.contextmanager
def aborting(aborted: list[bool]) -> Iterator[None]:
    """Say whether what is inside was cancelled."""
    try:
        yield
    except asyncio.CancelledError:
        aborted.append(True)
        raise
    aborted.append(False)


class BetweenDeletes:
    """The loop as those see it who destroy; at the turn that they give others between two deletes, `then` is called."""

    def __init__(self, then: Callable[[], Awaitable[None]]) -> None:
        self._then = then

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        assert seconds == 0
        await self._then()


@pytest.mark.parametrize("strategy", ["sequential", "batched"])
async def test_aborted_between_two_deletes(
    cloud: Cloud, store: Store, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    """A second request to stop comes while nothing is being deleted: no more begins, nobody is left waiting, state
    tells exactly what is still there, and the next run destroys it.
    """

    aborted: list[bool] = []

    async def twice() -> None:
        with aborting(aborted):
            for _ in range(2):
                task.cancel()
                for _ in range(5):
                    await asyncio.sleep(0)  # the second request cancels whoever stands here

    await deploy(things(a=1, b=1, c=1), store)
    cloud.forget()
    monkeypatch.setattr(teardown, "asyncio", BetweenDeletes(twice))
    options: Any = {"destroy_strategy": strategy, "batch_size": 1}
    task = asyncio.ensure_future(destroy_unit("app/dev", state_store=store, **options))
    async with asyncio.timeout(60):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert aborted == [True]
    assert cloud.changes() == ["delete c"]
    assert {id: record.status for id, record in store.records().items()} == {"a": "created", "b": "created"}
    assert not store.memory.holder("app/dev")
    consistent(store)
    monkeypatch.setattr(teardown, "asyncio", asyncio)
    await destroy_unit("app/dev", state_store=store)
    assert (cloud.objects, store.records()) == ({}, {})


# Failures


async def test_a_failed_delete_keeps_its_record_and_what_it_needs(cloud: Cloud, store: Store) -> None:
    """The dependent stays `deleting`, what it was made from stays, everything else goes; the next run finishes."""

    async def program(app: Any) -> None:
        await chain(app)
        await Thing("apart")

    await deploy(program, store)
    cloud.forget()
    cloud.fail("delete", "c2", refused("still in use"))
    with pytest.raises(ExceptionGroup) as caught:
        await deploy(nothing, store)
    (error,) = caught.value.exceptions
    assert isinstance(error, ResourceFailed)
    assert (error.fqn, error.action) == ("app/dev/c2", "delete")
    assert {id: str(record.status) for id, record in store.records().items()} == {
        "c0": "created",
        "c1": "created",
        "c2": "deleting",
    }
    kept = [event.message for event in cloud.events if isinstance(event, Notice)]
    assert any("app/dev/c1" in message and "app/dev/c0" in message for message in kept)
    await deploy(nothing, store)
    assert cloud.objects == {}
    assert store.records() == {}


async def test_stop_at_the_first_error(cloud: Cloud, store: Store) -> None:
    """`continue_on_error=False`: nothing more is begun after a failure."""
    await deploy(things(a=1, b=1, c=1), store)
    cloud.forget()
    cloud.fail("delete", "c", refused())
    with pytest.raises(ExceptionGroup):
        await deploy(nothing, store, continue_on_error=False)
    assert cloud.changes() == ["delete c"]
    assert sorted(store.records()) == ["a", "b", "c"]


async def test_every_failure_is_listed(cloud: Cloud, store: Store) -> None:
    """All that could not be destroyed, each with its FQN."""
    await deploy(independent, store)
    for id in ("t1", "t4"):
        cloud.fail("delete", id, refused())
    with pytest.raises(ExceptionGroup) as caught:
        await deploy(nothing, store, destroy_strategy="parallel")
    assert sorted(error.fqn for error in caught.value.exceptions) == ["app/dev/t1", "app/dev/t4"]  # type: ignore[union-attr]
    assert sorted(store.records()) == ["t1", "t4"]


async def test_a_deleting_resource_that_comes_back_is_made_anew(cloud: Cloud, store: Store) -> None:
    """The delete that was begun is finished first."""
    await deploy(things(a=1), store)
    cloud.fail("delete", "a", refused())
    with pytest.raises(ExceptionGroup):
        await deploy(nothing, store)
    cloud.forget()
    await deploy(things(a=1), store)
    assert cloud.changes() == ["delete a", "create a"]
    consistent(store)


async def test_retries_wait_longer_each_time(cloud: Cloud, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exponential, jittered, and what the provider asks for counts more; none for what will not pass."""
    slept: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds:
            slept.append(round(seconds, 3))
        await real(0)

    monkeypatch.setattr("alchemy.engine.calling.random.uniform", lambda low, high: (low + high) / 2)
    monkeypatch.setattr("alchemy.engine.calling.asyncio.sleep", sleep)
    for error in (busy(), busy(), busy(retry_after=7.5)):
        cloud.fail("create", "a", error)
    await deploy(things(a=1), store, retry_delay=2.0, max_retries=3)
    assert slept == [1.5, 3.0, 7.5]
    told = [(event.attempt, event.delay) for event in cloud.events if isinstance(event, ResourceRetrying)]
    assert told == [(1, 1.5), (2, 3.0), (3, 7.5)]
    slept.clear()
    cloud.fail("update", "a", refused())
    with pytest.raises(ExceptionGroup):
        await deploy(things(a=2), store, max_retries=3)
    assert slept == []
    cloud.fail("delete", "a", busy(), times=2)
    await deploy(nothing, store, retry_delay=2.0)
    assert slept == [1.5, 3.0]


async def test_no_more_retries_than_asked_for(cloud: Cloud, store: Store) -> None:
    """After the last one the error is raised, and nothing came to be."""
    cloud.fail("create", "a", busy(), times=3)
    with pytest.raises(ExceptionGroup):
        await deploy(things(a=1), store, max_retries=2)
    assert cloud.ops("create") == ["create a"] * 3
    assert store.records() == {}


async def test_a_delete_of_a_provider_that_is_gone_is_reported(cloud: Cloud, store: Store) -> None:
    """A module that cannot be imported: that resource stays and is named, the others are destroyed."""
    await deploy(things(a=1, b=1), store)
    raw = store.memory.units["app/dev"].records
    raw["app/dev/a"] = raw["app/dev/a"].replace(b"alchemy.testing.kinds:", b"no.such.module:")
    with pytest.raises(ExceptionGroup) as caught:
        await destroy_unit("app/dev", state_store=store)
    assert "the provider 'no.such.module:ThingProvider' of app/dev/a cannot be loaded" in errors_of(caught.value)[0]
    assert list(store.records()) == ["a"]


# finalize()


async def test_a_dry_run_says_what_would_go_and_touches_nothing(cloud: Cloud, store: Store) -> None:
    """In order; the scope stays open."""
    await deploy(chain, store)
    cloud.forget()
    store.writes.clear()

    async def program(app: Any) -> list[str]:
        kept = await Thing("c0")
        names: list[str] = await app.finalize(dry_run=True)
        assert store.writes == []
        await Thing("c1", needs=kept)
        return names

    names = await deploy(program, store)
    assert names == ["app/dev/c3", "app/dev/c2", "app/dev/c1"]
    assert [event.fqn for event in cloud.events if isinstance(event, Planned)] == names
    assert cloud.ops("delete") == ["delete c3", "delete c2"]


async def test_finalize_gives_what_it_destroyed(cloud: Cloud, store: Store) -> None:
    """`app = await alchemy(…)` and `await app.finalize()`; options of its own; a second one does nothing."""
    await deploy(things(a=1, b=1), store)
    app = await alchemy("app", stage="dev", state_store=store)
    Thing("c")
    assert await app.finalize(strategy="parallel") == ["app/dev/b", "app/dev/a"]
    assert await app.finalize() == []
    assert sorted(store.records()) == ["c"]
    with pytest.raises(ConfigurationError):
        await app.finalize(strategy="all-at-once")


async def test_a_nested_scope_may_be_finalized_early(cloud: Cloud, store: Store) -> None:
    """Its orphans go at once, unless something outside needs them."""

    async def before(_app: Any) -> None:
        async with alchemy.run("inner"):
            free = await Thing("free")
            needed = await Thing("needed")
        Thing("user", needs=needed)
        assert free

    async def after(_app: Any) -> list[str]:
        async with alchemy.run("inner") as inner:
            await Thing("new")
            return await inner.finalize()

    await deploy(before, store)
    assert await deploy(after, store) == ["app/dev/inner/free"]
    assert sorted(store.records()) == ["inner/new"]
    assert cloud.ops("delete") == ["delete inner/free", "delete user", "delete inner/needed"]


async def test_registered_resources_are_no_orphans(cloud: Cloud, store: Store) -> None:
    """`register_resource` keeps what the program does not declare this time, parts and all."""

    async def before(_app: Any) -> None:
        Thing("a")
        Pair("p")
        Thing("b")

    async def after(app: Any) -> None:
        app.register_resource("a")
        app.register_resource("p")
        assert app.has_resource("p")
        assert not app.has_resource("b")

    await deploy(before, store)
    cloud.forget()
    await deploy(after, store)
    assert cloud.changes() == ["delete b"]
    assert sorted(store.records()) == ["a", "p", "p/left", "p/right"]


# alchemy.destroy


async def test_destroy_in_the_middle(cloud: Cloud, store: Store) -> None:
    """A resource or a scope may be destroyed before the end, and declared again."""

    async def program(_app: Any) -> None:
        a = await Thing("a")
        pair = Pair("p")
        async with alchemy.run("inner") as inner:
            Thing("x", needs=a)
            Thing("y")
        assert await alchemy.destroy(inner) == ["app/dev/inner/y", "app/dev/inner/x"]
        assert await alchemy.destroy(a) == ["app/dev/a"]
        await alchemy.destroy(pair)
        assert cloud.objects == {}
        assert (await Thing("a")).object_id != a.object_id

    await deploy(program, store)
    assert sorted(store.records()) == ["a"]
    consistent(store)


async def test_destroy_refuses_what_is_needed(cloud: Cloud, store: Store) -> None:
    """Something that stays depends on it: nothing is destroyed."""

    async def program(_app: Any) -> None:
        a = await Thing("a")
        await Thing("b", needs=a)
        with pytest.raises(DeclarationError, match="app/dev/a cannot be destroyed: app/dev/b depends on it"):
            await alchemy.destroy(a)

    await deploy(program, store)
    assert sorted(store.records()) == ["a", "b"]


# Phases


async def test_read_gives_what_state_holds(cloud: Cloud, store: Store) -> None:
    """No call, no write, no lease; what state does not hold is an error that names it."""

    async def program(_app: Any) -> str:
        a = await Thing("a")
        async with alchemy.run("inner"):
            await Thing("b", needs=a)
        pair = await Pair("p")
        return a.object_id + pair.ids[0]

    await deploy(program, store)
    cloud.forget()
    store.writes.clear()
    async with alchemy("app", stage="dev", state_store=store, retry_delay=0.001):  # held by somebody else
        assert await deploy(program, store, phase="read") == "id-1id-3"

        async def more(_app: Any) -> None:
            await Thing("new")

        with pytest.raises(ExceptionGroup) as caught:
            await deploy(more, store, phase="read")
        assert "app/dev/new is not in state, and this run only reads" in errors_of(caught.value)[0]
        await program(None)
    assert (cloud.calls, store.writes) == ([], [])


async def test_read_refuses_to_write(cloud: Cloud, store: Store) -> None:
    """Persisting in a run that only reads is an error, not a crash; reading works."""
    await deploy(things(a=1), store)

    async def program(app: Any) -> None:
        assert await app.get("k", 5) == 5
        await app.set("k", 1)

    with pytest.raises(DeclarationError, match="only reads"):
        await deploy(program, store, phase="read")


async def test_phase_destroy_in_code(cloud: Cloud, store: Store) -> None:
    """`async with alchemy(phase="destroy")` destroys everything; the body ends at its first declaration."""
    await deploy(chain, store)
    reached: list[str] = []

    async def program(_app: Any) -> None:
        reached.append("body")
        await Thing("c0")
        reached.append("after")

    async with alchemy("app", stage="dev", state_store=store, phase="destroy") as app:
        await program(app)
    assert reached == ["body"]
    assert cloud.objects == {}
    assert store.memory.records("") == {}


async def test_phase_destroy_with_a_nested_scope_in_code(cloud: Cloud, store: Store) -> None:
    """The same when the body begins with a nested scope, or with nothing at all."""
    await deploy(chain, store)
    async with alchemy("app", stage="dev", state_store=store, phase="destroy"):
        async with alchemy.run("inner"):
            await Thing("x")
        pytest.fail("went on")
    assert cloud.objects == {}
    async with alchemy("app", stage="dev", state_store=store, phase="destroy"):
        pass


async def test_phase_destroy_awaited(cloud: Cloud, store: Store) -> None:
    """`await alchemy(phase="destroy")` ends the program with a signal, after everything is gone."""
    await deploy(chain, store)
    with pytest.raises(Destroyed):
        await alchemy("app", stage="dev", state_store=store, phase="destroy")
    assert cloud.objects == {}


async def test_phase_destroy_reports_failures(cloud: Cloud, store: Store) -> None:
    """What could not be destroyed is raised, and kept."""
    await deploy(things(a=1), store)
    cloud.fail("delete", "a", refused())
    with pytest.raises(ExceptionGroup) as caught:
        async with alchemy("app", stage="dev", state_store=store, phase="destroy"):
            pytest.fail("went on")
    assert "app/dev/a" in errors_of(caught.value)[0]
    assert not store.memory.holder("app/dev")
    await destroy_unit("app/dev", state_store=store)
    assert cloud.objects == {}


# Test scopes


async def test_a_test_scope_leaves_nothing(cloud: Cloud, store: Store) -> None:
    """Destroyed when it is left, its record too."""
    async with alchemy.test("t", app="app", prefix="pr-1", state_store=store) as scope:
        await Thing("a")
        assert scope.chain == "app/test/pr-1-t"
    assert cloud.objects == {}
    assert store.memory.records("") == {}


@pytest.mark.parametrize("failure", ["body", "resource", "cancelled"])
async def test_a_failed_test_leaves_nothing_either(cloud: Cloud, store: Store, failure: str) -> None:
    """After a failure of whatever kind, everything is destroyed and the failure raised."""

    async def body() -> None:
        async with alchemy.test("t", app="app", state_store=store):
            await Thing("a")
            match failure:
                case "body":
                    raise ValueError("mine")
                case "resource":
                    cloud.fail("create", "b", refused())
                    await Thing("b")
                case _:
                    raise asyncio.CancelledError

    expected = {"body": ValueError, "resource": ExceptionGroup, "cancelled": asyncio.CancelledError}[failure]
    with pytest.raises(expected):
        await body()
    assert cloud.objects == {}
    assert store.memory.records("") == {}


async def test_a_test_may_keep_what_it_made(cloud: Cloud, store: Store) -> None:
    """`auto_cleanup=False` keeps it; the next run of the same test destroys what was left first."""
    async with alchemy.test("t", app="app", state_store=store, auto_cleanup=False):
        await Thing("a")
    assert len(cloud.objects) == 1
    async with alchemy.test("t", app="app", state_store=store):
        assert cloud.objects == {}
        await Thing("b")
    assert cloud.objects == {}


async def test_a_test_awaited_and_finalized_leaves_nothing(cloud: Cloud, store: Store) -> None:
    """The other form ends the same way."""
    scope = await alchemy.test("t", app="app", state_store=store)
    await Thing("a")
    await scope.finalize()
    assert cloud.objects == {}
    assert store.memory.records("") == {}


async def test_tests_of_different_ids_do_not_disturb_each_other(cloud: Cloud, store: Store) -> None:
    """Each has its own unit, and the stages theirs."""
    await deploy(things(a=1), store)
    async with alchemy.test("one", app="app", state_store=store), alchemy.test("two", app="app", state_store=store):
        await Thing("a")
        assert len(cloud.objects) == 2
    assert len(cloud.objects) == 1
    with pytest.raises(ConfigurationError, match="a test has no stage"):
        alchemy.test("t", app="app", stage="prod")


# Stores of their own


async def test_a_nested_scope_with_a_store_of_its_own(cloud: Cloud, store: Store, tmp_path: Path) -> None:
    """Its records lie there; what leaves the program is destroyed there, the whole scope as well."""
    place = tmp_path / "other"

    def program(*ids: str) -> Any:
        async def body(_app: Any) -> None:
            a = await Thing("a")
            if ids:
                async with alchemy.run("inner", state_store=str(place)):
                    for id in ids:
                        await Thing(id, needs=a)

        return body

    await deploy(program("x", "y"), store)
    assert sorted(store.records()) == ["a"]
    other = FileStore(place)
    assert await other.list("app/dev/inner") == ["x", "y"]
    cloud.forget()
    store.writes.clear()
    await deploy(program("x", "y"), store)
    assert (cloud.calls, store.writes) == ([], [])
    await deploy(program("x"), store)
    assert cloud.changes() == ["delete inner/y"]
    await deploy(program(), store)
    assert cloud.changes() == ["delete inner/y", "delete inner/x"]
    assert await other.count("app/dev") == 0
    assert await other.locks() == []
    await deploy(program("x"), store)
    await destroy_unit("app/dev", state_store=store)
    assert cloud.objects == {}


async def test_the_same_with_a_store_object(cloud: Cloud, store: Store, tmp_path: Path) -> None:
    """A store may be given as an object; two scopes may share it."""
    other = FileStore(tmp_path / "other")

    async def program(_app: Any) -> None:
        for name in ("one", "two"):
            async with alchemy.run(name, state_store=other):
                await Named("x", name=name)

    for _ in range(2):
        await deploy(program, store)
    assert cloud.changes() == ["create one/x", "create two/x"]
    await deploy(nothing, store)
    assert cloud.objects == {}


async def test_what_cannot_be_deleted_is_told_once_by_a_deploy_that_wants_it_again(cloud: Cloud, store: Store) -> None:
    """It is tried at the beginning of the run, and not again when the program declares it."""
    await deploy(things(a=1), store)
    cloud.fail("delete", "a", refused(), times=9)
    with pytest.raises(ExceptionGroup):
        await destroy_unit("app/dev", state_store=store, max_retries=0)
    cloud.forget()
    cloud.events.clear()
    with pytest.raises(ExceptionGroup) as failures:
        await deploy(things(a=1), store, max_retries=0)
    assert cloud.ops() == ["delete a"]
    assert [event.outcome for event in cloud.events if isinstance(event, ResourceFinished)] == ["failed"]
    assert len(failures.value.exceptions) == 1
