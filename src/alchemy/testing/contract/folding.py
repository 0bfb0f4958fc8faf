"""What a store promises of folding, and of what was acknowledged before a crash."""

from __future__ import annotations

import pytest

from alchemy.errors import LeaseLost
from alchemy.state import STAGE_KIND, Application
from alchemy.testing.contract.base import Contract, Open
from alchemy.testing.contract.records import UNIT, a_resource, a_scope, an_owner, plain


class FoldingContract(Contract):
    """Tests of snapshots and of the log of commits."""

    async def test_folding_changes_nothing_that_is_read(self, open_store: Open) -> None:
        """Before and after any number of folds the records are the same, for every handle."""
        one, two = await open_store(), await open_store()
        lease = await self._fill(one, *self._tree(), keep=True)
        before = plain(await two.all(UNIT))
        for _ in range(3):
            await one.fold(lease)
            assert plain(await two.all(UNIT)) == before
        assert plain((await one.load(UNIT, lease=lease)).records) == before

    async def test_writing_goes_on_after_a_fold(self, open_store: Open) -> None:
        """The same lease may write and fold again."""
        one, two = await open_store(), await open_store()
        lease = await self._fill(one, *self._tree(), keep=True)
        for rev in range(2, 5):
            await one.fold(lease)
            await one.set(lease, a_resource(f"{UNIT}/api", rev=rev), drop=[f"{UNIT}/site/page"])
            stored = await two.get(f"{UNIT}/api")
            assert stored is not None
            assert stored.rev == rev
        await one.fold(lease)
        assert await two.count(UNIT) == 5

    async def test_many_go_one_by_one(self, open_store: Open) -> None:
        """While hundreds of folded records are dropped a reader finds just those that are left, also after a crash."""
        one, two, three = await open_store(), await open_store(), await open_store()
        names = [f"{UNIT}/r{n:03}" for n in range(500)]
        lease = await self._fill(one, a_scope(UNIT, STAGE_KIND), *(a_resource(name) for name in names), keep=True)
        await one.fold(lease)
        for n in range(0, 450, 50):
            for name in names[n : n + 49]:
                one.delete(lease, name)
            await one.delete(lease, names[n + 49])
            assert set(await two.all(UNIT)) == {UNIT, *names[n + 50 :]}
        await one.set(lease, a_resource(names[0], rev=2))
        left = {UNIT, names[0], *names[450:]}
        assert set(await two.all(UNIT)) == left
        await two.break_(UNIT)
        second = await two.acquire(UNIT, owner=an_owner(), timeout=0)
        assert set((await two.load(UNIT, lease=second)).records) == left
        await two.fold(second)
        assert set(await three.all(UNIT)) == left
        again = await three.get(names[0])
        assert again is not None
        assert again.rev == 2

    async def test_a_fold_tells_of_a_failed_write(self, open_store: Open) -> None:
        """A write that nobody awaited and that failed is an error at the fold at the latest."""
        one, two = await open_store(), await open_store()
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        await two.break_(UNIT)
        one.set(lease, a_resource(f"{UNIT}/a"))
        with pytest.raises(LeaseLost):
            await one.fold(lease)

    async def test_an_empty_unit_goes_away(self, open_store: Open) -> None:
        """With no record left a folded unit is gone, except for logs and backups, and it can come again.

        Its own record alone keeps it: it may say what was forgotten and is still there.
        """
        one, two = await open_store(), await open_store()
        await one.create_application(Application(app="notes", lineage="00" * 16, created_at=""))
        lease = await self._fill(one, *self._tree(), keep=True)
        await one.append_log(UNIT, "run.ndjson", b"{}\n")
        await one.save_backup(lease, "state-2026-11-21T09-00-00-000Z.json", b"{}\n")
        await one.fold(lease)
        gone = [record.fqn for record in self._tree() if record.fqn != UNIT]
        await one.delete(lease, *gone)
        await one.fold(lease)
        assert set(await two.all(UNIT)) == {UNIT}
        assert list(await two.list_scopes("notes")) == [UNIT]
        await one.delete(lease, UNIT)
        await one.fold(lease)
        assert await two.all(UNIT) == {}
        assert list(await two.list_scopes("notes")) == []
        assert await two.application("notes") is not None
        assert list(await two.logs(UNIT)) == ["run.ndjson"]
        assert list(await two.backups(UNIT)) == ["state-2026-11-21T09-00-00-000Z.json"]
        await one.set(lease, *self._tree())
        await one.fold(lease)
        assert await two.count(UNIT) == 6

    async def test_a_resource_may_become_a_scope(self, open_store: Open) -> None:
        """When the record above others changes its kind, or goes and comes, those below it stay whole."""
        one, two = await open_store(), await open_store()
        below = [a_resource(f"{UNIT}/x/y"), a_scope(f"{UNIT}/x/s"), a_resource(f"{UNIT}/x/s/z")]
        lease = await self._fill(one, a_scope(UNIT, STAGE_KIND), a_resource(f"{UNIT}/x"), *below, keep=True)
        await one.fold(lease)
        for above in (a_scope(f"{UNIT}/x"), a_resource(f"{UNIT}/x"), None, a_resource(f"{UNIT}/x")):
            await (one.set(lease, above) if above else one.delete(lease, f"{UNIT}/x"))
            await one.fold(lease)
            expected = {UNIT, *(record.fqn for record in below), *([f"{UNIT}/x"] if above else [])}
            assert set(await two.all(UNIT)) == expected

    async def test_what_was_acknowledged_is_there_for_the_next_holder(self, open_store: Open) -> None:
        """Without a fold or a release by the first holder, the next one finds everything and goes on from it."""
        one, two, three = await open_store(), await open_store(), await open_store()
        lease = await self._fill(one, *self._tree(), keep=True)
        await one.delete(lease, f"{UNIT}/site/page")
        await two.break_(UNIT)
        second = await two.acquire(UNIT, owner=an_owner(), timeout=0)
        loaded = await two.load(UNIT, lease=second)
        assert len(loaded.records) == len(self._tree()) - 1
        await two.set(second, a_resource(f"{UNIT}/api", rev=7))
        assert (await three.load(UNIT)).records[f"{UNIT}/api"].rev == 7
        await two.fold(second)
        assert (await three.load(UNIT)).records[f"{UNIT}/api"].rev == 7
        assert await three.count(UNIT) == 5
