"""Finding a knot in a graph: some that wait for each other, and for nobody else. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def knots(starts: Iterable[T], waits_for: Callable[[T], Iterable[T]]) -> Iterator[list[T]]:
    """Give the strongly connected components that are reached, each after all that its members wait for.

    So the first one waits for nobody besides its own members. Costs a visit of each edge (R. Tarjan: Depth-first search
    and linear graph algorithms, 1972), without recursion.
    """
    index: dict[T, int] = {}
    lowest: dict[T, int] = {}
    stack: list[T] = []
    stacked: set[T] = set()
    for start in starts:
        if start in index:
            continue
        work: list[tuple[T, Iterator[T]]] = []

        def enter(node: T, work: list[tuple[T, Iterator[T]]] = work) -> None:
            index[node] = lowest[node] = len(index)
            stack.append(node)
            stacked.add(node)
            work.append((node, iter(waits_for(node))))

        enter(start)
        while work:
            node, following = work[-1]
            for other in following:
                if other not in index:
                    enter(other)
                    break
                if other in stacked:
                    lowest[node] = min(lowest[node], index[other])
            else:
                work.pop()
                if work:
                    above = work[-1][0]
                    lowest[above] = min(lowest[above], lowest[node])
                if lowest[node] == index[node]:
                    found: list[T] = []
                    while not found or found[-1] != node:
                        found.append(stack.pop())
                    stacked.difference_update(found)
                    yield found
