"""Knots: what waits for each other, after all that it waits for."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given, settings

from alchemy.knots import knots


@given(st.lists(st.lists(st.integers(0, 7), max_size=4), min_size=8, max_size=8))
@settings(max_examples=300, deadline=None)
def test_each_knot_waits_for_itself_and_earlier_ones(edges: list[list[int]]) -> None:
    """Everything is in one knot; its members reach each other; and nothing waits for a later knot."""
    found = list(knots(range(8), lambda node: edges[node]))
    assert sorted(node for knot in found for node in knot) == list(range(8))
    done: set[int] = set()
    for knot in found:
        done |= set(knot)
        for node in knot:
            assert set(edges[node]) <= done
            assert set(knot) <= _reached(edges, node) | {node}


def _reached(edges: list[list[int]], start: int) -> set[int]:
    found: set[int] = set()
    new = [start]
    while new:
        for other in edges[new.pop()]:
            if other not in found:
                found.add(other)
                new.append(other)
    return found


def test_a_long_chain_needs_no_deep_stack() -> None:
    """A hundred thousand that wait for each other in a row, the last first."""
    last = 100_000
    found = list(knots([0], lambda node: [node + 1] if node < last else []))
    assert found[0] == [last]
    assert len(found) == last + 1
