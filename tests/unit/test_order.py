"""The order of destruction: against a model that lists every edge, and by counting what it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from alchemy.names import is_within
from alchemy.order import Clock, Node, Teardown, keeps_seq


def must_go_before(nodes: Sequence[Node]) -> set[tuple[str, str]]:
    """List every pair (first, then) that the rules demand, the slow and obvious way."""
    by_name = {node.fqn: node for node in nodes}

    def seen(node: Node) -> float:
        name, found = node.fqn, math.inf
        while name:
            held = by_name.get(name)
            if held is not None and held.seen is not None and held.seen >= node.seq:
                found = min(found, held.seen)
            name = name.rpartition("/")[0]
        return found

    edges: set[tuple[str, str]] = set()
    for a in nodes:
        for b in nodes:
            if a.fqn == b.fqn:
                continue
            if is_within(b.fqn, a.fqn):
                edges.add((b.fqn, a.fqn))  # what is inside goes before what holds it
            elif is_within(a.fqn, b.fqn):
                continue
            elif seen(a) < b.seq or any(is_within(a.fqn, dep) and dep in by_name for dep in b.deps):
                edges.add((b.fqn, a.fqn))
    return edges


@st.composite
def programs(draw: st.DrawFn) -> list[Node]:
    """Make the nodes that a run would have left: ticks that grow, deps on what was there, scopes left after it all."""
    clock = Clock(draw(st.integers(0, 5)))
    nodes: list[Node] = []
    names: list[str] = []

    def scope(chain: str, depth: int) -> None:
        for n in range(draw(st.integers(0, 4))):
            kind = draw(st.sampled_from(["thing", "thing", "seen", "scope"] if depth < 3 else ["thing", "seen"]))
            fqn = f"{chain}/{'s' if kind == 'scope' else 'r'}{n}"
            seq = clock.tick()
            deps = draw(st.lists(st.sampled_from(names), max_size=3, unique=True)) if names else []
            if kind == "scope":
                scope(fqn, depth + 1)
                nodes.append(Node(fqn, seq, clock.tick() if draw(st.booleans()) else None))
            else:
                seen = clock.tick() if kind == "seen" else None
                nodes.append(Node(fqn, seq, seen, deps))
            names.append(fqn)

    scope("app/dev", 0)
    return nodes


def run_down(nodes: Sequence[Node], draw: st.DataObject | None = None) -> list[str]:
    """Destroy all, some of what is ready at a time, and give the order."""
    order = Teardown(nodes)
    gone: list[str] = []
    waiting: list[str] = []
    while len(order):
        waiting += order.ready()
        if not waiting:
            waiting.append(order.unblock())
        index = draw.draw(st.integers(0, len(waiting) - 1)) if draw is not None else 0
        name = waiting.pop(index)
        order.gone(name)
        gone.append(name)
    return gone


@given(programs(), st.data())
@settings(max_examples=300, deadline=None)
def test_no_dependency_is_missed(nodes: list[Node], data: st.DataObject) -> None:
    """Whatever finishes first, nothing goes before what must go before it; all go, each once."""
    gone = run_down(nodes, data)
    assert sorted(gone) == sorted(node.fqn for node in nodes)
    place = {name: index for index, name in enumerate(gone)}
    for first, then in must_go_before(nodes):
        assert place[first] < place[then], (first, then, gone)


@given(programs())
@settings(max_examples=200, deadline=None)
def test_nothing_waits_without_need(nodes: list[Node]) -> None:
    """What no remaining node must precede is handed out at once."""
    edges = must_go_before(nodes)
    order = Teardown(nodes)
    given_out: set[str] = set()
    left = {node.fqn for node in nodes}
    while left:
        given_out |= set(order.ready())
        free = {name for name in left if not any(first in left for first, then in edges if then == name)}
        assert given_out & left == free
        name = min(free)
        order.gone(name)
        left.discard(name)


def damaged(*history: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Node]]:
    """Make nodes whose ticks and deps no run could have written; `history` is what else is known of them."""
    nodes = st.builds(
        Node,
        st.sampled_from(["a", "b", "c", "a/x", "a/y", "b/x", "a/x/z"]),
        st.integers(0, 6),
        st.none() | st.integers(0, 6),
        st.lists(st.sampled_from(["a", "b", "c", "a/x", "b/x", "gone"]), max_size=3),
        *history,
    )
    return st.lists(nodes, unique_by=lambda node: node.fqn)


@given(damaged(), st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_order_still_ends(nodes: list[Node], data: st.DataObject) -> None:
    """Ticks and deps that no run could have written: everything is handed out all the same, each once."""
    gone = run_down(nodes, data)
    assert sorted(gone) == sorted(node.fqn for node in nodes)


@given(damaged(st.just(0), st.just(())), st.data())
@settings(max_examples=300, deadline=None)
def test_only_what_is_in_a_knot_goes_before_its_turn(nodes: list[Node], data: st.DataObject) -> None:
    """Whatever is left and should go before something else has to wait for that in turn; and nothing is left in it."""
    # what something is in, or has in it, is ordered by that alone
    nodes = [
        node._replace(deps=[dep for dep in node.deps if not is_within(node.fqn, dep) and not is_within(dep, node.fqn)])
        for node in nodes
    ]
    gone = run_down(nodes, data)
    edges = must_go_before(nodes)
    for index, name in enumerate(gone):
        left = set(gone[index:])
        before = _reached(edges, name, left)
        assert all(name in _reached(edges, other, left) for other in before), (name, before, gone)
        assert not any(is_within(other, name) for other in left - {name})


def _reached(edges: set[tuple[str, str]], name: str, left: set[str]) -> set[str]:
    """Give what of that which is left must go before a name, directly or not."""
    found: set[str] = set()
    new = {name}
    while new:
        new = {first for first, then in edges if then in new and first in left} - found
        found |= new
    return found


def test_a_knot_does_not_let_go_of_what_others_need() -> None:
    """A dependency that was turned round by a run that was killed: what holds each other back goes, in order.

    The old objects of `b` were made from `a`, the next one of `a` is made from `b`; `base` was seen before `b` was
    declared, `late` before `a` was.
    """
    nodes = [
        Node("base", 1, 2),
        Node("late", 20, 21),
        Node("a", 29, None, ["b"]),
        Node("a/0", 5, None),
        Node("b", 17, 30),
        Node("b/0", 17, None, ["a"]),
    ]
    assert run_down(nodes) == ["b/0", "a/0", "a", "late", "b", "base"]


def test_what_failed_holds_back_what_it_needs() -> None:
    """A node that is never reported gone keeps what must outlive it."""
    order = Teardown([Node("a", 1, 2), Node("b", 3, 4, ["a"]), Node("c", 1)])
    assert order.ready() == ["b", "c"]
    order.gone("c")
    assert order.ready() == []
    assert order.remaining == ["b", "a"]


def test_a_dependency_on_a_scope_is_one_on_all_in_it() -> None:
    """Edges apply to whole subtrees, deep ones too."""
    nodes = [Node("s", 1), Node("s/x", 2), Node("s/t", 3), Node("s/t/y", 4), Node("user", 5, None, ["s"])]
    order = Teardown(nodes)
    assert order.ready() == ["user"]
    order.gone("user")
    assert order.ready() == ["s/t/y", "s/x"]


class Counting(str):
    """A name that counts how often it is compared or hashed."""

    operations = 0

    def __hash__(self) -> int:
        Counting.operations += 1
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        Counting.operations += 1
        return super().__eq__(other)


def _operations(count: int, shape: str) -> int:
    names = [Counting(f"s/{n}") for n in range(count)]
    deps: list[list[str]] = [[] for _ in names]
    nodes = [Node(Counting("s"), 0)] if shape == "composite" else []
    if shape == "chain":
        deps = [[names[n - 1]] if n else [] for n in range(count)]
    nodes += [Node(name, n * 2 + 1, n * 2 + 2, deps[n]) for n, name in enumerate(names)]
    if shape == "composite":  # many that need one composite with many parts
        nodes += [Node(Counting(f"u{n}"), count * 3 + n, None, ["s"]) for n in range(count)]
    Counting.operations = 0
    run_down(nodes)
    return Counting.operations


@pytest.mark.parametrize("shape", ["flat", "chain", "composite"])
def test_twice_the_nodes_cost_about_twice_as_much(shape: str) -> None:
    """Counted, not timed: growth stays near linear, though the ticks order every pair."""
    assert _operations(800, shape) < 2.6 * _operations(400, shape)


def test_a_clock_never_gives_a_tick_twice() -> None:
    """It goes on from the largest tick in state, and never back."""
    clock = Clock(3)
    assert clock.tick() == 4
    clock.advance(10)
    clock.advance(2)
    assert clock.tick() == 11


@pytest.mark.parametrize(
    ("stored", "observed", "deps", "kept"),
    [(5, 4, [1, 2], True), (5, 5, [], False), (5, 0, [5], False), (5, 0, [], True)],
)
def test_a_stored_place_is_kept_while_it_says_enough(stored: int, observed: int, deps: list[int], kept: bool) -> None:
    """It must lie after all that was observed and all that was passed in."""
    assert keeps_seq(stored, observed=observed, deps=deps) is kept
