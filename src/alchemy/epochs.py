"""Which place in the order holds for whom, when edits of a program were cut short. Pure.

A run of an edited program moves records to other places, one after the other. Cut short, it leaves some where the
program before had them and some where the new one wants them, and the ticks of the one say nothing about those of the
other: what was moved has been seen after all that was not, though that may be made from it.

So a record that is moved keeps the place it had, until a run ends well. The beginning of each run that moved something
ends an epoch. What an object is made from is decided by the last epoch in which it was brought to what the program
said, and while it is being changed by those before as well; and what it was made from is looked up as it stood in that
very epoch. Within an epoch the ticks form no cycle; what was brought to its place in one needs nothing that was not.

What a run left at its place holds for its epoch as well. That need not be noted for what comes before all that was
moved; the others are confirmed: `Record.confirmed` becomes the run's beginning when their turn has come and gone.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from alchemy.state import STABLE, Generation, Place, Record, needs_of


class Node(NamedTuple):
    """One resource or scope to be destroyed.

    Attributes:
        fqn: its name; what lies below it in the path is inside it.
        seq: when it was declared.
        seen: when it was seen; `None`: not before its holder was.
        deps: what it was made from; names that do not exist (any more) count for nothing.
        confirmed, earlier: as in `Record`.
    """

    fqn: str
    seq: int
    seen: int | None = None
    deps: Sequence[str] = ()
    confirmed: int = 0
    earlier: Sequence[Place] = ()


class Ticks(NamedTuple):
    """When something was declared and seen, by one of its places.

    `carried`: that is from an earlier epoch; in the one that is asked for it is only known that nothing else is known.
    """

    seq: int
    seen: int | None
    carried: bool = False


def move(record: Record, epoch: int, *, seq: int, seen: int | None, deps: Sequence[str]) -> None:
    """Give a record its place in this run's program; the one it had before this run stays with it.

    Args:
        epoch: the tick at which this run began.
    """
    mine = record.seq > epoch or (record.earlier and record.earlier[-1].until == epoch)
    says_less = _is_moved(Ticks(record.seq, record.seen), Ticks(seq, seen)) or not set(record.deps) <= set(deps)
    if says_less and not mine and record.seq:
        left = Place(seq=record.seq, seen=record.seen, deps=record.deps, confirmed=record.confirmed, until=epoch)
        record.earlier = [*record.earlier, left]
    record.seq, record.seen, record.deps = seq, seen, list(deps)
    if record.status in STABLE:
        settle(record)


def frontier(before: Record | Place, seq: int) -> int:
    """Give the tick from which on others may have been made from what is moved to `seq`: they have to be confirmed.

    What is only seen later, because something was added to what is inside, was complete for nobody before it was seen.
    """
    return before.seq if before.seq != seq or before.seen is None else before.seen


def settle(record: Record) -> None:
    """Take note that the object is as its place says: it is not made from what earlier ones say any more."""
    if any(place.holds for place in record.earlier):
        record.earlier = [msgspec.structs.replace(place, holds=False) for place in record.earlier]


def without_earlier(record: Record) -> Record | None:
    """Give a copy that knows only its place of today; `None`: it is so already."""
    if not record.earlier and not any(old.earlier for old in record.generations):
        return None
    old = [msgspec.structs.replace(generation, earlier=[]) for generation in record.generations]
    return msgspec.structs.replace(record, earlier=[], generations=old)


class _Spell(NamedTuple):
    """A place, and the first and the last epoch of which it is known that it held."""

    ticks: Ticks
    first: int
    last: int
    holds: bool


class Epochs:
    """The epochs that some records remember, numbered from 0.

    Attributes:
        count: how many; one, when no run was cut short since the last that ended well.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        pairs = [pair for node in nodes if node.earlier for pair in _pairs(node)]
        moved = [(before, after) for before, after in pairs if _is_moved(_ticks(before), _ticks(after))]
        self._ends = sorted({before.until for before, _ in moved})
        self.count = len(self._ends) + 1
        self._lowest: list[float] = [math.inf] * self.count
        """Of each epoch: see `frontier`."""
        for before, after in moved:
            epoch = self._at(before.until)
            self._lowest[epoch] = min(self._lowest[epoch], frontier(before, after.seq))

    def places(self, node: Node) -> list[Ticks | None]:
        """Give the place that a node had in each epoch; `None`: nothing of that epoch has seen it."""
        found: list[Ticks | None] = [None] * self.count
        spells = self._spells(node)
        for spell, following in zip(spells, [*(each.first for each in spells[1:]), self.count], strict=True):
            lowest = math.inf
            for epoch in range(spell.first, following):
                if epoch > spell.last:
                    lowest = min(lowest, self._lowest[epoch])
                if spell.ticks.seq >= lowest:
                    break
                found[epoch] = spell.ticks if epoch <= spell.last else spell.ticks._replace(carried=True)
        return found

    def made(self, node: Node) -> list[tuple[int, int]]:
        """Give the epochs that decide what a node is, or may be, made from, each with when it was declared in it."""
        return [(spell.last, spell.ticks.seq) for spell in self._spells(node) if spell.holds]

    def _at(self, tick: int) -> int:
        return bisect_right(self._ends, tick)

    def _spells(self, node: Node) -> list[_Spell]:
        found: list[_Spell] = []
        first = self._at((node.earlier[0] if node.earlier else node).seq)
        every: list[Place | Node] = [*node.earlier, node]
        for place in every:
            ticks, last = _ticks(place), max(first, self._at(place.confirmed))
            holds = isinstance(place, Node) or place.holds
            if found and not _is_moved(found[-1].ticks, ticks):
                same = found.pop()
                first, holds = same.first, same.holds or holds
            found.append(_Spell(ticks, first, last, holds))
            if isinstance(place, Place):
                first = self._at(place.until)
        return found


def node_of(name: str, of: Record | Generation) -> Node:
    """Give what decides when an object, or a scope, may be destroyed."""
    if not of.earlier:
        return Node(name, of.seq, of.seen, of.deps, of.confirmed)
    return Node(name, of.seq, of.seen, needs_of(of), of.confirmed, of.earlier)


def _ticks(place: Place | Node) -> Ticks:
    return Ticks(place.seq, place.seen)


def _is_moved(before: Ticks, after: Ticks) -> bool:
    """Say whether others may have to know of both; to be seen at last changes nothing for what was declared before."""
    return before.seq != after.seq or (before.seen is not None and before.seen != after.seen)


def _pairs(node: Node) -> Iterable[tuple[Place, Place | Node]]:
    return zip(node.earlier, (*node.earlier[1:], node), strict=True)
