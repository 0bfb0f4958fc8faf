"""A scope is a nursery: nothing cuts a provider call, nothing new starts after a failure, each failure is told once."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.engine.world import Cloud, Options, Pair, Store, Thing, consistent, deploy, refused, things

from alchemy import Scope, alchemy, config
from alchemy.config import Halt
from alchemy.engine.run import Stopped
from alchemy.errors import DeclarationError, LockedError, NotStarted, ResourceFailed
from alchemy.events import Notice, ScopeEntered, ScopeLeft
from alchemy.nursery import Latch, Nursery

pytestmark = pytest.mark.anyio
HANGS = 60
"""Seconds after which what should end at once is taken to hang."""


def leaves(error: BaseException) -> list[BaseException]:
    """Give the single failures of a group."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


def fqns(error: BaseException) -> list[str]:
    """Give the FQNs of the failures in a group, sorted."""
    return sorted(leaf.fqn for leaf in leaves(error) if isinstance(leaf, ResourceFailed))


async def turns(count: int = 30) -> None:
    """Let everything run that can."""
    for _ in range(count):
        await asyncio.sleep(0)


# Nothing cuts a call


async def test_a_timeout_around_an_await_does_not_cut_the_call(cloud: Cloud, store: Store) -> None:
    """The program gives up waiting; the create finishes and is recorded."""
    gate = cloud.hold("create", "a")

    async def program(_app: Any) -> None:
        a = Thing("a")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await a
        gate.open()
        assert (await a).object_id == "id-1"

    await deploy(program, store)
    assert cloud.changes() == ["create a"]
    consistent(store)


async def test_a_failing_sibling_in_a_task_group_does_not_cut_the_call(cloud: Cloud, store: Store) -> None:
    """The user's TaskGroup cancels whoever waits, not what is waited for."""
    gate = cloud.hold("create", "a")

    async def fails() -> None:
        await gate.entered.wait()
        raise ValueError("mine")

    async def waits() -> None:
        await Thing("a")

    async def program(_app: Any) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(waits())
                group.create_task(fails())
        except* ValueError:
            gate.open()

    await deploy(program, store)
    assert store.records()["a"].status == "created"
    consistent(store)


async def test_cancellation_lets_the_running_call_finish(cloud: Cloud, store: Store) -> None:
    """First cancellation: what runs finishes and is recorded, what had not begun does not begin."""
    gate = cloud.hold("create", "a")

    async def program(_app: Any) -> None:
        a = Thing("a")
        Thing("b", needs=a)
        await a

    task = asyncio.ensure_future(deploy(program, store))
    await gate.entered.wait()
    task.cancel()
    await turns()
    assert not task.done()
    gate.open()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cloud.changes() == ["create a"]
    assert {id: str(record.status) for id, record in store.records().items()} == {"a": "created"}
    assert not store.memory.holder("app/dev")


@pytest.mark.parametrize("where", ["body", "nested", "leaving"])
async def test_a_second_cancellation_aborts(cloud: Cloud, store: Store, where: str) -> None:
    """Second cancellation: the call is cut, and its intent says what may exist."""
    gate = cloud.hold("create", "a")

    async def program(_app: Any) -> None:
        if where == "nested":
            async with alchemy.run("inner"):
                await Thing("a")
        else:
            a = Thing("a")
            if where == "body":
                await a

    task = asyncio.ensure_future(deploy(program, store))
    await gate.entered.wait()
    await turns()
    task.cancel()
    await turns()
    assert not task.done()
    task.cancel()
    await turns(60)
    assert task.done()
    assert task.cancelled()
    (record,) = store.records().values()
    assert record.status == "creating"
    assert not store.memory.holder("app/dev")


async def test_a_second_cancellation_aborts_a_composites_parts(cloud: Cloud, store: Store) -> None:
    """What runs inside a composite is cut as well."""
    gate = cloud.hold("create", "left")

    async def program(_app: Any) -> None:
        await Pair("p")

    task = asyncio.ensure_future(deploy(program, store))
    await gate.entered.wait()
    task.cancel()
    await turns()
    task.cancel()
    await turns(60)
    assert task.done()
    assert store.records()["p/left"].status == "creating"


def test_a_program_that_never_finalizes_is_not_cut(cloud: Cloud, store: Store) -> None:
    """The loop is shut down with a create under way: it finishes, is recorded, and people are told."""
    gates: list[Any] = []

    async def main() -> None:
        gate = cloud.hold("create", "a")
        gates.append(gate)
        await alchemy("app", stage="dev", state_store=store)
        Thing("a")
        await gate.entered.wait()
        asyncio.get_running_loop().call_later(0.02, gate.open)

    asyncio.run(main())
    assert store.records()["a"].status == "created"
    assert not store.memory.holder("app/dev")
    notices = [event.message for event in cloud.events if isinstance(event, Notice)]
    assert any("never finalized" in message for message in notices)
    assert cloud.ops("delete") == []


def test_a_forgotten_nested_scope_is_not_cut_either(cloud: Cloud, store: Store) -> None:
    """The same for a call under way inside a nested scope that a helper task holds open."""

    async def helper(opened: asyncio.Event) -> None:
        async with alchemy.run("inner"):
            Thing("a")
            opened.set()
            await asyncio.Event().wait()

    async def main() -> None:
        gate = cloud.hold("create", "a")
        await alchemy("app", stage="dev", state_store=store)
        task = asyncio.ensure_future(helper(asyncio.Event()))
        await gate.entered.wait()
        asyncio.get_running_loop().call_later(0.02, gate.open)
        assert not task.done()

    asyncio.run(main())
    assert store.records()["inner/a"].status == "created"
    assert not store.memory.holder("app/dev")


def test_nothing_is_destroyed_when_nobody_finalizes(cloud: Cloud, store: Store) -> None:
    """Orphans stay when the program forgot to finalize."""

    async def main() -> None:
        await alchemy("app", stage="dev", state_store=store)
        await Thing("b")

    asyncio.run(deploy(things(a=1), store))
    asyncio.run(main())
    assert sorted(store.records()) == ["a", "b"]


# Failures


async def test_a_failure_is_told_once(cloud: Cloud, store: Store) -> None:
    """A failure awaited in the body is once in what is raised."""
    cloud.fail("create", "a", refused())

    async def program(_app: Any) -> None:
        await Thing("a")

    with pytest.raises(ExceptionGroup) as caught:
        await deploy(program, store)
    assert fqns(caught.value) == ["app/dev/a"]


async def test_all_failures_are_raised_together(cloud: Cloud, store: Store) -> None:
    """Several failures are one group, each with its FQN, also from nested scopes."""
    for id in ("a", "b", "c"):
        cloud.fail("create", id, refused())

    async def program(_app: Any) -> None:
        a = Thing("a")
        async with alchemy.run("inner"):
            Thing("b")
            Thing("c")
        await a

    with pytest.raises(ExceptionGroup) as caught:
        await deploy(program, store)
    assert fqns(caught.value) == ["app/dev/a", "app/dev/inner/b", "app/dev/inner/c"]


async def test_a_caught_failure_is_not_raised_again_and_nothing_is_destroyed(cloud: Cloud, store: Store) -> None:
    """The program dealt with it: the run ends well, but an incomplete run destroys no orphan."""
    await deploy(things(orphan=1), store)
    cloud.fail("create", "a", refused())

    async def program(_app: Any) -> str:
        with pytest.raises(ResourceFailed):
            await Thing("a")
        return (await Thing("b")).object_id

    assert await deploy(program, store)
    assert cloud.ops("delete") == []
    assert sorted(store.records()) == ["b", "orphan"]


async def test_a_failure_that_nobody_awaits_is_raised(cloud: Cloud, store: Store) -> None:
    """A forgotten await is no forgotten failure."""
    await deploy(things(orphan=1), store)
    cloud.fail("create", "a", refused())

    async def program(_app: Any) -> None:
        Thing("a")

    with pytest.raises(ExceptionGroup) as caught:
        await deploy(program, store)
    assert fqns(caught.value) == ["app/dev/a"]
    assert cloud.ops("delete") == []


async def test_the_bodys_own_error_is_raised_as_it_is(cloud: Cloud, store: Store) -> None:
    """A plain error of the program is not wrapped; what had begun has ended."""

    async def program(_app: Any) -> None:
        await Thing("a")
        Thing("b")
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await deploy(program, store)
    assert cloud.changes() == ["create a"]
    consistent(store)


async def test_an_error_of_the_body_and_a_failure_come_together(cloud: Cloud, store: Store) -> None:
    """Neither hides the other."""
    cloud.fail("create", "a", refused())
    gate = cloud.hold("create", "a")

    async def program(_app: Any) -> None:
        Thing("a")
        await gate.entered.wait()
        gate.open()
        raise ValueError("mine")

    with pytest.raises(ExceptionGroup) as caught:
        await deploy(program, store)
    assert {type(leaf) for leaf in leaves(caught.value)} == {ValueError, ResourceFailed}


@pytest.mark.parametrize("parallelism", [1, 32])
@pytest.mark.parametrize("how", ["siblings", "gather", "gather-exceptions", "nested", "functions", "un-awaited"])
async def test_after_a_failure_nothing_new_starts(cloud: Cloud, store: Store, parallelism: int, how: str) -> None:
    """What waits when something fails is not begun, and nothing waits for ever."""
    cloud.fail("create", "bad", refused())

    async def chain(name: str) -> None:
        first = await Thing(f"{name}-1")
        await Thing(f"{name}-2", needs=first)

    async def program(_app: Any) -> None:
        bad = Thing("bad")
        after = Thing("after", needs=bad)
        match how:
            case "siblings":
                await bad
                Thing("late")
            case "gather":
                await asyncio.gather(bad, after, Thing("x"))
            case "gather-exceptions":
                await asyncio.gather(bad, after, return_exceptions=True)
                await asyncio.gather(chain("p"), chain("q"), return_exceptions=True)
            case "nested":
                async with alchemy.run("inner"):
                    await after
            case "functions":
                one, two = alchemy.run("one", lambda: chain("p")), alchemy.run("two", lambda: chain("q"))
                await asyncio.gather(one, two, bad)
            case _:
                pass

    async with asyncio.timeout(HANGS):
        if how == "gather-exceptions":
            await deploy(program, store, parallelism=parallelism)
        else:
            with pytest.raises(ExceptionGroup) as caught:
                await deploy(program, store, parallelism=parallelism)
            assert fqns(caught.value) == ["app/dev/bad"]
    assert "create after" not in cloud.changes()
    assert "create late" not in cloud.changes()
    consistent(store)
    await deploy(program, store) if how != "siblings" else None
    consistent(store)


async def test_what_a_failure_holds_back_says_why(cloud: Cloud, store: Store) -> None:
    """A dependent's own error names what it was waiting for, and carries the cause."""
    cloud.fail("create", "bad", refused("quota"))
    found: list[BaseException] = []

    async def program(_app: Any) -> None:
        bad = Thing("bad")
        after = Thing("after", needs=bad)
        with contextlib.suppress(ResourceFailed):
            await bad
        try:
            await after
        except NotStarted as error:
            found.append(error)

    await deploy(program, store)
    assert "app/dev/bad, which it needs, failed" in str(found[0])
    assert isinstance(found[0].__cause__, ResourceFailed)


async def test_a_forgotten_await_is_created_all_the_same(cloud: Cloud, store: Store) -> None:
    """Leaving the scope waits for what was started in it."""

    async def program(_app: Any) -> None:
        Thing("a")
        alchemy.run("fn", lambda: Thing("b"))
        async with alchemy.run("inner"):
            Thing("c")

    await deploy(program, store)
    assert sorted(store.records()) == ["a", "fn/b", "inner/c"]


async def test_a_bare_run_that_is_never_entered_fails(cloud: Cloud, store: Store) -> None:
    """It fails before any orphan is deleted."""
    await deploy(things(orphan=1), store)

    async def program(_app: Any) -> None:
        alchemy.run("forgotten")

    with pytest.raises(DeclarationError, match=r"alchemy\.run\('forgotten'\) in app/dev was never entered"):
        await deploy(program, store)
    assert cloud.ops("delete") == []


# Where a declaration goes


async def test_the_scope_is_not_lost_through_wait_for(cloud: Cloud, store: Store) -> None:
    """`await asyncio.wait_for(alchemy(...))` opens the scope for the task that called it."""
    app = await asyncio.wait_for(alchemy("app", stage="dev", state_store=store), HANGS)
    await Thing("a")
    await app.finalize()
    assert sorted(store.records()) == ["a"]


async def test_two_applications_opened_side_by_side(cloud: Cloud) -> None:
    """`gather(alchemy(a), alchemy(b))`: both are open, and `scope=` says which is meant."""
    stores = Store(), Store()
    one, two = await asyncio.gather(*(alchemy("app", stage=f"s{n}", state_store=s) for n, s in enumerate(stores)))
    await asyncio.gather(Thing("a", scope=one), Thing("b", scope=two))
    await two.finalize()
    await Thing("c")  # the nearest open one
    await one.finalize()
    assert sorted(stores[0].memory.records("app/s0/a")) == ["app/s0/a"]
    assert sorted(stores[1].memory.records("app/s1/b")) == ["app/s1/b"]


async def test_helper_tasks_declare_in_the_scope_that_they_were_started_in(cloud: Cloud, store: Store) -> None:
    """A task takes its scope along; one that opens a scope does not open it for others."""

    async def inside(name: str) -> None:
        async with alchemy.run(name):
            await asyncio.sleep(0)
            Thing("x")

    async def program(_app: Any) -> None:
        await asyncio.gather(inside("p"), inside("q"))
        Thing("x")

    await deploy(program, store)
    assert sorted(store.records()) == ["p/x", "q/x", "x"]


async def test_a_scope_held_by_an_async_generator(cloud: Cloud, store: Store) -> None:
    """A fixture-like generator opens the scope; its user declares in it, and another task may close it."""

    async def fixture() -> AsyncIterator[Scope]:
        async with alchemy("app", stage="dev", state_store=store) as app:
            yield app

    held = fixture()
    await anext(held)
    Thing("a")

    async def close() -> None:
        with pytest.raises(StopAsyncIteration):
            await anext(held)

    await asyncio.ensure_future(close())
    assert sorted(store.records()) == ["a"]


async def test_awaiting_after_the_end_still_gives_the_value(cloud: Cloud, store: Store) -> None:
    """Outputs can be read when the scope is left, without another write."""
    async with alchemy("app", stage="dev", state_store=store):
        a = Thing("a")
    store.writes.clear()
    assert (await a).object_id == "id-1"
    assert store.writes == []


# Mistakes


def test_constructing_without_a_loop() -> None:
    """Outside any coroutine there is no scope to declare in."""
    with pytest.raises(DeclarationError, match="not inside a scope"):
        Thing("a")
    with pytest.raises(DeclarationError, match=r"alchemy\('app'\) needs a running event loop"):
        alchemy("app")


async def test_constructing_after_the_end(cloud: Cloud, store: Store) -> None:
    """A finalized scope takes nothing more."""
    app = await alchemy("app", stage="dev", state_store=store)
    await app.finalize()
    with pytest.raises(DeclarationError, match="app/dev is finalized already"):
        Thing("a")
    with pytest.raises(DeclarationError, match="app/dev is finalized already"):
        Thing("a", scope=app)
    assert await app.finalize() == []


async def test_constructing_in_another_thread(cloud: Cloud, store: Store) -> None:
    """Declaring off the scope's loop is an error that says so."""
    caught: list[BaseException] = []

    async def program(app: Any) -> None:
        def off_loop() -> None:
            try:
                Thing("a", scope=app)
            except DeclarationError as error:
                caught.append(error)

        thread = threading.Thread(target=off_loop)
        thread.start()
        thread.join()

    await deploy(program, store)
    assert "another thread or event loop" in str(caught[0])


async def test_containers_are_copied_when_declared(cloud: Cloud, store: Store) -> None:
    """Changing a mapping that was passed changes nothing: two resources cannot be tied in a knot that way."""

    async def program(_app: Any) -> None:
        tags: dict[str, Any] = {"n": [1]}
        a = Thing("a", tags=tags)
        tags["b"] = Thing("b", needs=a)
        tags["n"].append(2)
        assert a.tags == {"n": [1]}

    await deploy(program, store)
    assert store.records()["a"].props["tags"] == {"n": [1]}


class Knot(Pair, kind="t::Knot"):
    """A composite whose part needs the composite, or what waits for it."""

    peers: Any = None

    async def declare(self) -> dict[str, Any]:
        Thing("part", needs=LATER[self.id]())
        return {"ids": []}


LATER: dict[str, Any] = {}


@pytest.mark.parametrize("far", [False, True])
async def test_a_cycle_is_named(cloud: Cloud, store: Store, far: bool) -> None:
    """A part that waits for its own composite, directly or through another resource, is an error that says so."""

    async def program(_app: Any) -> None:
        knot = Knot("knot")
        outside = Thing("outside", needs=knot)
        LATER["knot"] = lambda: outside if far else knot

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(HANGS):
            await deploy(program, store)
    text = " ".join(str(leaf) for leaf in leaves(caught.value))
    assert "app/dev/knot/part" in text
    assert "cycle" in text


async def test_a_failed_opening_is_told_to_all_who_wait(cloud: Cloud, store: Store) -> None:
    """Somebody else holds the stage: whatever was declared meanwhile fails too, and nothing hangs."""
    async with alchemy("app", stage="dev", state_store=store):
        opening = alchemy("app", stage="dev", state_store=store, lock_timeout=0)
        a = Thing("a")
        with pytest.raises(LockedError):
            await a
        with pytest.raises(LockedError):
            await opening


async def test_a_scope_that_state_knows_as_a_resource_is_refused(cloud: Cloud, store: Store) -> None:
    """Declared before the stage is open or after: an error that names it, and no hang."""
    await deploy(things(x=1), store)

    async def late(_app: Any) -> None:
        async with alchemy.run("x"):
            pass

    with pytest.raises(DeclarationError, match="the scope app/dev/x cannot be opened"):
        await deploy(late, store)
    opening = alchemy("app", stage="dev", state_store=store)
    nested = alchemy.run("x", asyncio.Event().wait)
    async with asyncio.timeout(HANGS):
        app = await opening
        with pytest.raises(DeclarationError, match="the scope app/dev/x cannot be opened"):
            await nested
        await app.finalize()
    assert sorted(store.records()) == ["x"]


# The parts


async def test_a_latch_is_for_many(cloud: Cloud) -> None:
    """Cancelling one waiter harms neither the others nor the latch."""
    latch = Latch()
    first, second = asyncio.ensure_future(latch.wait()), asyncio.ensure_future(latch.wait())
    await turns(2)
    assert latch.awaited
    first.cancel()
    await turns(2)
    latch.set()
    await second
    await latch.wait()
    assert latch.done
    assert not latch.awaited


async def test_a_nursery_keeps_its_tasks_from_the_loops_own_list(cloud: Cloud) -> None:
    """What runs is not among the tasks that a loop cancels when it shuts down, nor lost to the collector."""
    nursery = Nursery(lambda: None)
    event = asyncio.Event()
    ended: list[int] = []

    async def work() -> None:
        await event.wait()
        ended.append(1)

    task = nursery.start(work())
    assert task not in asyncio.all_tasks()
    del task
    gc.collect()
    await turns(2)
    event.set()
    await nursery.join()
    assert ended == [1]


async def test_depends_on_what_failed_elsewhere(cloud: Cloud, store: Store) -> None:
    """`depends_on` holds back like a value."""
    cloud.fail("create", "a", refused())

    async def program(_app: Any) -> None:
        a = Thing("a")
        Thing("b", options=Options(depends_on=[a]))

    with pytest.raises(ExceptionGroup) as caught:
        await deploy(program, store)
    assert fqns(caught.value) == ["app/dev/a"]
    assert cloud.changes() == ["create a"]


def test_every_event_is_an_event(cloud: Cloud, store: Store) -> None:
    """Scopes that are entered are left, also in a run that changes nothing."""

    async def program(_app: Any) -> None:
        async with alchemy.run("inner"):
            await Thing("a")
        await alchemy.run("fn", lambda: Thing("b"))

    for _ in range(2):
        cloud.forget()
        asyncio.run(deploy(program, store))
        kinds = [(e.type, e.fqn) for e in cloud.events if isinstance(e, ScopeEntered | ScopeLeft)]
        assert sorted(kinds) == [
            ("scope.entered", "app/dev/fn"),
            ("scope.entered", "app/dev/inner"),
            ("scope.left", "app/dev/fn"),
            ("scope.left", "app/dev/inner"),
        ]


@pytest.mark.parametrize("how", ["with", "function"])
async def test_a_timeout_while_a_nested_scope_is_left_stops_only_that_scope(
    cloud: Cloud, store: Store, how: str
) -> None:
    """What runs in it ends and is recorded, what waited there does not begin; the program goes on elsewhere."""
    gate = cloud.hold("create", "slow")

    async def inner() -> None:
        slow = Thing("slow")
        Thing("after", needs=slow)

    async def program(_app: Any) -> None:
        timed_out = asyncio.timeout(None)

        async def body() -> None:
            async with timed_out:
                if how == "with":
                    async with alchemy.run("s"):
                        await inner()
                else:
                    await alchemy.run("s", inner)

        task = asyncio.ensure_future(body())
        await gate.entered.wait()
        timed_out.reschedule(asyncio.get_running_loop().time())
        while not timed_out.expired():
            await asyncio.sleep(0)
        gate.open()
        with pytest.raises(TimeoutError):
            await task
        await Thing("elsewhere")

    await deploy(program, store)
    expected = {"s/slow", "elsewhere"} | ({"s/after"} if how == "function" else set())
    assert set(store.records()) == expected
    consistent(store)


async def test_a_request_to_stop_from_the_command_line_holds_everywhere(
    cloud: Cloud, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in other branches, while a nested scope is being left."""
    halt = Halt()
    launch = config.launch.get()
    assert launch is not None
    token = config.launch.set(replace(launch, halt=halt))
    gate = cloud.hold("create", "slow")

    async def program(_app: Any) -> None:
        async with alchemy.run("s"):
            Thing("slow")

    async def other(_app: Any) -> None:
        async def branch() -> None:
            await gate.entered.wait()
            halt.asked = True
            Thing("late")
            gate.open()

        await asyncio.gather(program(_app), branch())

    try:
        with pytest.raises(Stopped):
            await deploy(other, store)
    finally:
        config.launch.reset(token)
    assert set(store.records()) == {"s/slow"}
