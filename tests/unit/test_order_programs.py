"""Whole programs, with branches side by side: run twice they rewrite nothing; edited, they miss no dependency."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from tests.unit.engine import world
from tests.unit.engine.world import Store, Thing, deploy

from alchemy import Scope, alchemy
from alchemy.opening import destroy_unit

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True)
class Await:
    """`await Thing(id)`: its value is used by all that the task declares afterwards."""

    id: str
    pause: int = 0


@dataclass(frozen=True)
class Start:
    """`Thing(id, needs=…)`, not awaited; made from resources that the task has at hand."""

    id: str
    needs: int = 2


@dataclass(frozen=True)
class Block:
    """Statements in a scope (`scope`), a function of its own (`fn`), or side by side (`gather`).

    `things`: as many resources as there are parts, awaited by one `asyncio.gather`.
    """

    how: str
    id: str
    parts: tuple[Any, ...]


Statement = Await | Start | Block
LEAVES = ["await", "await", "start"]


@st.composite
def bodies(draw: st.DrawFn, depth: int = 0, *, ids: list[int] | None = None) -> tuple[Statement, ...]:
    """Make the statements of one body."""
    ids = [0] if ids is None else ids
    made: list[Statement] = []
    for _ in range(draw(st.integers(1, 4))):
        ids[0] += 1
        id = f"n{ids[0]}"
        kind = draw(st.sampled_from(LEAVES if depth >= 2 else [*LEAVES, "gather", "things", "scope", "fn"]))
        match kind:
            case "await":
                made.append(Await(id, draw(st.integers(0, 2))))
            case "start":
                made.append(Start(id, draw(st.integers(0, 3))))
            case "things":
                made.append(Block("things", id, (None,) * draw(st.integers(1, 3))))
            case "gather":
                parts = tuple(draw(bodies(depth + 1, ids=ids)) for _ in range(draw(st.integers(1, 3))))
                made.append(Block("gather", id, parts))
            case _:
                made.append(Block(kind, id, draw(bodies(depth + 1, ids=ids))))
    return tuple(made)


@st.composite
def edits(draw: st.DrawFn, body: tuple[Statement, ...], *, fresh: list[int] | None = None) -> tuple[Statement, ...]:
    """Change a body: leave statements out, move them, and put new ones in."""
    fresh = [0] if fresh is None else fresh
    made: list[Statement] = []
    for statement in body:
        what = draw(st.sampled_from(["keep", "keep", "keep", "drop", "new-before"]))
        if what == "drop":
            continue
        if what == "new-before":
            fresh[0] += 1
            made.append(Await(f"new{fresh[0]}"))
        if isinstance(statement, Block) and statement.how == "things":
            statement = Block("things", statement.id, statement.parts[draw(st.integers(0, 1)) :])
        elif isinstance(statement, Block) and statement.how != "gather":
            statement = Block(statement.how, statement.id, draw(edits(statement.parts, fresh=fresh)))
        elif isinstance(statement, Block):
            parts = tuple(draw(edits(part, fresh=fresh)) for part in statement.parts)
            statement = Block("gather", statement.id, parts)
        made.append(statement)
    if len(made) > 1 and draw(st.booleans()):
        index = draw(st.integers(0, len(made) - 1))
        made.append(made.pop(index))
    return tuple(made)


class Interpreter:
    """Runs a body, and keeps what each resource was declared after."""

    def __init__(self, *, by_value: bool, shape: str = "round") -> None:
        self.by_value = by_value
        self.shape = shape
        self.after: dict[str, frozenset[str]] = {}

    async def run(self, body: tuple[Statement, ...], seen: dict[str, str], at_hand: list[Thing]) -> dict[str, str]:
        """Run statements in one task; gives what the task has seen in the end, by FQN."""
        seen, at_hand = dict(seen), list(at_hand)
        for statement in body:
            match statement:
                case Await(id, pause):
                    for _ in range(pause):
                        await asyncio.sleep(0)
                    made = self.declare(id, seen, [])
                    await made
                    seen[made.fqn] = made.object_id
                    at_hand.append(made)
                case Start(id, needs):
                    at_hand.append(self.declare(id, seen, at_hand[-needs:] if needs else []))
                case Block("gather", _, parts):  # what a branch gives back is not used: that needs `depends_on`
                    await asyncio.gather(*(self.run(part, seen, at_hand) for part in parts))
                case Block("things", id, parts):
                    made_here = [self.declare(f"{id}-{n}", seen, []) for n in range(len(parts))]
                    for made in await asyncio.gather(*made_here):
                        seen[made.fqn] = made.object_id
                case Block("scope", id, parts):
                    async with alchemy.run(id, **self.options(id)):
                        inner = await self.run(parts, seen, at_hand)
                    seen.update(inner)
                case Block(_, id, parts):
                    seen.update(
                        await alchemy.run(id, partial(self._in_scope, parts, seen, at_hand), **self.options(id))
                    )
        return seen

    async def _in_scope(
        self, parts: tuple[Statement, ...], seen: dict[str, str], at_hand: list[Thing], _scope: Scope
    ) -> dict[str, str]:
        return await self.run(parts, seen, at_hand)

    def options(self, scope: str) -> dict[str, Any]:
        """Give the options of a nested scope."""
        return {}

    def declare(self, id: str, seen: dict[str, str], needs: list[Thing]) -> Thing:
        """Declare a resource that uses everything seen so far."""
        saw = {"saw": sorted(seen.values())} if self.by_value else {}
        made = Thing(id, shape=self.shape, needs=needs or None, tags=saw)
        self.after[made.fqn] = frozenset([*seen, *(one.fqn for one in needs)])
        return made


def run_program(
    body: tuple[Statement, ...], store: Store, *, by_value: bool, shape: str = "round"
) -> dict[str, frozenset[str]]:
    """Deploy a body; gives what each resource was declared after."""
    interpreter = Interpreter(by_value=by_value, shape=shape)
    asyncio.run(deploy(lambda _app: interpreter.run(body, {}, []), store))
    return interpreter.after


def destroy_and_check(after: dict[str, frozenset[str]], store: Store, strategy: str = "parallel") -> None:
    """Destroy all, and check that nothing went before what was declared after it."""
    world.cloud.calls.clear()
    asyncio.run(destroy_unit("app/dev", state_store=store, destroy_strategy=strategy, batch_size=3))
    assert world.cloud.objects == {}
    place = {call.fqn: index for index, call in enumerate(world.cloud.calls) if call.op == "delete"}
    for fqn, needs in after.items():
        for need in needs:
            if fqn in place and need in place:
                assert place[fqn] < place[need], (fqn, need, world.cloud.ops("delete"))


@SETTINGS
@given(bodies(), st.booleans())
def test_an_unchanged_program_rewrites_nothing(body: tuple[Statement, ...], by_value: bool) -> None:
    """However its branches interleave, a second and a third run write nothing."""
    world.reset()
    store = Store()
    run_program(body, store, by_value=by_value)
    for _ in range(2):
        store.writes.clear()
        world.cloud.calls.clear()
        run_program(body, store, by_value=by_value)
        assert (world.cloud.calls, store.writes) == ([], [])


STRATEGIES = st.sampled_from(["sequential", "parallel", "batched"])


@SETTINGS
@given(st.data(), st.booleans(), STRATEGIES)
def test_an_edited_program_misses_no_dependency(data: st.DataObject, by_value: bool, strategy: str) -> None:
    """After any number of edits, destroying keeps to what the last run saw."""
    world.reset()
    store = Store()
    body = data.draw(bodies())
    after = run_program(body, store, by_value=by_value)
    for edit in range(data.draw(st.integers(1, 2))):
        body = data.draw(edits(body, fresh=[100 * (edit + 1)]))
        after = run_program(body, store, by_value=by_value)
    store.writes.clear()
    run_program(body, store, by_value=by_value)
    assert store.writes == [] or not after  # an edited program settles in one run
    destroy_and_check(after, store, strategy)


@SETTINGS
@given(st.data(), STRATEGIES)
def test_what_leaves_the_program_goes_in_order(data: st.DataObject, strategy: str) -> None:
    """At the end of an edited run: no orphan goes before an orphan that was declared after it."""
    world.reset()
    store = Store()
    body = data.draw(bodies())
    after = run_program(body, store, by_value=True)
    edited = data.draw(edits(body))
    world.cloud.calls.clear()
    interpreter = Interpreter(by_value=True)
    options: Any = {"destroy_strategy": strategy, "batch_size": 2}
    asyncio.run(deploy(lambda _app: interpreter.run(edited, {}, []), store, **options))
    place = {call.fqn: index for index, call in enumerate(world.cloud.calls) if call.op == "delete"}
    for fqn, needs in after.items():
        for need in needs:
            if fqn in place and need in place:
                assert place[fqn] < place[need], (fqn, need, world.cloud.ops("delete"))
    destroy_and_check(interpreter.after, store, strategy)


@SETTINGS
@given(st.data(), st.integers(0, 60), STRATEGIES)
def test_a_killed_run_misses_no_dependency_in_the_end(data: st.DataObject, instant: int, strategy: str) -> None:
    """Killed at any store write or call, then run again: destroying keeps to what that run saw."""
    world.reset()
    store = Store()
    body = data.draw(bodies())
    run_program(body, store, by_value=True)
    edited = data.draw(edits(body))
    world.cloud.faults.crash(at=instant)
    with contextlib.suppress(BaseException):
        run_program(edited, store, by_value=True)
    store = store.after_death()
    after = run_program(edited, store, by_value=True)
    destroy_and_check(after, store, strategy)


@SETTINGS
@given(st.data(), st.lists(st.integers(0, 60), min_size=1, max_size=3), st.booleans(), STRATEGIES)
def test_killed_edits_destroyed_at_once_miss_no_dependency(
    data: st.DataObject, instants: list[int], replaces: bool, strategy: str
) -> None:
    """Edited and killed, once or again and again, then destroyed: no object goes while another one is made from it."""
    world.reset()
    store = Store()
    body = data.draw(bodies())
    run_program(body, store, by_value=True)
    for edit, instant in enumerate(instants):
        body = data.draw(edits(body, fresh=[100 * (edit + 1)]))
        shape = "square" if replaces and edit % 2 == 0 else "round"
        world.cloud.faults.crash(at=instant)
        with contextlib.suppress(BaseException):
            run_program(body, store, by_value=True, shape=shape)
        store = store.after_death()
    world.cloud.misplaced.clear()
    asyncio.run(destroy_unit("app/dev", state_store=store, destroy_strategy=strategy, batch_size=3))
    assert (world.cloud.misplaced, world.cloud.objects) == ([], {})


@SETTINGS
@given(bodies(), st.integers(0, 60), STRATEGIES)
def test_a_first_run_that_was_killed_misses_no_dependency(
    body: tuple[Statement, ...], instant: int, strategy: str
) -> None:
    """Killed while it was creating, then destroyed at once: what exists goes in order."""
    world.reset()
    store = Store()
    interpreter = Interpreter(by_value=True)
    world.cloud.faults.crash(at=instant)
    with contextlib.suppress(BaseException):
        asyncio.run(deploy(lambda _app: interpreter.run(body, {}, []), store))
    destroy_and_check(interpreter.after, store.after_death(), strategy)


def test_what_gather_waited_for_was_seen() -> None:
    """`await asyncio.gather(a, new)` counts for what the task declares next, though asyncio awaits them elsewhere."""
    world.reset()
    store = Store()

    def program(*ids: str) -> Any:
        async def body(_app: Any) -> None:
            await asyncio.gather(*(Thing(id) for id in ids))
            await Thing("last")

        return body

    asyncio.run(deploy(program("a"), store))
    asyncio.run(deploy(program("a", "new"), store))
    destroy_and_check({"app/dev/last": frozenset({"app/dev/a", "app/dev/new"})}, store)


def destroyed_after_kills(
    body: tuple[Statement, ...], *killed: tuple[tuple[Statement, ...], Literal["round", "square"], int]
) -> None:
    """Deploy a body, then others that are killed at an instant, destroy all, and see that nothing went too early."""
    world.reset()
    store = Store()
    run_program(body, store, by_value=True)
    for edited, shape, instant in killed:
        world.cloud.faults.crash(at=instant)
        with contextlib.suppress(BaseException):
            run_program(edited, store, by_value=True, shape=shape)
        store = store.after_death()
    world.cloud.misplaced.clear()
    asyncio.run(destroy_unit("app/dev", state_store=store))
    assert (world.cloud.misplaced, world.cloud.objects) == ([], {})


@pytest.mark.parametrize("instants", [(24, 23), (27, 32), (30, 26), (36, 29)])
def test_a_dependency_turned_round_by_killed_replacements_misses_none(instants: tuple[int, int]) -> None:
    """Of two things each is needed by an old object of the other, and a third by one of these: that goes after both."""

    def block(how: str, id: str, *parts: Any) -> Block:
        return Block(how, id, parts)

    rest: tuple[Statement, ...] = (Await("n11"), Start("n12", 1))
    inner = block("scope", "n7", Await("n8"), Start("n9", 1))
    new = block("fn", "n2", Await("n3"))
    first = (block("gather", "n1", (new,), (Start("n6"), inner, Start("n10"))), *rest)
    second = (block("gather", "n1", (new,), (Start("n6"), block("scope", "n7"), Start("n10"))), *rest)
    third = (block("gather", "n1", (Await("new"),), (Start("n10"), Start("n6"))),)
    destroyed_after_kills(first, (second, "square", instants[0]), (third, "round", instants[1]))


def test_a_scope_that_was_entered_again_and_not_left_holds_nothing_back() -> None:
    """What was moved to its end waits for what was made from it before, and that for nobody else in the scope."""
    last = Await("n6")
    body = (Block("scope", "n1", (Await("n2"), Await("n3"), Start("n4", 1), Await("n5"))), last)
    moved = (Block("scope", "n1", (Await("n3"), Start("n4", 1), Await("n5"), Await("n2"))), last)
    destroyed_after_kills(body, (moved, "square", 11), (moved, "round", 35))
