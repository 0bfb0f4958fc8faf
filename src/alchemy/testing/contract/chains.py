"""What a store promises of leases on chains that lie above and below one another, and of holders who ask."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from alchemy.errors import LeaseLost, LockedError, StateError
from alchemy.state import STAGE_KIND
from alchemy.testing.contract.base import Contract, Open
from alchemy.testing.contract.records import UNIT, a_resource, a_scope, an_owner

DATABASE = f"{UNIT}/database"
RELATED = (
    ("notes", UNIT),
    (UNIT, DATABASE),
    ("notes", DATABASE),
    ("notes", "notes/test/t1"),
    (DATABASE, f"{DATABASE}/x"),
)
BESIDE = (UNIT, "notes/dev/database", "notes/test/t1", "notes/production", "other", "notes2", "notes.lock")
WITHIN = (DATABASE, f"{UNIT}/compute", f"{UNIT}/databases", f"{UNIT}/database.lock/x", "notes/test/t1/x", "notes/prod2")


class ChainContract(Contract):
    """Tests of leases on applications and scopes, and of `check`."""

    @pytest.mark.parametrize(("above", "below"), RELATED)
    async def test_what_lies_above_or_below_is_refused(self, open_store: Open, above: str, below: str) -> None:
        """Whoever holds a chain keeps others from those above and below it, and is named; afterwards they are free."""
        one, two = await open_store(), await open_store()
        for first, second in ((above, below), (below, above)):
            lease = await one.acquire(first, owner=an_owner("destroy"), timeout=0)
            with pytest.raises(LockedError) as refused:
                await two.acquire(second, owner=an_owner(), timeout=0)
            assert refused.value.unit == first
            assert "destroy" in refused.value.owner
            assert refused.value.since == lease.since
            assert refused.value.deadline is not None
            await one.release(lease)
            await two.release(await two.acquire(second, owner=an_owner(), timeout=0))

    @pytest.mark.parametrize("chains", [BESIDE, WITHIN], ids=["beside", "within"])
    async def test_what_lies_beside_is_not_concerned(self, open_store: Open, chains: Sequence[str]) -> None:
        """Chains of which none lies in another can all be held, and are all listed."""
        one, two = await open_store(), await open_store()
        for place, chain in enumerate(chains):
            await (one, two)[place % 2].acquire(chain, owner=an_owner(), timeout=0)
        assert [lease.unit for lease in await one.locks()] == sorted(chains)

    async def test_a_handle_excludes_itself_above_and_below(self, open_store: Open) -> None:
        """The same handle cannot hold a chain and one within it."""
        one = await open_store()
        await one.acquire(UNIT, owner=an_owner(), timeout=0)
        for chain in ("notes", DATABASE):
            with pytest.raises(LockedError):
                await one.acquire(chain, owner=an_owner(), timeout=0)

    async def test_whoever_waits_below_gets_the_chain(self, open_store: Open) -> None:
        """An acquire that waits for a holder above succeeds once that has let go."""
        one, two = await open_store(), await open_store()
        lease = await one.acquire("notes", owner=an_owner(), timeout=0)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(two.acquire(DATABASE, owner=an_owner(), timeout=60))
            await asyncio.sleep(0)
            await one.release(lease)
        assert waiting.result().unit == DATABASE

    @pytest.mark.parametrize("chain", ["notes", DATABASE])
    async def test_tokens_of_any_chain_only_grow(self, open_store: Open, chain: str) -> None:
        """Over releases, breaks and writes."""
        one, two = await open_store(), await open_store()
        tokens: list[int] = []
        for _ in range(2):
            lease = await one.acquire(chain, owner=an_owner(), timeout=0)
            await one.set(lease, a_resource(f"{DATABASE}/a"))
            await one.release(lease)
            broken = await two.acquire(chain, owner=an_owner(), timeout=0)
            await one.break_(chain)
            tokens += [lease.token, broken.token]
        assert tokens == sorted(set(tokens))

    async def test_breaking_one_leaves_the_others(self, open_store: Open) -> None:
        """Of two scopes' holders only the one whose chain is broken has lost it."""
        one, two = await open_store(), await open_store()
        kept = await one.acquire(f"{UNIT}/compute", owner=an_owner(), timeout=0)
        lost = await one.acquire(DATABASE, owner=an_owner(), timeout=0)
        await two.break_(UNIT)
        await two.break_(DATABASE)
        assert [lease.unit for lease in await two.locks()] == [kept.unit]
        await one.set(kept, a_resource(f"{UNIT}/compute/a"))
        with pytest.raises(LeaseLost):
            await one.set(lost, a_resource(f"{DATABASE}/a"))

    @pytest.mark.parametrize("chain", ["notes", DATABASE])
    async def test_any_lease_writes_what_lies_within(self, open_store: Open, chain: str) -> None:
        """Records written under a lease above or within a unit are the unit's, and its next holder's."""
        one, two = await open_store(), await open_store()
        await self._fill(one, a_scope(UNIT, STAGE_KIND), a_resource(f"{UNIT}/api"))
        lease = await one.acquire(chain, owner=an_owner(), timeout=0)
        await one.set(lease, a_scope(DATABASE), a_resource(f"{DATABASE}/a"), a_resource(f"{DATABASE}/b"))
        one.delete(lease, f"{DATABASE}/a")
        await one.set(lease, a_resource(f"{DATABASE}/c", rev=7), drop=[f"{DATABASE}/b"])
        expected = {UNIT, f"{UNIT}/api", DATABASE, f"{DATABASE}/c"}
        assert set(await two.all(UNIT)) == expected
        assert set((await one.load(UNIT, lease=lease)).records) == expected
        await one.fold(lease)
        assert set(await two.all(UNIT)) == expected
        await one.clear_scope(lease, DATABASE)
        await one.release(lease)
        unit = await two.acquire(UNIT, owner=an_owner(), timeout=0)
        assert set((await two.load(UNIT, lease=unit)).records) == {UNIT, f"{UNIT}/api"}
        await two.set(unit, a_resource(f"{UNIT}/api", rev=2))
        await two.fold(unit)

    async def test_holders_beside_one_another_write_at_once(self, open_store: Open) -> None:
        """Nothing of either is lost, though both write to the same unit."""
        handles = [await open_store() for _ in range(3)]

        async def write(place: int) -> None:
            chain = f"{UNIT}/s{place}"
            lease = await handles[place].acquire(chain, owner=an_owner(), timeout=0)
            for n in range(4):
                await handles[place].set(lease, a_resource(f"{chain}/r{n}"))
            await handles[place].fold(lease)
            await handles[place].release(lease)

        async with asyncio.TaskGroup() as group:
            for place in range(3):
                group.create_task(write(place))
        assert await handles[0].count(UNIT) == 12

    async def test_a_lease_within_a_unit_covers_its_chain_only(self, open_store: Open) -> None:
        """What lies beside it is refused; one commit under an application's lease writes to one unit."""
        one = await open_store()
        lease = await one.acquire(DATABASE, owner=an_owner(), timeout=0)
        for outside in (UNIT, f"{UNIT}/api", f"{DATABASE}2"):
            with pytest.raises(StateError, match="not within"):
                await one.set(lease, a_resource(outside))
        await one.release(lease)
        whole = await one.acquire("notes", owner=an_owner(), timeout=0)
        with pytest.raises(StateError, match="one commit"):
            await one.set(whole, a_resource(f"{UNIT}/a"), a_resource("notes/dev/a"))
        await one.set(whole, a_resource(f"{UNIT}/a"))
        await one.set(whole, a_resource("notes/dev/a"))
        assert set(await one.all("notes")) == {f"{UNIT}/a", "notes/dev/a"}

    @pytest.mark.parametrize("taken", ["notes", UNIT, DATABASE])
    async def test_whoever_lost_a_scope_writes_nothing_more(self, open_store: Open, taken: str) -> None:
        """Once it was broken and somebody holds it, or one above it, the old holder is refused."""
        one, two = await open_store(), await open_store()
        old = await one.acquire(DATABASE, owner=an_owner(), timeout=0)
        await one.set(old, a_resource(f"{DATABASE}/before"))
        await two.break_(DATABASE)
        new = await two.acquire(taken, owner=an_owner("destroy"), timeout=0)
        for write in (lambda: one.set(old, a_resource(f"{DATABASE}/late")), lambda: one.renew(old)):
            with pytest.raises(LeaseLost):
                await write()
        await two.set(new, a_resource(f"{DATABASE}/after"))
        assert await two.list(DATABASE) == ["after", "before"]

    # -- asking ----------------------------------------------------------------------------------------------------

    async def test_a_holder_is_sure(self, open_store: Open) -> None:
        """A lease that was just taken, or renewed, is surely held; one that was given back is lost."""
        one = await open_store()
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        assert one.check(lease)
        assert one.check(await one.renew(lease))
        await one.release(lease)
        with pytest.raises(LeaseLost):
            one.check(lease)

    async def test_whoever_lost_it_is_told_by_whom(self, open_store: Open) -> None:
        """Renewing and writing say who has the unit, or had it, or broke the lock; from then on so does `check`."""
        one, two = await open_store(), await open_store()
        old = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        await two.break_(UNIT)
        with pytest.raises(LeaseLost, match="broken by"):
            await one.renew(old)
        with pytest.raises(LeaseLost):
            one.check(old)
        for released in (False, True):
            old = await one.acquire(UNIT, owner=an_owner(), timeout=0)
            await two.break_(UNIT)
            new = await two.acquire(UNIT, owner=an_owner("destroy"), timeout=0)
            if released:
                await two.release(new)
            with pytest.raises(LeaseLost, match=r"tester@here .*destroy ha[sd] it since"):
                await one.set(old, a_resource(f"{UNIT}/a"))
            with pytest.raises(LeaseLost):
                one.check(old)
            await two.release(new)
