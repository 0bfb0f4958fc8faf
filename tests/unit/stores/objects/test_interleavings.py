"""Takeover against writes in every order of their requests: the real algorithm over a bucket in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.unit.stores.objects.scripted import Objects, ScriptedBucket, Turns, explore

from alchemy.errors import LeaseLost
from alchemy.ports import Lease
from alchemy.stores.backend import Blocked, Commit, Taken, Unreachable
from alchemy.stores.objects.backend import ObjectBackend
from alchemy.testing.contract import an_owner

pytestmark = pytest.mark.anyio
UNIT = "notes/prod"
OVERDUE = -1000.0
"""A ttl that is over at once."""


class Process:
    """A process with a backend of its own, and what it was told.

    Attributes:
        done: FQNs whose write was acknowledged. `refused`: those that it was told were not written.
    """

    def __init__(self, objects: Objects, gate: Callable[[], Awaitable[None]] | None = None, **how: bool) -> None:
        self.bucket = ScriptedBucket(objects, gate, **how)
        self.backend = ObjectBackend(lambda: self.bucket, url="test:", prefix="", missing="")
        self.done: list[str] = []
        self.refused: list[str] = []
        self.lease: Lease | None = None

    async def take(self, chain: str = UNIT, ttl: float = 60.0) -> Taken | Blocked:
        """Open, and try once to take a chain."""
        await self.backend.open()
        taken = await self.backend.take(chain, owner=an_owner(), ttl=ttl, nonce=f"take-{id(self)}-{len(self.done)}")
        if isinstance(taken, Taken):
            self.lease = taken.lease
        return taken

    async def write(self, *names: str, unit: str = UNIT) -> None:
        """Write records one after the other, until the lease is lost."""
        assert self.lease is not None
        for name in names:
            fqn = f"{unit}/{name}"
            try:
                while True:
                    try:
                        await self.backend.commit(self.lease, unit, Commit(f"n-{fqn}", None, (), {fqn: b"{}"}))
                        break
                    except Unreachable:  # an application's holder waits for who is just taking the unit
                        await self.backend.renew(self.lease, ttl=60)
            except LeaseLost:
                self.refused += [f"{unit}/{rest}" for rest in names[names.index(name) :]]
                return
            self.done.append(fqn)

    async def fold(self) -> None:
        """Fold the unit, unless the lease is lost."""
        assert self.lease is not None
        try:
            await self.backend.fold(self.lease, UNIT)
        except LeaseLost:
            self.refused.append("fold")


async def stored(objects: Objects, unit: str = UNIT) -> set[str]:
    """Read what is stored as a new process does."""
    process = Process(objects)
    await process.backend.open()
    return set(await process.backend.load(unit))


def both(objects: Objects, turns: Turns, **how: Any) -> tuple[Process, Process]:
    """Give two processes that go in turns."""
    return Process(objects, turns.gate(0), **how), Process(objects, turns.gate(1), **how)


def ungated(process: Process) -> Process:
    """Let a process go on without turns, for what comes before."""
    process.bucket._gate = None
    return process


@pytest.mark.parametrize("ttl", [60.0, OVERDUE], ids=["broken", "overdue"])
@pytest.mark.parametrize(
    ("how", "switches"), [({}, 20), ({"reads": True}, 2), ({"twice": True}, 2)], ids=["all", "reads", "sent twice"]
)
async def test_no_stale_write_lands(ttl: float, how: dict[str, bool], switches: int) -> None:
    """Whatever the old holder was told is true, and nothing of it comes after what the new one has loaded.

    The new holder writes, folds, which deletes slots, and writes again, while the old one may be stopped before any
    of its requests.
    """

    async def run(turns: Turns) -> None:
        objects = Objects()
        old, new = both(objects, turns, **how)
        gate, old.bucket._gate = old.bucket._gate, None
        await old.take(ttl=ttl)
        await old.write("before", "before too")
        old.bucket._gate = gate
        loaded: set[str] = set()

        async def take_over() -> None:
            await new.backend.open()
            if ttl > 0:
                await new.backend.break_(UNIT, why=": broken")
            taken = await new.take()
            assert isinstance(taken, Taken)
            assert taken.rows is not None
            loaded.update(taken.rows)
            await new.write("n1", "n2")
            await new.fold()
            await new.write("n3")

        await turns.run(lambda: old.write("o1", "o2", "o3"), take_over)
        assert new.refused == []
        after = await stored(objects)
        assert after == {*old.done, *new.done}
        assert after == loaded | {*new.done}

    assert await explore(run, switches=switches) > 10


async def test_whoever_breaks_late_breaks_all_the_same() -> None:
    """A break that was stopped before its request, and comes when the slots it knew are deleted, is still one."""

    async def run(turns: Turns) -> None:
        objects = Objects()
        holder, breaker = both(objects, turns)
        gate, holder.bucket._gate = holder.bucket._gate, None
        await holder.take()
        holder.bucket._gate = gate

        async def hold() -> None:
            await holder.write("a", "b")
            await holder.fold()
            await holder.write("c")
            await holder.fold()
            await holder.write("d")

        async def break_() -> None:
            await breaker.backend.open()
            await breaker.backend.break_(UNIT, why=": broken")

        await turns.run(hold, break_)
        assert await stored(objects) == set(holder.done)
        assert holder.lease is not None
        with pytest.raises(LeaseLost, match="broken"):
            await ungated(holder).backend.renew(holder.lease, ttl=60)

    assert await explore(run, switches=5) > 10


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize(
    "chains",
    [(UNIT, UNIT), ("notes", UNIT), (UNIT, "notes/prod/database"), ("notes", "notes/prod/database")],
    ids=" and ".join,
)
async def test_of_two_takers_at_most_one_succeeds(chains: tuple[str, str], reads: bool) -> None:
    """Also of chains that lie in different logs; and when both are done, what nobody got is free."""

    async def run(turns: Turns) -> None:
        objects = Objects()
        processes = both(objects, turns, reads=reads)
        before = Process(objects)
        await before.take()
        await before.write("x")
        assert before.lease is not None
        await before.backend.release(before.lease)
        for process in processes:
            await ungated(process).backend.open()
        answers: list[Taken | Blocked] = []

        async def take(who: int) -> None:
            processes[who].bucket._gate = turns.gate(who)
            answers.append(await processes[who].take(chains[who]))

        await turns.run(lambda: take(0), lambda: take(1))
        won = [answer for answer in answers if isinstance(answer, Taken)]
        assert len(won) <= 1
        assert {lease.unit for lease in await before.backend.locks()} == {taken.lease.unit for taken in won}

    assert await explore(run, switches=2 if reads else 8) > 2


@pytest.mark.parametrize("taken", ["notes", UNIT])
async def test_an_applications_old_holder_writes_to_no_unit(taken: str) -> None:
    """Nor when it was stopped between seeing that it still holds the application and writing to the unit."""

    async def run(turns: Turns) -> None:
        objects = Objects()
        old, new = both(objects, turns)
        gate, old.bucket._gate = old.bucket._gate, None
        await old.take("notes")
        await old.write("before")
        old.bucket._gate = gate
        loaded: set[str] = set()

        async def take_over() -> None:
            await new.backend.open()
            await new.backend.break_("notes", why=": broken")
            assert isinstance(await new.take(taken), Taken)
            loaded.update(await new.backend.load(UNIT, lease=new.lease))
            await new.write("n1", "n2")
            await new.fold()

        await turns.run(lambda: old.write("o1", "o2"), take_over)
        assert new.refused == []
        after = await stored(objects)
        assert after == {*old.done, *new.done}
        assert after == loaded | {*new.done}

    assert await explore(run, switches=6) > 10


async def test_scopes_beside_one_another_lose_nothing() -> None:
    """Two that write to one unit under leases on scopes in it, one of which folds, find all that both wrote."""

    async def run(turns: Turns) -> None:
        objects = Objects()
        one, two = both(objects, turns)
        for process, scope in ((one, f"{UNIT}/a"), (two, f"{UNIT}/b")):
            gate, process.bucket._gate = process.bucket._gate, None
            await process.take(scope)
            process.bucket._gate = gate

        async def write_and_fold() -> None:
            await two.write("b/1", "b/2")
            await two.fold()

        await turns.run(lambda: one.write("a/1", "a/2"), write_and_fold)
        assert (one.refused, two.refused) == ([], [])
        assert await stored(objects) == {f"{UNIT}/{name}" for name in ("a/1", "a/2", "b/1", "b/2")}

    assert await explore(run, switches=6) > 10


async def test_readers_see_an_exact_prefix() -> None:
    """Whoever reads while another writes and folds, request by request, sees the first so many writes."""
    names = ["a", "b", "c", "d"]

    async def run(turns: Turns) -> None:
        objects = Objects()
        writer, reader = both(objects, turns, reads=True)
        gate, writer.bucket._gate = writer.bucket._gate, None
        await writer.take()
        await writer.write(names[0])
        writer.bucket._gate = gate
        seen: list[set[str]] = []

        async def write() -> None:
            await writer.write(names[1])
            await writer.fold()
            await writer.write(names[2])
            await writer.fold()
            await writer.write(names[3])

        async def read() -> None:
            for _ in range(2):
                seen.append(set(await reader.backend.load(UNIT)))

        await ungated(reader).backend.open()
        reader.bucket._gate = turns.gate(1)
        await turns.run(write, read)
        prefixes = [{f"{UNIT}/{name}" for name in names[:count]} for count in range(1, 5)]
        assert all(one in prefixes for one in seen)
        assert len(seen[0]) <= len(seen[1])

    assert await explore(run, switches=2) > 10


async def test_whoever_died_after_a_fold_is_known_to_be_gone() -> None:
    """Their last sign of life is no longer listed, only the snapshot: a new process takes the unit all the same."""
    objects = Objects()
    gone, other = Process(objects), Process(objects)
    await gone.take(ttl=OVERDUE)
    await gone.write("a")
    await gone.fold()
    await other.backend.open()
    assert list(await other.backend.locks()) == []
    taken = await other.take()
    assert isinstance(taken, Taken)
    assert taken.rows is not None
    assert set(taken.rows) == {f"{UNIT}/a"}
