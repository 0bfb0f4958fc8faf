"""What every state store promises, as tests: subclass `StateStoreContract` and say how to open the store.

```python
class TestMyStore(StateStoreContract):
    @pytest.fixture
    def store(self, my_server):
        return lambda: MyStore(my_server.url)      # each call: another handle to the same, at first empty, place
```

Needs pytest and anyio's plugin, which comes with anyio. A backend that passes against a real server is a backend.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from alchemy.errors import LeaseLost, LockedError, StateError
from alchemy.ports import Lease, Owner, StateStore
from alchemy.state import SCOPE_KIND, STAGE_KIND, TEST_KIND, Application, JsonObject, Record, Status, to_json

UNIT = "notes/prod"
Open = Callable[[], Awaitable[StateStore]]

ODD_IDS = (
    *(
        "A",
        "a",
        "%41",
        "%",
        "~",
        "-",
        "_x",
        "x.y",
        ".hidden",
        "...",
        "con",
        "a b",
        "a'b\"c",
        "a*b?c",
        "#",
        "é",
        "日本語",
        "💾",
    ),
    *("x" * 128, "X" * 128, "ß" * 128, "💾" * 128, "💾" * 127 + "é"),
    *("resources", "scopes", "backups", "logs", "locks", "state.json", "state.json.new", "journal-1.ndjson", "test"),
)


def an_owner(operation: str = "deploy") -> Owner:
    """Give this process as an owner."""
    return Owner(user="tester", host="here", pid=os.getpid(), operation=operation)


def a_resource(fqn: str, **fields: object) -> Record:
    """Give a resource's record; `fields` as in `Record`."""
    values: dict[str, object] = {
        "kind": "fs::File",
        "id": fqn.rpartition("/")[2],
        "fqn": fqn,
        "status": Status.CREATED,
        "provider": "alchemy.fs._file:FileProvider",
        "props": {"path": "README.txt"},
        "output": {"size": 5},
        "created_at": "2026-11-21T09:00:00.000Z",
    }
    return Record(**(values | fields))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def a_scope(chain: str, kind: str = SCOPE_KIND) -> Record:
    """Give a scope's record."""
    return a_resource(chain, kind=kind, provider="", props={}, output={})


def plain(records: dict[str, Record] | object) -> dict[str, JsonObject]:
    """Give records as what is stored, so that they can be compared."""
    assert isinstance(records, dict)
    return {fqn: to_json(record) for fqn, record in records.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


class StateStoreContract:
    """Tests of a state store; a subclass gives the fixture `store`."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend(self) -> str:
        """Run on asyncio."""
        return "asyncio"

    @pytest.fixture
    def store(self) -> Callable[[], StateStore]:
        """Open another handle to the place under test, which is empty when a test begins."""
        raise NotImplementedError("a subclass of StateStoreContract gives the fixture `store`")

    @pytest.fixture
    async def open_store(self, store: Callable[[], StateStore]) -> AsyncGenerator[Open]:
        """Open handles that are made ready, and let go of after the test."""
        handles: list[StateStore] = []

        async def open_one() -> StateStore:
            handle = store()
            await handle.init()
            handles.append(handle)
            return handle

        yield open_one
        for handle in handles:
            # What a test has left unawaited on purpose is told here at last.
            with contextlib.suppress(StateError):
                await handle.deinit()

    # -- the place -----------------------------------------------------------------------------------------------

    async def test_init_and_deinit_may_be_repeated(self, open_store: Open) -> None:
        """Making ready twice and letting go twice is no error, and what was acknowledged stays."""
        one = await open_store()
        await one.init()
        await self._fill(one, a_resource(f"{UNIT}/readme"))
        await one.deinit()
        await one.deinit()
        assert await (await open_store()).list(UNIT) == ["readme"]

    async def test_the_url_is_told(self, open_store: Open) -> None:
        """A store says where it is, as a URL without credentials."""
        url = (await open_store()).url
        assert ":" in url
        assert "@" not in url

    # -- the application's record ----------------------------------------------------------------------------------

    async def test_an_application_is_written_once(self, open_store: Open) -> None:
        """The first record stands, whoever comes later is given it."""
        one, two = await open_store(), await open_store()
        first = Application(app="notes", lineage="00" * 16, created_at="2026-11-21T09:00:00.000Z")
        assert await one.application("notes") is None
        assert await one.create_application(first) == first
        later = Application(app="notes", lineage="ff" * 16, created_at="2027-01-01T00:00:00.000Z")
        assert await two.create_application(later) == first
        assert await two.application("notes") == first
        assert await two.application("other") is None

    async def test_of_many_writers_of_an_application_one_wins(self, open_store: Open) -> None:
        """Handles that create it at the same time are all given the same record."""
        handles = [await open_store() for _ in range(8)]
        wanted = [Application(app="notes", lineage=f"{n:032x}", created_at="") for n in range(8)]
        pairs = zip(handles, wanted, strict=True)
        given = await asyncio.gather(*(handle.create_application(one) for handle, one in pairs))
        assert len({one.lineage for one in given}) == 1
        assert await handles[0].application("notes") == given[0]

    # -- leases ----------------------------------------------------------------------------------------------------

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

    @pytest.mark.parametrize("chain", ["notes", "notes/prod/database", "notes/test", "", "notes//x"])
    async def test_only_units_are_held(self, open_store: Open, chain: str) -> None:
        """A chain above or below a unit is refused with the remedy."""
        with pytest.raises(StateError, match="not a unit"):
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

    # -- writing ---------------------------------------------------------------------------------------------------

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

    # -- reading ---------------------------------------------------------------------------------------------------

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

    # -- folding ---------------------------------------------------------------------------------------------------

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
        """With no record left but its own a folded unit is gone, except for its logs; and it can come again."""
        one, two = await open_store(), await open_store()
        await one.create_application(Application(app="notes", lineage="00" * 16, created_at=""))
        lease = await self._fill(one, *self._tree(), keep=True)
        await one.append_log(UNIT, "run.ndjson", b"{}\n")
        await one.fold(lease)
        gone = [record.fqn for record in self._tree() if record.fqn != UNIT]
        await one.delete(lease, *gone)
        await one.fold(lease)
        assert await two.all(UNIT) == {}
        assert list(await two.list_scopes("notes")) == []
        assert await two.application("notes") is not None
        assert list(await two.logs(UNIT)) == ["run.ndjson"]
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

    # -- durability ------------------------------------------------------------------------------------------------

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

    # -- logs ------------------------------------------------------------------------------------------------------

    async def test_logs(self, open_store: Open) -> None:
        """Lines are added in order and read back whole by any handle, oldest log first; logs are not state."""
        one, two = await open_store(), await open_store()
        assert list(await one.logs(UNIT)) == []
        await one.append_log(UNIT, "2026-11-22T09-00-00-000Z.ndjson", b'{"b":1}\n')
        await one.append_log(UNIT, "2026-11-21T09-00-00-000Z.ndjson", b'{"a":1}\n')
        await one.append_log(UNIT, "2026-11-21T09-00-00-000Z.ndjson", b'{"a":2}\n{"a":3}\n')
        names = ["2026-11-21T09-00-00-000Z.ndjson", "2026-11-22T09-00-00-000Z.ndjson"]
        assert list(await two.logs(UNIT)) == names
        assert await two.read_log(UNIT, names[0]) == b'{"a":1}\n{"a":2}\n{"a":3}\n'
        assert list(await two.list_scopes("notes")) == []
        assert await two.all(UNIT) == {}

    async def test_a_log_that_is_not_there(self, open_store: Open) -> None:
        """Reading an unknown log is an error that names it."""
        with pytest.raises(StateError, match=r"nothing\.ndjson"):
            await (await open_store()).read_log(UNIT, "nothing.ndjson")

    @pytest.mark.parametrize("name", ["", "..", "../state.json", "a/b", ".hidden", "a\0b", "a\n", "x" * 300])
    async def test_a_log_stays_in_its_place(self, open_store: Open, name: str) -> None:
        """A name that would lead elsewhere is refused for writing and for reading."""
        one = await open_store()
        with pytest.raises(StateError):
            await one.append_log(UNIT, name, b"{}\n")
        with pytest.raises(StateError):
            await one.read_log(UNIT, name)
        assert list(await one.logs(UNIT)) == []

    # -- what the tests write ----------------------------------------------------------------------------------------

    @staticmethod
    def _tree() -> list[Record]:
        """A unit with nested scopes, a composite with a child, and a scope within that."""
        return [
            a_scope(UNIT, STAGE_KIND),
            a_resource(f"{UNIT}/api"),
            a_resource(f"{UNIT}/site"),
            a_resource(f"{UNIT}/site/page"),
            a_scope(f"{UNIT}/site/assets"),
            a_resource(f"{UNIT}/site/assets/logo"),
            a_scope(f"{UNIT}/database"),
            a_resource(f"{UNIT}/database/main-db"),
            a_scope(f"{UNIT}/database/tables"),
            a_resource(f"{UNIT}/database/tables/notes"),
        ]

    @staticmethod
    async def _fill(store: StateStore, *records: Record, unit: str = UNIT, keep: bool = False) -> Lease:
        """Write records under a lease of their own."""
        lease = await store.acquire(unit, owner=an_owner(), timeout=0)
        await store.set(lease, *records)
        if not keep:
            await store.release(lease)
        return lease
