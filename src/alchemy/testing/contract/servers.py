"""What a store promises whose storage is a server: when answers get lost, it is cut off, killed, or asked by many."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import pytest

from alchemy.errors import AlchemyError, LeaseLost, LockedError, StateError
from alchemy.ports import Lease, StateStore
from alchemy.state import STAGE_KIND
from alchemy.testing.contract.base import Contract
from alchemy.testing.contract.records import UNIT, a_resource, a_scope, an_owner
from alchemy.testing.proxy import Proxy

Reach = Callable[[int, float], StateStore]
"""Opens a handle to the place under test at a port of 127.0.0.1, with a patience in seconds."""


class Server(Protocol):
    """A real server, started by the tests, that keeps its data when it is killed."""

    port: int

    def start(self) -> None:
        """Start it, on the same port as before, and wait until it answers."""
        ...

    def kill(self) -> None:
        """End it at once, without letting it put anything in order."""
        ...


class ServerContract(Contract):
    """Tests of a store over a server. A subclass gives the fixtures `server` and `reach`, besides `store`.

    Attributes:
        load_round_trips: how many requests a unit of 1,000 records may take to load.
    """

    load_round_trips = 3

    @pytest.fixture
    def server(self) -> Server:
        """Give the server under test."""
        raise NotImplementedError("a subclass of ServerContract gives the fixture `server`")

    @pytest.fixture
    def reach(self) -> Reach:
        """Give what opens a handle to the same, at first empty, place by way of another port."""
        raise NotImplementedError("a subclass of ServerContract gives the fixture `reach`")

    @pytest.fixture
    def proxy(self, server: Server) -> Iterator[Proxy]:
        """Stand between the store and its server."""
        with Proxy("127.0.0.1", server.port) as proxy:
            yield proxy

    async def test_a_large_unit_is_loaded_in_few_requests(self, proxy: Proxy, reach: Reach) -> None:
        """1,000 records take a few round trips, because nothing is read one by one."""
        store = reach(proxy.port, 30)
        await store.init()
        lease = await store.acquire(UNIT, owner=an_owner(), timeout=0, ttl=600)  # no renewal comes between
        await store.set(lease, a_scope(UNIT, STAGE_KIND), *(a_resource(f"{UNIT}/r{n}") for n in range(1000)))
        await store.fold(lease)
        with proxy.counted() as traffic:
            assert len((await store.load(UNIT, lease=lease)).records) == 1001
        assert 0 < traffic.round_trips <= self.load_round_trips
        await store.deinit()

    async def test_a_record_of_a_megabyte_comes_back_whole(self, server: Server, reach: Reach) -> None:
        """A record of 1 MB, alone and among others, is written and read like any other."""
        store = reach(server.port, 30)
        await store.init()
        lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
        large = [a_resource(f"{UNIT}/r{n}", props={"content": f"{n}é" * 400_000}) for n in range(3)]
        await store.set(lease, *large, a_resource(f"{UNIT}/small"))
        records = (await store.load(UNIT, lease=lease)).records
        assert [records[one.fqn].props for one in large] == [one.props for one in large]
        assert (await store.get(f"{UNIT}/r1")) is not None
        await store.delete(lease, *(one.fqn for one in large))
        assert await store.list(UNIT) == ["small"]
        await store.deinit()

    async def test_of_fifty_racers_one_wins(self, server: Server, reach: Reach) -> None:
        """Of fifty that take a unit at the same instant exactly one gets it, again and again."""
        handles = [reach(server.port, 30) for _ in range(50)]
        await asyncio.gather(*(handle.init() for handle in handles))
        tokens: list[int] = []
        for _ in range(3):
            asked = [handle.acquire(UNIT, owner=an_owner(), timeout=0) for handle in handles]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            won = [(handle, one) for handle, one in zip(handles, answers, strict=True) if isinstance(one, Lease)]
            assert sum(isinstance(one, LockedError) for one in answers) == 49, answers
            ((winner, lease),) = won
            tokens.append(lease.token)
            await winner.release(lease)
        assert tokens == sorted(set(tokens))
        await asyncio.gather(*(handle.deinit() for handle in handles))

    async def test_no_interleaving_of_two_holders_lets_a_stale_write_through(
        self, server: Server, reach: Reach
    ) -> None:
        """In every order of what two holders do, a write lands exactly if its lease is the newest and still held."""
        first, second = reach(server.port, 30), reach(server.port, 30)
        await first.init()
        await second.init()
        orders = list(_interleavings(["write", "write", "release"], ["break", "take", "write", "write"]))
        for number, order in enumerate(orders):
            await _Duel(first, second, f"notes/order-{number}").run(order)
        assert len(orders) == 35
        await first.deinit()
        await second.deinit()

    async def test_whoever_is_taken_over_while_writing_loses_nothing_and_adds_nothing(
        self, server: Server, reach: Reach
    ) -> None:
        """In a live race every write that was acknowledged is seen by who takes over, and no later one lands."""
        writer, taker = reach(server.port, 30), reach(server.port, 30)
        await writer.init()
        await taker.init()
        for round_ in range(5):
            unit = f"notes/race-{round_}"
            lease = await writer.acquire(unit, owner=an_owner(), timeout=0)
            acknowledged: list[str] = []
            async with asyncio.TaskGroup() as group:
                group.create_task(_write_until_lost(writer, lease, acknowledged))
                while len(acknowledged) < 5:  # noqa: ASYNC110 - the other task is what is waited for
                    await asyncio.sleep(0.001)
                await taker.break_(unit)
                new = await taker.acquire(unit, owner=an_owner(), timeout=30)
                seen = set((await taker.load(unit, lease=new)).records)
            assert set(acknowledged) <= seen
            await taker.set(new, a_resource(f"{unit}/after"))
            assert set((await taker.load(unit, lease=new)).records) == seen | {f"{unit}/after"}
            await taker.release(new)
        await writer.deinit()
        await taker.deinit()

    async def test_lost_answers_are_asked_for_again(self, proxy: Proxy, reach: Reach) -> None:
        """Whatever was done though its answer was lost is done once, and told as done."""
        store = reach(proxy.port, 30)
        await store.init()
        proxy.lose_answers()
        lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
        for number in range(4):
            proxy.lose_answers()
            await store.set(lease, a_resource(f"{UNIT}/r{number}"), drop=[f"{UNIT}/r{number - 1}"])
        proxy.lose_answers()
        await store.renew(lease)
        proxy.lose_answers()
        await store.append_log(UNIT, "log.ndjson", b'{"n":1}\n')
        proxy.lose_answers()
        await store.save_backup(lease, "state-2026-11-21T09-00-00-000Z.json", b"{}")
        proxy.lose_answers()
        assert list((await store.load(UNIT, lease=lease)).records) == [f"{UNIT}/r3"]
        proxy.lose_answers()
        await store.clear_scope(lease, UNIT, a_scope(UNIT, STAGE_KIND))
        proxy.lose_answers()
        await store.set(lease, a_resource(f"{UNIT}/later"))
        assert set((await store.load(UNIT, lease=lease)).records) == {UNIT, f"{UNIT}/later"}
        proxy.lose_answers()
        await store.release(lease)
        assert list(await store.locks()) == []
        assert await store.read_log(UNIT, "log.ndjson") == b'{"n":1}\n'
        assert (await store.acquire(UNIT, owner=an_owner(), timeout=0)).token > lease.token
        await store.deinit()

    async def test_when_it_is_cut_off_a_write_fails_and_names_the_place(self, proxy: Proxy, reach: Reach) -> None:
        """A write without an answer fails in the end, nothing more is written then, and what was there is there."""
        store = reach(proxy.port, 0.5)
        await store.init()
        lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
        await store.set(lease, a_resource(f"{UNIT}/before"))
        proxy.cut()
        with pytest.raises(StateError) as failed:
            await store.set(lease, a_resource(f"{UNIT}/during"))
        assert str(proxy.port) in failed.value.message
        assert failed.value.hint
        proxy.restore()
        with pytest.raises(StateError):
            await store.set(lease, a_resource(f"{UNIT}/after"))
        other = reach(proxy.port, 30)
        await other.init()
        assert set(await other.list(UNIT)) <= {"before", "during"}
        assert "before" in await other.list(UNIT)
        await other.deinit()
        await store.deinit()  # nothing is left to be told

    async def test_a_place_that_is_not_there_is_named(self, proxy: Proxy, reach: Reach) -> None:
        """Making ready fails when nobody listens, with the place and what to do."""
        proxy.cut()
        store = reach(proxy.port, 0.2)
        with pytest.raises(AlchemyError) as failed:
            await store.init()
        assert str(proxy.port) in failed.value.message
        assert failed.value.hint
        await store.deinit()

    async def test_a_server_that_is_killed_and_started_again_loses_nothing(self, server: Server, reach: Reach) -> None:
        """Every write that was acknowledged is there after the server was killed in the middle; the writer goes on."""
        store = reach(server.port, 60)
        await store.init()
        lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
        acknowledged: list[str] = []

        async def write() -> None:
            for number in range(60):
                await store.set(lease, a_resource(f"{UNIT}/r{number}"))
                acknowledged.append(f"{UNIT}/r{number}")

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            for goal in (10, 30):
                while len(acknowledged) < goal:  # noqa: ASYNC110 - the other task is what is waited for
                    await asyncio.sleep(0.001)
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
        assert set((await store.load(UNIT, lease=lease)).records) == set(acknowledged)
        assert len(acknowledged) == 60
        await store.deinit()


class _Duel:
    """Two holders of one unit, of whom the first has it at the beginning; it is known what each step has to give."""

    def __init__(self, first: StateStore, second: StateStore, unit: str) -> None:
        self._stores = (first, second)
        self._unit = unit
        self._leases: list[Lease | None] = [None, None]
        self._holder: int | None = None
        self._expected: set[str] = set()

    async def run(self, order: Sequence[tuple[int, str]]) -> None:
        """Go through the steps, then compare what is stored with what may be."""
        await self._take(0)
        for number, (who, step) in enumerate(order):
            match step:
                case "write":
                    await self._write(who, f"{self._unit}/w{who}-{number}")
                case "take":
                    await self._take(who)
                case "break":
                    await self._stores[who].break_(self._unit)
                    self._holder = None
                case _:
                    await self._release(who)
        assert set(await self._stores[1].all(self._unit)) == self._expected, order
        for who in (0, 1):
            await self._release(who)

    async def _take(self, who: int) -> None:
        try:
            self._leases[who] = await self._stores[who].acquire(self._unit, owner=an_owner(), timeout=0)
        except LockedError:
            assert self._holder is not None
        else:
            assert self._holder is None
            self._holder = who

    async def _write(self, who: int, fqn: str) -> None:
        lease = self._leases[who]
        if lease is None:
            return
        try:
            await self._stores[who].set(lease, a_resource(fqn))
        except LeaseLost:
            assert self._holder != who
        else:
            assert self._holder == who
            self._expected.add(fqn)

    async def _release(self, who: int) -> None:
        lease = self._leases[who]
        if lease is not None:
            try:
                await self._stores[who].release(lease)
            except LeaseLost:
                assert self._holder != who
        if self._holder == who:
            self._holder = None


def _interleavings(first: Sequence[str], second: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    """Give every order of the steps of two that keeps the order of each."""
    total = len(first) + len(second)
    for places in itertools.combinations(range(total), len(first)):
        one, two = iter(first), iter(second)
        yield [(0, next(one)) if number in places else (1, next(two)) for number in range(total)]


async def _write_until_lost(store: StateStore, lease: Lease, acknowledged: list[str]) -> None:
    for number in itertools.count():
        fqn = f"{lease.unit}/w{number}"
        try:
            await store.set(lease, a_resource(fqn))
        except LeaseLost:
            return
        acknowledged.append(fqn)
