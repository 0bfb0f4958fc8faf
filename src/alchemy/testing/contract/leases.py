"""What a store promises of leases."""

from __future__ import annotations

import asyncio

import pytest

from alchemy.errors import LeaseLost, LockedError, StateError
from alchemy.ports import Lease
from alchemy.state import STAGE_KIND
from alchemy.testing.contract.base import Contract, Open
from alchemy.testing.contract.records import UNIT, a_resource, a_scope, an_owner


class LeaseContract(Contract):
    """Tests of taking, renewing, losing and breaking."""

    async def test_a_unit_has_one_holder(self, open_store: Open) -> None:
        """A second handle is refused, told by whom, and gets the unit when it is given back."""
        one, two = await open_store(), await open_store()
        lease = await one.acquire(UNIT, owner=an_owner("destroy"), timeout=0)
        assert (lease.unit, lease.owner) == (UNIT, an_owner("destroy"))
        with pytest.raises(LockedError) as refused:
            await two.acquire(UNIT, owner=an_owner(), timeout=0)
        assert refused.value.unit == UNIT
        assert "tester@here" in refused.value.owner
        assert "destroy" in refused.value.owner
        assert lease.since in refused.value.owner
        assert refused.value.hint
        await one.release(lease)
        assert (await two.acquire(UNIT, owner=an_owner(), timeout=0)).token > lease.token

    async def test_a_handle_excludes_itself(self, open_store: Open) -> None:
        """The same handle cannot take a unit twice."""
        one = await open_store()
        await one.acquire(UNIT, owner=an_owner(), timeout=0)
        with pytest.raises(LockedError):
            await one.acquire(UNIT, owner=an_owner(), timeout=0)

    async def test_whoever_waits_gets_the_unit(self, open_store: Open) -> None:
        """An acquire with a timeout succeeds once the holder has given the unit back."""
        one, two = await open_store(), await open_store()
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(two.acquire(UNIT, owner=an_owner(), timeout=60))
            await asyncio.sleep(0)
            await one.release(lease)
        assert waiting.result().token > lease.token

    async def test_of_many_takers_one_wins(self, open_store: Open) -> None:
        """Of handles that ask at the same time exactly one is given the unit."""
        handles = [await open_store() for _ in range(6)]
        asked = [handle.acquire(UNIT, owner=an_owner(), timeout=0) for handle in handles]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(answer, Lease) for answer in answers) == 1
        assert sum(isinstance(answer, LockedError) for answer in answers) == 5

    async def test_units_do_not_disturb_each_other(self, open_store: Open) -> None:
        """Another stage, another application and a test scope can be held at the same time."""
        one, two = await open_store(), await open_store()
        units = [UNIT, "notes/dev", "other/prod", "notes/test/prod"]
        for handle, unit in zip([one, two, two, one], units, strict=True):
            await handle.acquire(unit, owner=an_owner(), timeout=0)
        assert [lease.unit for lease in await two.locks()] == sorted(units)

    async def test_tokens_only_grow(self, open_store: Open) -> None:
        """No token comes again, over releases, breaks and handles, also when the unit was removed."""
        tokens: list[int] = []
        for _ in range(3):
            one = await open_store()
            lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
            tokens.append(lease.token)
            await one.set(lease, a_scope(UNIT, STAGE_KIND))
            await one.clear_scope(lease, UNIT)
            await one.fold(lease)
            await one.release(lease)
            lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
            tokens.append(lease.token)
            await one.break_(UNIT)
        assert tokens == sorted(set(tokens))
        assert tokens[0] > 0

    async def test_locks_lists_what_is_held(self, open_store: Open) -> None:
        """A held unit is listed with its owner and token, and no longer once given back or broken."""
        one, two = await open_store(), await open_store()
        assert list(await one.locks()) == []
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        (listed,) = await two.locks()
        assert (listed.unit, listed.token, listed.owner) == (UNIT, lease.token, lease.owner)
        await one.release(lease)
        assert list(await two.locks()) == []
        await one.acquire(UNIT, owner=an_owner(), timeout=0)
        await two.break_(UNIT)
        assert list(await one.locks()) == []

    async def test_renewing_moves_the_deadline(self, open_store: Open) -> None:
        """A renewed lease is the same one with a later deadline, and still writes."""
        one = await open_store()
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0, ttl=30)
        renewed = await one.renew(lease)
        assert renewed.token == lease.token
        assert renewed.deadline >= lease.deadline
        await one.set(renewed, a_resource(f"{UNIT}/a"))
        await one.set(lease, a_resource(f"{UNIT}/b"))
        assert await one.list(UNIT) == ["a", "b"]

    async def test_releasing_is_safe_to_repeat(self, open_store: Open) -> None:
        """A second release, also by one who has lost the unit, does not touch its next holder."""
        one, two = await open_store(), await open_store()
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        await one.release(lease)
        await one.release(lease)
        lost = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        await two.break_(UNIT)
        mine = await two.acquire(UNIT, owner=an_owner(), timeout=0)
        await one.release(lost)
        await two.set(mine, a_resource(f"{UNIT}/a"))
        assert [one_lease.token for one_lease in await one.locks()] == [mine.token]

    async def test_breaking_what_nobody_holds(self, open_store: Open) -> None:
        """Breaking a unit that is free, or was never there, is no error and changes nothing."""
        one = await open_store()
        await one.break_(UNIT)
        await self._fill(one, a_resource(f"{UNIT}/a"))
        await one.break_(UNIT)
        assert await one.list(UNIT) == ["a"]

    @pytest.mark.parametrize("chain", ["notes/test", "", "notes//x", "/", "notes/"])
    async def test_only_chains_are_held(self, open_store: Open, chain: str) -> None:
        """What is no chain is refused with the remedy."""
        with pytest.raises(StateError, match="not a chain"):
            await (await open_store()).acquire(chain, owner=an_owner(), timeout=0)

    async def test_whoever_lost_the_unit_writes_nothing_more(self, open_store: Open) -> None:
        """After a takeover every write of the old holder is refused, and nothing of it is stored."""
        one, two = await open_store(), await open_store()
        old = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        await one.set(old, a_resource(f"{UNIT}/before"))
        await two.break_(UNIT)
        new = await two.acquire(UNIT, owner=an_owner(), timeout=0)
        assert new.token > old.token
        assert set((await two.load(UNIT, lease=new)).records) == {f"{UNIT}/before"}
        for write in (
            lambda: one.set(old, a_resource(f"{UNIT}/late")),
            lambda: one.delete(old, f"{UNIT}/before"),
            lambda: one.clear_scope(old, UNIT),
            lambda: one.renew(old),
            lambda: one.fold(old),
        ):
            with pytest.raises(LeaseLost):
                await write()
        await two.set(new, a_resource(f"{UNIT}/after"))
        with pytest.raises(LeaseLost):
            await one.set(old, a_resource(f"{UNIT}/later"))
        await two.fold(new)
        assert await one.list(UNIT) == ["after", "before"]

    async def test_a_broken_lease_writes_nothing_though_nobody_took_the_unit(self, open_store: Open) -> None:
        """Breaking is enough: the holder is refused before anybody else holds the unit."""
        one, two = await open_store(), await open_store()
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        await two.break_(UNIT)
        with pytest.raises(LeaseLost):
            await one.set(lease, a_resource(f"{UNIT}/a"))
        assert await two.all(UNIT) == {}

    async def test_a_released_lease_writes_nothing(self, open_store: Open) -> None:
        """Writing, folding and renewing under a lease that was given back is refused."""
        one = await open_store()
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        await one.release(lease)
        with pytest.raises(LeaseLost):
            await one.set(lease, a_resource(f"{UNIT}/a"))
        with pytest.raises(LeaseLost):
            await one.fold(lease)
        with pytest.raises(LeaseLost):
            await one.renew(lease)
        with pytest.raises(LeaseLost):
            await one.load(UNIT, lease=lease)
        assert await one.all(UNIT) == {}
