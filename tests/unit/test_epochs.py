"""Places that an edit has moved records from: what is kept of them, for whom they count, when they are forgotten."""

from __future__ import annotations

import pytest
from tests.unit.engine import world
from tests.unit.engine.world import Cloud, Store, Thing, deploy

from alchemy import alchemy
from alchemy.epochs import Node, move, node_of, settle, without_earlier
from alchemy.opening import destroy_unit
from alchemy.order import Teardown
from alchemy.state import Generation, Place, Record, Status

EPOCH = 10


def record(id: str = "a", seq: int = 3, seen: int | None = 4, *deps: str, status: Status = Status.CREATED) -> Record:
    """Make a record that an earlier program has left."""
    return Record(kind="t::Thing", id=id, fqn=f"u/{id}", seq=seq, seen=seen, deps=list(deps), status=status)


def order(*nodes: Node) -> list[str]:
    """Destroy all, one at a time; an order that cannot be is an error."""
    teardown = Teardown(nodes)
    gone: list[str] = []
    while ready := teardown.ready():
        for fqn in ready:
            teardown.gone(fqn)
            gone.append(fqn.removeprefix("u/"))
    assert not teardown.remaining
    return gone


def left(seq: int, seen: int | None = None, *deps: str, until: int = EPOCH, holds: bool = True) -> Place:
    """Make a place that something was moved from."""
    return Place(seq=seq, seen=seen, deps=list(deps), until=until, holds=holds)


# --- what is kept


def test_a_record_that_is_moved_keeps_its_place_once_a_run() -> None:
    """The place before the run, not those that it passes in the run."""
    moved = record(status=Status.UPDATING)
    move(moved, EPOCH, seq=12, seen=None, deps=["u/new"])
    move(moved, EPOCH, seq=12, seen=13, deps=[])
    assert (moved.seq, moved.seen, moved.deps) == (12, 13, [])
    assert moved.earlier == [left(3, 4)]
    move(moved, 20, seq=22, seen=23, deps=[])
    assert moved.earlier == [left(3, 4), left(12, 13, until=20)]


@pytest.mark.parametrize(
    ("seq", "seen", "deps"),
    [(3, 4, ["u/x"]), (3, 4, ["u/x", "u/y"])],
    ids=["the same", "more dependencies"],
)
def test_what_says_no_less_replaces_what_was_said(seq: int, seen: int, deps: list[str]) -> None:
    """Nothing is kept when the new place implies the old one."""
    moved = record("a", 3, 4, "u/x")
    move(moved, EPOCH, seq=seq, seen=seen, deps=deps)
    assert (moved.earlier, moved.deps) == ([], deps)


def test_to_be_seen_at_last_is_no_move() -> None:
    """Whatever was declared before it was seen cannot have used it."""
    moved = record(seen=None)
    move(moved, EPOCH, seq=3, seen=12, deps=[])
    assert (moved.seen, moved.earlier) == (12, [])


def test_a_dependency_is_kept_until_the_update_is_done() -> None:
    """While it is updated an object may be made from what the program before said, or this one says."""
    moved = record("a", 3, 4, "u/x", status=Status.UPDATING)
    move(moved, EPOCH, seq=3, seen=4, deps=["u/y"])
    assert moved.needs == ["u/x", "u/y"]
    settle(moved)
    assert moved.needs == ["u/y"]
    assert moved.earlier == [left(3, 4, "u/x", holds=False)]


def test_a_record_that_is_as_wanted_holds_what_it_needs_now() -> None:
    """Unchanged inputs are not made from what the program before had seen."""
    moved = record("a", 3, 4, "u/x")
    move(moved, EPOCH, seq=12, seen=None, deps=[])
    assert moved.needs == []


def test_earlier_places_are_forgotten_together_with_those_of_old_generations() -> None:
    """A copy is made, and none when there is nothing to forget."""
    old = Generation(generation=1, kind="t::Thing", provider="p", status=Status.CREATED, earlier=[left(1)])
    kept = record()
    kept.generations = [old]
    forgot = without_earlier(kept)
    assert forgot is not None
    assert (forgot.generations[0].earlier, kept.generations[0].earlier) == ([], [left(1)])
    assert without_earlier(forgot) is None


# --- for whom it counts


def test_what_was_not_reached_goes_before_what_was_moved() -> None:
    """`b` was made from `a`, which an edit has moved; the run was killed before it came to `b`."""
    a = Node("u/a", 13, 14, earlier=[left(3, 4)])
    new, b = Node("u/new", 11, 12), Node("u/b", 5, 6)
    assert order(a, b, new) == ["b", "a", "new"]
    assert order(Node("u/a", 13, 14), b, new) == ["a", "new", "b"]  # this is how it went without


def test_what_was_brought_in_the_same_run_goes_by_its_new_place() -> None:
    """The edit turned them round, and the run came to the end of both: `b` no longer needs `a`."""
    a = Node("u/a", 13, 14, earlier=[left(3, 4, holds=False)])
    b = Node("u/b", 5, 6, confirmed=EPOCH)
    assert order(a, b) == ["a", "b"]


def test_what_is_being_changed_goes_by_both_places() -> None:
    """`b` is moved behind `x`, and needed `a`; its update was not recorded as done."""
    a, x = Node("u/a", 15, 16, earlier=[left(1, 2)]), Node("u/x", 11, 12)
    b = Node("u/b", 13, None, earlier=[left(3, 4)])
    assert order(a, x, b) == ["b", "a", "x"]
    done = Node("u/b", 13, None, earlier=[left(3, 4, holds=False)])
    assert order(a, x, done) == ["a", "b", "x"]


def test_what_was_never_reached_holds_nobody_of_a_later_run() -> None:
    """`c` needs `b` needs `a` from before; `new` came before `a`. That `c` was seen before `new` says nothing."""
    a = Node("u/a", 13, 14, earlier=[left(1, 2)])
    b, c, new = Node("u/b", 3, None, ["u/a"]), Node("u/c", 5, 6, ["u/b"]), Node("u/new", 11, 12)
    assert order(a, b, c, new) == ["c", "b", "a", "new"]


def test_two_runs_cut_short() -> None:
    """`b` was brought in the first and not reached in the second; `c` was reached in neither."""
    a = Node("u/a", 23, 24, earlier=[left(1, 2, holds=False), left(13, 14, until=20, holds=False)])
    b = Node("u/b", 15, 16, earlier=[left(3, 4, holds=False)])
    c = Node("u/c", 5, 6)
    assert order(a, b, c) == ["c", "b", "a"] or order(a, b, c) == ["b", "c", "a"]


def test_what_is_inside_counts_as_seen_when_its_scope_was_left() -> None:
    """`r` was declared when the scope had been left; that `x` was awaited by itself later changes nothing."""
    scope, x, r = Node("u/s", 1, 3), Node("u/s/x", 2, 6), Node("u/r", 4, 5)
    assert order(scope, x, r) == ["r", "s/x", "s"]


def test_a_node_names_what_its_object_may_be_made_from() -> None:
    """Of the earlier places only those that hold still."""
    moved = record("a", 12, None, "u/z", status=Status.UPDATING)
    moved.earlier = [left(1, 2, "u/x", holds=False), left(3, 4, "u/y")]
    assert node_of("u/a", moved).deps == ["u/y", "u/z"]


# --- in runs


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio."""
    return "asyncio"


async def two(first: str, *ids: str) -> None:
    """Declare resources, each made from all that were seen before."""
    seen: list[str] = []
    for id in (first, *ids):
        seen.append((await Thing(id, tags={"saw": list(seen)})).object_id)


@pytest.mark.anyio
async def test_an_edit_is_remembered_until_a_run_of_it_ends_well() -> None:
    """Cut short it leaves the earlier place; done, it leaves none, and the next run writes nothing."""
    cloud: Cloud = world.reset()
    store = Store()
    await deploy(lambda _app: two("a", "b"), store)
    cloud.fail("update", "b", world.refused())
    with pytest.raises(ExceptionGroup):
        await deploy(lambda _app: two("new", "a", "b"), store)
    before = store.records()["a"]
    assert [place.holds for place in before.earlier] == [False]
    assert [place.holds for place in store.records()["b"].earlier] == [True]

    await deploy(lambda _app: two("new", "a", "b"), store)
    assert [found.earlier for found in store.records().values()] == [[], [], []]
    store.writes.clear()
    await deploy(lambda _app: two("new", "a", "b"), store)
    assert store.writes == []


@pytest.mark.anyio
async def test_what_was_kept_is_confirmed_when_something_is_moved_behind_it() -> None:
    """`a` and `b` change places, and it fails then: `b` no longer needs `a`, and goes after it."""
    cloud: Cloud = world.reset()
    store = Store()
    await deploy(lambda _app: two("a", "b"), store)
    cloud.fail("create", "c", world.refused())
    with pytest.raises(ExceptionGroup):
        await deploy(lambda _app: two("b", "a", "c"), store)
    found = store.records()
    assert found["b"].confirmed > found["b"].seq
    cloud.forget()
    await destroy_unit("app/dev", state_store=store, destroy_strategy="parallel")
    assert cloud.ops("delete") == ["delete a", "delete b"]
    assert cloud.misplaced == []


@pytest.mark.anyio
async def test_a_value_from_a_scope_that_was_left_is_there_until_its_users_are_gone() -> None:
    """Something in the scope is awaited only later: it still outlives what was declared in between."""
    cloud: Cloud = world.reset()
    store = Store()

    async def program(_app: object) -> None:
        async with alchemy.run("s"):
            inside = Thing("inside")
        await Thing("user")
        await inside

    await deploy(program, store)
    cloud.forget()
    await destroy_unit("app/dev", state_store=store, destroy_strategy="parallel")
    assert cloud.ops("delete") == ["delete user", "delete s/inside"]
