"""What a store promises of writes."""

from __future__ import annotations

import asyncio

import pytest

from alchemy.errors import LeaseLost, StateError
from alchemy.state import STAGE_KIND
from alchemy.testing.contract.base import Contract, Open
from alchemy.testing.contract.records import UNIT, a_resource, a_scope, an_owner, plain


class WritingContract(Contract):
    """Tests of commits."""

    async def test_a_record_comes_back_as_it_was_written(self, open_store: Open) -> None:
        """Every field, unknown keys included, is the same for another handle, before and after a fold."""
        one, two = await open_store(), await open_store()
        record = a_resource(
            f"{UNIT}/readme", seq=3, seen=4, deps=[f"{UNIT}/x"], target="account", data={"a": [1, None, {"b": 2.5}]},
            attempted={"path": "b"}, physical_name="p", generation=2, retain=True, rev=9, extra={"later": {"x": 1}},
        )  # fmt: skip
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        await one.set(lease, record)
        assert plain({"": await two.get(record.fqn)}) == plain({"": record})
        await one.fold(lease)
        assert plain({"": await two.get(record.fqn)}) == plain({"": record})

    async def test_records_are_encoded_at_the_call(self, open_store: Open) -> None:
        """What is changed in a record after the call does not count."""
        one = await open_store()
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        record = a_resource(f"{UNIT}/a", rev=1)
        written = one.set(lease, record)
        record.rev = 2
        record.props["path"] = "elsewhere"
        await written
        stored = await one.get(record.fqn)
        assert stored is not None
        assert (stored.rev, stored.props) == (1, {"path": "README.txt"})

    async def test_what_json_cannot_hold_is_refused(self, open_store: Open) -> None:
        """A value that cannot be stored is an error naming the record, and nothing is written."""
        one = await open_store()
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        with pytest.raises(StateError, match=f"{UNIT}/a"):
            await one.set(lease, a_resource(f"{UNIT}/b"), a_resource(f"{UNIT}/a", props={"x": object()}))
        assert await one.all(UNIT) == {}

    async def test_the_order_of_calls_is_the_order_of_commits(self, open_store: Open) -> None:
        """Of writes to one record the last called stands, although none but the last is awaited."""
        one, two = await open_store(), await open_store()
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        for rev in range(200):
            one.set(lease, a_resource(f"{UNIT}/a", rev=rev), a_resource(f"{UNIT}/b", rev=rev))
            one.delete(lease, f"{UNIT}/b")
        one.clear_scope(lease, UNIT)
        one.set(lease, a_resource(f"{UNIT}/b", rev=500))
        await one.set(lease, a_resource(f"{UNIT}/a", rev=501))
        stored = await two.all(UNIT)
        assert {fqn: record.rev for fqn, record in stored.items()} == {f"{UNIT}/a": 501, f"{UNIT}/b": 500}

    async def test_many_tasks_write_at_once(self, open_store: Open) -> None:
        """Each of hundreds of concurrent writes is there for others when its await returns."""
        one, two = await open_store(), await open_store()
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)

        async def write(n: int) -> None:
            await one.set(lease, a_resource(f"{UNIT}/r{n}", rev=n))
            if n % 50 == 0:
                assert await two.get(f"{UNIT}/r{n}") is not None

        async with asyncio.TaskGroup() as group:
            for n in range(300):
                group.create_task(write(n))
        assert {record.rev for record in (await two.all(UNIT)).values()} == set(range(300))

    async def test_a_cancelled_wait_harms_no_commit(self, open_store: Open) -> None:
        """Cancelling one who waits for a commit undoes nothing and disturbs nobody else who waits for it."""
        one, two = await open_store(), await open_store()
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)

        async def write(name: str) -> None:
            await one.set(lease, a_resource(f"{UNIT}/{name}"))

        async with asyncio.TaskGroup() as group:
            cancelled = group.create_task(write("a"))
            group.create_task(write("b"))
            await asyncio.sleep(0)
            cancelled.cancel()
        await one.release(lease)
        assert await two.list(UNIT) == ["a", "b"]

    async def test_an_acknowledgement_can_be_awaited_again(self, open_store: Open) -> None:
        """Awaiting what `set` returned a second time, and by two tasks, gives the same answer."""
        one = await open_store()
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        written = one.set(lease, a_resource(f"{UNIT}/a"))

        async def wait() -> None:
            await written

        async with asyncio.TaskGroup() as group:
            group.create_task(wait())
            group.create_task(wait())
        await written
        assert await one.list(UNIT) == ["a"]

    async def test_what_nobody_awaits_is_committed(self, open_store: Open) -> None:
        """Writes that are never awaited are there after the release."""
        one, two = await open_store(), await open_store()
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        for n in range(20):
            one.set(lease, a_resource(f"{UNIT}/r{n:02}"))
        await one.release(lease)
        assert await two.count(UNIT) == 20

    async def test_a_failure_that_nobody_awaited_is_told(self, open_store: Open) -> None:
        """A write that failed unawaited is reported by the next one, or by the release."""
        one, two = await open_store(), await open_store()
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        await two.break_(UNIT)
        one.set(lease, a_resource(f"{UNIT}/a"))
        with pytest.raises(LeaseLost):
            await one.release(lease)
        await one.release(lease)

    async def test_one_commit_writes_and_drops(self, open_store: Open) -> None:
        """A commit that writes and drops does both; a record that it also writes is not dropped."""
        one = await open_store()
        lease = await self._fill(one, a_resource(f"{UNIT}/old"), a_resource(f"{UNIT}/kept"), keep=True)
        await one.set(
            lease, a_resource(f"{UNIT}/new"), a_resource(f"{UNIT}/kept", rev=2), drop=[f"{UNIT}/old", f"{UNIT}/kept"]
        )
        assert await one.list(UNIT) == ["kept", "new"]
        await one.fold(lease)
        assert await one.list(UNIT) == ["kept", "new"]

    async def test_deleting(self, open_store: Open) -> None:
        """Deleted records are gone; one that was never there is no error; those below a record stay."""
        one, two = await open_store(), await open_store()
        site = f"{UNIT}/site"
        lease = await self._fill(one, a_resource(site), a_resource(f"{site}/page"), a_resource(f"{UNIT}/x"), keep=True)
        await one.delete(lease, f"{UNIT}/x", f"{UNIT}/never")
        await one.delete(lease, site)
        assert set(await two.all(UNIT)) == {f"{site}/page"}
        await one.fold(lease)
        assert set(await two.all(UNIT)) == {f"{site}/page"}

    async def test_clearing_a_scope(self, open_store: Open) -> None:
        """Everything at and below the chain goes, and nothing whose name only begins alike."""
        one, two = await open_store(), await open_store()
        lease = await self._fill(one, *self._tree(), a_resource(f"{UNIT}/database2"), keep=True)
        kept = {fqn for fqn in await one.all(UNIT) if not (fqn + "/").startswith(f"{UNIT}/database/")}
        await one.clear_scope(lease, f"{UNIT}/database")
        await one.clear_scope(lease, f"{UNIT}/never")
        assert set(await two.all(UNIT)) == kept
        await one.fold(lease)
        assert set(await two.all(UNIT)) == kept

    async def test_what_a_clearing_writes_is_there(self, open_store: Open) -> None:
        """Records come in the same commit as the clearing: in the chain, where it had one before too, and beside."""
        one, two = await open_store(), await open_store()
        lease = await self._fill(one, *self._tree(), keep=True)
        inner = f"{UNIT}/database"
        kept = {fqn for fqn in await one.all(UNIT) if not (fqn + "/").startswith(f"{inner}/")}
        unit, database, new = a_scope(UNIT, STAGE_KIND), a_scope(inner), a_resource(f"{inner}/new", rev=8)
        unit.rev, database.rev = 9, 7
        await one.clear_scope(lease, inner, unit, database, new)
        expected = {**dict.fromkeys(kept, 0), UNIT: 9, inner: 7, new.fqn: 8}
        assert {fqn: record.rev for fqn, record in (await two.all(UNIT)).items()} == expected
        await one.fold(lease)
        assert {fqn: record.rev for fqn, record in (await two.all(UNIT)).items()} == expected
        await one.clear_scope(lease, UNIT, unit)
        one.set(lease, a_resource(f"{UNIT}/later"))
        await one.fold(lease)
        assert set(await two.all(UNIT)) == {UNIT, f"{UNIT}/later"}

    async def test_a_clearing_that_is_refused_clears_nothing(self, open_store: Open) -> None:
        """For a record outside the unit, or that JSON cannot hold, or a lost lease: nothing of it happens."""
        one, two = await open_store(), await open_store()
        lease = await self._fill(one, a_resource(f"{UNIT}/a"), keep=True)
        for wrong in (a_resource("notes/dev/a"), a_resource(f"{UNIT}/b", props={"x": object()})):
            with pytest.raises(StateError):
                await one.clear_scope(lease, UNIT, wrong)
        await two.break_(UNIT)
        with pytest.raises(LeaseLost):
            await one.clear_scope(lease, UNIT, a_resource(f"{UNIT}/b"))
        assert set(await two.all(UNIT)) == {f"{UNIT}/a"}

    async def test_writing_outside_the_unit_is_refused(self, open_store: Open) -> None:
        """A lease covers its unit only, not one whose name begins alike."""
        one = await open_store()
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        for outside in ("notes/dev/a", "notes/prod2", "notes"):
            with pytest.raises(StateError):
                await one.set(lease, a_resource(outside))
            with pytest.raises(StateError):
                await one.set(lease, drop=[outside])
            with pytest.raises(StateError):
                await one.delete(lease, outside)
            with pytest.raises(StateError):
                await one.clear_scope(lease, outside)
