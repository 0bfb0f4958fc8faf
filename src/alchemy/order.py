"""From `seq`, `seen` and `deps` to the order of destruction. Pure.

Every resource has `seq`, the tick at which it was declared, `seen`, the tick at which the program's `await` on it
returned (or its scope was left), and `deps`, what was passed into it. A must outlive B when A is in B's deps, or
when A had been seen before B was declared: B's declaration may have used what A gave. After an edit that was cut short
that is looked up epoch by epoch; see `epochs`.

All edges apply to whole subtrees, and what is inside goes before what holds it. Ticks alone never form a
cycle (A.seq < A.seen), so the order can be computed without listing the edges: a resource may go once no
resource that is still there was declared after it was seen.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter

from alchemy.epochs import Epochs, Node, Ticks
from alchemy.knots import knots
from alchemy.names import parent

__all__ = ["Clock", "Node", "Teardown", "keeps_seq"]


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


@dataclass(slots=True, eq=False)
class _Entry:
    node: Node
    places: list[Ticks | None]
    """In each epoch."""
    waits_for: int = 0
    """How many that must go first are still there, by nesting, and the gate if that is shut."""
    held: int = 0
    """In how many epochs something is still there that was declared after it was seen."""
    holder: _Entry | None = None
    """The nearest one that it is in; waits for this one."""
    needs: list[_Gate] = field(default_factory=list["_Gate"])
    """The gates of what it was made from."""
    newest: dict[int, int] = field(default_factory=dict[int, int])
    """The last tick, by epoch, at which something in it was declared; known where there are several epochs."""

    def seen_in(self, epoch: int) -> int | None:
        """Give when it was seen in an epoch; `None` also when it was entered again then, and not left."""
        place = self.places[epoch]
        if place is None or place.seen is None:
            return None
        return None if place.carried and self.newest.get(epoch, 0) > place.seen else place.seen


@dataclass(slots=True, eq=False)
class _Gate:
    """Shut while something exists that was made from a resource or scope; nothing in that goes before it opens.

    One a name that others were made from, so that many users of a large composite cost their sum and not their
    product.
    """

    waits_for: int = 0
    blocks: list[_Entry | _Gate] = field(default_factory=list["_Entry | _Gate"])


class _Ticking:
    """What is held back by the ticks of one epoch."""

    __slots__ = ("_by_seq", "_held")

    def __init__(self, by_seq: list[tuple[int, str]], held: list[tuple[float, str]]) -> None:
        heapq.heapify(by_seq)
        heapq.heapify(held)
        self._by_seq = by_seq
        self._held = held

    def freed(self, remaining: set[str]) -> Iterator[str]:
        """Give, once, what was seen after all that remains was declared; its own `seq` never exceeds its own `seen`."""
        by_seq, held = self._by_seq, self._held
        while by_seq and by_seq[0][1] not in remaining:
            heapq.heappop(by_seq)
        newest = by_seq[0][0] if by_seq else 0
        while held and held[0][0] <= newest:
            yield heapq.heappop(held)[1]


@dataclass(slots=True, eq=False)
class _Later:
    """What was declared in an epoch after some tick: one of these, and the next of them if there is any."""

    entry: _Entry
    more: _Later | None


class _Waiting:
    """Who waits for whom, among what remains; each pair that the ticks order is not listed."""

    def __init__(self, entries: list[_Entry], gates: Iterable[_Gate], epochs: Epochs) -> None:
        self._needing: dict[_Gate, list[_Entry | _Gate]] = {}
        self._gates: dict[_Entry | _Gate, list[_Gate]] = {}
        self._inside: dict[_Entry, list[_Entry]] = {}
        for entry in entries:
            for gate in entry.needs:
                self._needing.setdefault(gate, []).append(entry)
            if entry.holder is not None:
                self._inside.setdefault(entry.holder, []).append(entry)
        for gate in gates:
            for blocked in gate.blocks:
                self._gates.setdefault(blocked, []).append(gate)
        self._later = [self._chain(entries, epochs, epoch) for epoch in range(epochs.count)]

    @staticmethod
    def _chain(entries: list[_Entry], epochs: Epochs, epoch: int) -> tuple[list[int], list[_Later]]:
        """Give the ticks of what was declared in an epoch, negative and the newest first, with those up to each."""
        made = [(-seq, entry) for entry in entries for at, seq in epochs.made(entry.node) if at == epoch]
        made.sort(key=itemgetter(0))
        chain: list[_Later] = []
        for _, entry in made:
            chain.append(_Later(entry, chain[-1] if chain else None))
        return [seq for seq, _ in made], chain

    def holds(self, entry: _Entry) -> bool:
        """Say whether something that remains is in it."""
        return entry in self._inside

    def of(self, member: _Entry | _Gate | _Later) -> Iterator[_Entry | _Gate | _Later]:
        """Give what must go, or open, before."""
        if isinstance(member, _Later):
            yield member.entry
            if member.more is not None:
                yield member.more
            return
        yield from self._gates.get(member, ())
        if isinstance(member, _Gate):
            yield from self._needing.get(member, ())
            return
        yield from self._inside.get(member, ())
        for epoch, (made, later) in enumerate(self._later):
            seen = _effective_seen(member, epoch)
            count = bisect_left(made, -seen) if seen is not None else 0
            if count:
                yield later[count - 1]


class Teardown:
    """Hand out what may be destroyed now, as what must go first is reported gone.

    Costs O(n log n) for n nodes in all, whatever the number of pairs that the ticks order; for each epoch, if runs
    were cut short.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        nodes = list(nodes)
        epochs = self._epochs = Epochs(nodes)
        self._entries = {node.fqn: _Entry(node, epochs.places(node)) for node in nodes}
        self._gates: dict[str, _Gate] = {}
        self._remaining = set(self._entries)
        self._nearest: dict[str, _Entry | None] = {}
        for entry in self._entries.values():
            self._link(entry)
        self._shut()
        if epochs.count > 1:
            self._note_newest()
        self._ticking = self._tick(epochs)
        self._free = [fqn for fqn, entry in self._entries.items() if not entry.waits_for and not entry.held]
        self._given: set[str] = set()

    def _note_newest(self) -> None:
        """Let all know when the newest was declared that is in them."""
        for entry in self._entries.values():
            for epoch, seq in self._epochs.made(entry.node):
                holder = entry.holder
                while holder is not None and holder.newest.get(epoch, 0) < seq:
                    holder.newest[epoch] = seq
                    holder = holder.holder

    def _tick(self, epochs: Epochs) -> list[_Ticking]:
        by_seq: list[list[tuple[int, str]]] = [[] for _ in range(epochs.count)]
        held: list[list[tuple[float, str]]] = [[] for _ in range(epochs.count)]
        for fqn, entry in self._entries.items():
            for epoch, seq in epochs.made(entry.node):
                by_seq[epoch].append((-seq, fqn))
            for epoch in range(epochs.count):
                seen = _effective_seen(entry, epoch)
                if seen is not None:
                    held[epoch].append((-seen, fqn))
                    entry.held += 1
        return [_Ticking(*each) for each in zip(by_seq, held, strict=True)]

    def __len__(self) -> int:
        return len(self._remaining)

    @property
    def remaining(self) -> list[str]:
        """What has not been reported gone, the newest first."""
        return sorted(self._remaining, key=lambda fqn: -self._entries[fqn].node.seq)

    def ready(self) -> list[str]:
        """Give what may go now and was not given before, the newest first."""
        for ticking in self._ticking:
            for fqn in ticking.freed(self._remaining):
                entry = self._entries[fqn]
                entry.held -= 1
                if entry.held == 0 and entry.waits_for == 0:
                    self._free.append(fqn)
        if not self._free:
            return []
        found = [fqn for fqn in self._free if fqn not in self._given]
        self._free.clear()
        self._given.update(found)
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
            elif free.held == 0:
                self._free.append(free.node.fqn)

    def unblock(self) -> str:
        """Give one more when none may go: of some that hold each other back, and are held back by nobody else.

        Names are what holds back, and not single objects: what a run was killed in the middle of, after an edit that
        turned a dependency round, says that the old object of one needs the other, and the new one of that the first.
        The newest of them goes, and never what something else is still in.
        """
        left = [self._entries[fqn] for fqn in self.remaining]
        waiting = _Waiting(left, self._gates.values(), self._epochs)
        starts: list[_Entry | _Gate | _Later] = [*left]
        for knot in knots(starts, waiting.of):
            may_go = [member.node for member in knot if isinstance(member, _Entry) and not waiting.holds(member)]
            waits = [node for node in may_go if node.fqn not in self._given]
            if waits:
                fqn = max(waits, key=lambda node: node.seq).fqn
                self._given.add(fqn)
                return fqn
        raise AssertionError("something is left, and what is left is in a knot")

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


def _effective_seen(entry: _Entry, epoch: int) -> int | None:
    """Give when it was first seen, itself or with a holder; `None`: nothing of that epoch has seen it."""
    place = entry.places[epoch]
    if place is None:
        return None
    found: int | None = None
    around: _Entry | None = entry
    while around is not None:
        seen = around.seen_in(epoch)
        if seen is not None and seen >= place.seq and (found is None or seen < found):
            found = seen
        around = around.holder
    return found


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
