"""From `seq`, `seen` and `deps` to the order of destruction. Pure.

Every resource has `seq`, the tick at which it was declared, `seen`, the tick at which the program's `await` on it
returned (or its scope was left), and `deps`, what was passed into it. A must outlive B when A is in B's deps, or
when A had been seen before B was declared: B's declaration may have used what A gave.

All edges apply to whole subtrees, and what is inside goes before what holds it. Ticks alone never form a
cycle (A.seq < A.seen), so the order can be computed without listing the edges: a resource may go once no
resource that is still there was declared after it was seen.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from alchemy.names import parent


class Clock:
    """Ticks that only grow; it continues from the largest one in state, so that runs never overlap."""

    __slots__ = ("_now",)

    def __init__(self, start: int = 0) -> None:
        self._now = start

    def tick(self) -> int:
        """Give the next tick."""
        self._now += 1
        return self._now

    def advance(self, to: int) -> None:
        """Never give a tick up to and including `to`."""
        self._now = max(self._now, to)


class Node(NamedTuple):
    """One resource or scope to be destroyed.

    Attributes:
        fqn: its name; what lies below it in the path is inside it.
        seq: when it was declared.
        seen: when it was seen; `None`: not before its holder was.
        deps: what it was made from; names that do not exist (any more) count for nothing.
    """

    fqn: str
    seq: int
    seen: int | None = None
    deps: Sequence[str] = ()


@dataclass(slots=True)
class _Entry:
    node: Node
    seen: float
    waits_for: int = 0
    """How many that must go first are still there, by nesting, and the gate if that is shut."""
    holder: _Entry | None = None
    """The nearest one that it is in; waits for this one."""
    needs: list[_Gate] = field(default_factory=list["_Gate"])
    """The gates of what it was made from."""


@dataclass(slots=True)
class _Gate:
    """Shut while something exists that was made from a resource or scope; nothing in that goes before it opens.

    One a name that others were made from, so that many users of a large composite cost their sum and not their
    product.
    """

    waits_for: int = 0
    blocks: list[_Entry | _Gate] = field(default_factory=list["_Entry | _Gate"])


class Teardown:
    """Hand out what may be destroyed now, as what must go first is reported gone.

    Costs O(n log n) for n nodes in all, whatever the number of pairs that the ticks order.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._entries = {node.fqn: _Entry(node, math.inf) for node in nodes}
        self._gates: dict[str, _Gate] = {}
        self._remaining = set(self._entries)
        self._nearest: dict[str, _Entry | None] = {}
        for entry in self._entries.values():
            self._link(entry)
        for entry in self._entries.values():
            entry.seen = _effective_seen(entry)
        self._shut()
        self._by_seq = [(-entry.node.seq, fqn) for fqn, entry in self._entries.items()]
        heapq.heapify(self._by_seq)
        self._candidates: list[tuple[float, int, str]] = []
        for fqn, entry in self._entries.items():
            if entry.waits_for == 0:
                self._push(fqn, entry)
        self._given: set[str] = set()

    def __len__(self) -> int:
        return len(self._remaining)

    @property
    def remaining(self) -> list[str]:
        """What has not been reported gone, the newest first."""
        return sorted(self._remaining, key=lambda fqn: -self._entries[fqn].node.seq)

    def ready(self) -> list[str]:
        """Give what may go now and was not given before, the newest first."""
        if not self._candidates:
            return []
        found: list[str] = []
        while self._candidates:
            fqn = self._candidates[0][2]
            entry = self._entries[fqn]
            if self._newest_other(entry) > entry.seen:
                break
            heapq.heappop(self._candidates)
            if fqn not in self._given:
                self._given.add(fqn)
                found.append(fqn)
        return sorted(found, key=lambda fqn: -self._entries[fqn].node.seq)

    def gone(self, fqn: str) -> None:
        """Take note that `fqn` exists no more."""
        self._remaining.discard(fqn)
        gone = self._entries[fqn]
        waiting: list[_Entry | _Gate] = [*gone.needs]
        if gone.holder is not None:
            waiting.append(gone.holder)
        while waiting:
            free = waiting.pop()
            free.waits_for -= 1
            if free.waits_for > 0:
                continue
            if isinstance(free, _Gate):
                waiting += free.blocks
            else:
                self._push(free.node.fqn, free)

    def unblock(self) -> str:
        """Give one more, the newest that nothing passed in holds back, when a damaged order lets none go."""
        left = [fqn for fqn in self.remaining if fqn not in self._given]
        free = next((fqn for fqn in left if self._entries[fqn].waits_for == 0), left[0])
        self._given.add(free)
        return free

    def _push(self, fqn: str, entry: _Entry) -> None:
        heapq.heappush(self._candidates, (-entry.seen, -entry.node.seq, fqn))

    def _newest_other(self, entry: _Entry) -> int:
        """Give the largest `seq` that still exists. Its own can never exceed its own `seen`."""
        while self._by_seq and self._by_seq[0][1] not in self._remaining:
            heapq.heappop(self._by_seq)
        return -self._by_seq[0][0] if self._by_seq else 0

    def _link(self, entry: _Entry) -> None:
        node = entry.node
        holder = entry.holder = self._holder(node.fqn)
        if holder is not None:
            holder.waits_for += 1
        for dep in node.deps:
            if dep in self._entries and not _inside(node.fqn, dep) and not _inside(dep, node.fqn):
                gate = self._gates.setdefault(dep, _Gate())
                gate.waits_for += 1
                entry.needs.append(gate)

    def _shut(self) -> None:
        """Let all that is inside wait for the gates around it, each for the nearest, which waits for the next."""
        for fqn, gate in self._gates.items():
            around = self._nearest_gate(parent(fqn))
            if around is not None:
                around.blocks.append(gate)
                gate.waits_for += 1
        for fqn, entry in self._entries.items():
            nearest = self._nearest_gate(fqn) if self._gates else None
            if nearest is not None:
                nearest.blocks.append(entry)
                entry.waits_for += 1

    def _nearest_gate(self, fqn: str) -> _Gate | None:
        while fqn:
            gate = self._gates.get(fqn)
            if gate is not None:
                return gate
            fqn = parent(fqn)
        return None

    def _holder(self, fqn: str) -> _Entry | None:
        """Give the nearest that it is in; looked for once for all in a scope."""
        chain = parent(fqn)
        if chain not in self._nearest:
            name = chain
            while name and name not in self._entries:
                name = parent(name)
            self._nearest[chain] = self._entries.get(name)
        return self._nearest[chain]


def _effective_seen(entry: _Entry) -> float:
    """Give when it was seen: itself, or the nearest holder that was."""
    seq = entry.node.seq
    around: _Entry | None = entry
    while around is not None:
        seen = around.node.seen
        if seen is not None and seen >= seq:
            return seen
        around = around.holder
    return math.inf


def _inside(fqn: str, holder: str) -> bool:
    return fqn == holder or fqn.startswith(holder + "/")


def keeps_seq(stored: int, *, observed: int, deps: Iterable[int]) -> bool:
    """Say whether a stored `seq` still implies what this run observed.

    Args:
        stored: from the last run.
        observed: the largest `seen` that the declaring task's lineage has observed.
        deps: the `seq` of everything passed in.
    """
    return stored > observed and all(stored > seq for seq in deps)
