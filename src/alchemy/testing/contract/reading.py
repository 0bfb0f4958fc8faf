"""What a store promises of reads."""

from __future__ import annotations

import pytest

from alchemy.state import STAGE_KIND, TEST_KIND, Application
from alchemy.testing.contract.base import Contract, Open
from alchemy.testing.contract.records import ODD_IDS, UNIT, a_resource, a_scope, an_owner, plain


class ReadingContract(Contract):
    """Tests of lists, counts and records, with names of every kind."""

    @pytest.mark.parametrize("folded", [False, True], ids=["log", "snapshot"])
    async def test_reading(self, open_store: Open, folded: bool) -> None:
        """Lists, counts and records are right without a lease, from the log of commits and from the snapshot."""
        one, two = await open_store(), await open_store()
        lease = await self._fill(one, *self._tree(), keep=True)
        await self._fill(one, a_scope("notes/test/t1", TEST_KIND), a_resource("notes/test/t1/x"), unit="notes/test/t1")
        if folded:
            await one.fold(lease)
        tree = {record.fqn: record for record in self._tree()}
        assert plain((await two.load(UNIT)).records) == plain(tree)
        assert plain(await two.all(UNIT)) == plain(tree)
        assert list(await two.list(UNIT)) == ["api", "site"]
        assert list(await two.list(f"{UNIT}/database")) == ["main-db"]
        assert list(await two.list(f"{UNIT}/site")) == ["page"]
        assert list(await two.list(f"{UNIT}/nowhere")) == []
        assert list(await two.list_scopes(UNIT)) == [f"{UNIT}/database"]
        assert list(await two.list_scopes(f"{UNIT}/database")) == [f"{UNIT}/database/tables"]
        assert list(await two.list_scopes(f"{UNIT}/site")) == [f"{UNIT}/site/assets"]
        assert list(await two.list_scopes("notes")) == [UNIT, "notes/test/t1"]
        assert list(await two.list_scopes("")) == ["notes"]
        assert await two.count(UNIT) == 6
        assert await two.count(f"{UNIT}/database") == 2
        assert await two.count("notes") == 7
        assert await two.count("notes/dev") == 0
        assert set(await two.all(f"{UNIT}/site")) == {fqn for fqn in tree if fqn.startswith(f"{UNIT}/site")}
        assert set(await two.all("notes")) == {*tree, "notes/test/t1", "notes/test/t1/x"}
        assert await two.get(f"{UNIT}/nowhere") is None
        assert await two.get("elsewhere/prod/x") is None
        found = await two.get_batch([f"{UNIT}/api", f"{UNIT}/database", f"{UNIT}/nowhere", "notes/test/t1/x"])
        assert set(found) == {f"{UNIT}/api", f"{UNIT}/database", "notes/test/t1/x"}

    async def test_reading_an_empty_place(self, open_store: Open) -> None:
        """Where nothing was written nothing is found, and that is no error."""
        one = await open_store()
        assert (await one.load(UNIT)).records == {}
        assert await one.all(UNIT) == {}
        assert list(await one.list(UNIT)) == []
        assert list(await one.list_scopes("")) == []
        assert list(await one.list_scopes("notes")) == []
        assert await one.count(UNIT) == 0
        assert await one.get(f"{UNIT}/a") is None
        assert await one.get_batch([f"{UNIT}/a"]) == {}

    async def test_an_application_without_units_is_listed(self, open_store: Open) -> None:
        """The record of an application is enough for it to be found."""
        one = await open_store()
        await one.create_application(Application(app="Notes", lineage="00" * 16, created_at=""))
        assert list(await one.list_scopes("")) == ["Notes"]
        assert list(await one.list_scopes("Notes")) == []

    async def test_loading_with_the_lease_sees_what_was_queued(self, open_store: Open) -> None:
        """The holder's load contains its own writes, and writing goes on after it."""
        one = await open_store()
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        one.set(lease, a_resource(f"{UNIT}/a"))
        assert set((await one.load(UNIT, lease=lease)).records) == {f"{UNIT}/a"}
        await one.set(lease, a_resource(f"{UNIT}/b"))
        assert await one.list(UNIT) == ["a", "b"]

    @pytest.mark.parametrize("folded", [False, True], ids=["log", "snapshot"])
    async def test_odd_ids(self, open_store: Open, folded: bool) -> None:
        """Ids that differ in case or Unicode, long ones and the store's own words name resources and scopes alike."""
        one, two = await open_store(), await open_store()
        records = [a_scope(UNIT, STAGE_KIND), a_scope(f"{UNIT}/scopes-of"), a_resource(f"{UNIT}/parent")]
        for name in ODD_IDS:
            records.append(a_resource(f"{UNIT}/parent/{name}"))
            records.append(a_scope(f"{UNIT}/scopes-of/{name}"))
            records.append(a_resource(f"{UNIT}/scopes-of/{name}/{name}"))
        lease = await self._fill(one, *records, keep=True)
        if folded:
            await one.fold(lease)
        assert plain(await two.all(UNIT)) == plain({record.fqn: record for record in records})
        assert list(await two.list(f"{UNIT}/parent")) == sorted(ODD_IDS)
        assert list(await two.list_scopes(f"{UNIT}/scopes-of")) == sorted(
            f"{UNIT}/scopes-of/{name}" for name in ODD_IDS
        )
        for name in ODD_IDS:
            assert await two.get(f"{UNIT}/scopes-of/{name}/{name}") is not None

    @pytest.mark.parametrize("name", sorted(set(ODD_IDS) - {"test"}), ids=lambda name: ascii(name[:12]))
    async def test_odd_units(self, open_store: Open, name: str) -> None:
        """Stages, applications and test scopes with such names are kept apart and found again by name."""
        one, two = await open_store(), await open_store()
        units = [f"app/{name}", f"app/test/{name}", f"x{name[:120]}/prod"]
        for unit in units:
            await self._fill(one, a_scope(unit, STAGE_KIND), a_resource(f"{unit}/r"), unit=unit)
            lease = await one.acquire(unit, owner=an_owner(), timeout=0)
            await one.fold(lease)
        await self._fill(one, a_resource("app/plain/r"), unit="app/plain")
        assert list(await two.list_scopes("app")) == sorted(["app/plain", *units[:2]])
        assert list(await two.list_scopes("")) == sorted(["app", f"x{name[:120]}"])
        assert [lease.unit for lease in await two.locks()] == sorted(units)
