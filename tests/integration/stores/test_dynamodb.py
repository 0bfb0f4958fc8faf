"""DynamoDB keeps the contract of every store."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiobotocore.session import get_session  # type: ignore[import-untyped]
from tests.integration.stores.servers.ministack import KEYS, MiniStack

from alchemy.errors import ConfigurationError, LeaseLost, StateTooNew
from alchemy.ports import Lease, StateStore
from alchemy.state import Application
from alchemy.stores import DynamoDBStateStore, open_store
from alchemy.stores._dynamodb import DynamoDBBackend
from alchemy.stores._dynamodb_locks import GRACE
from alchemy.stores._dynamodb_table import Page, Table, key
from alchemy.stores._patience import persist
from alchemy.stores.backend import Blocked, Commit, Taken, Unreachable
from alchemy.testing.contract import UNIT, ServerContract, StateStoreContract, a_resource, an_owner
from alchemy.testing.contract.servers import Reach

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniStack]:
    """Give a server for all tests of this module."""
    server = MiniStack(tmp_path_factory.mktemp("ministack"))
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the store credentials, as the environment of a run does."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


def reach_at(port: int, patience: float) -> StateStore:
    """Open a handle by way of a port."""
    return DynamoDBStateStore("state", endpoint=f"http://127.0.0.1:{port}", create=True, patience=patience)


class TestDynamoDBStateStore(StateStoreContract):
    """A table keeps the contract."""

    @pytest.fixture
    def store(self, shared: MiniStack) -> Callable[[], StateStore]:
        """Open handles to a server that was emptied."""
        shared.reset()
        return lambda: reach_at(shared.port, 30)


class TestDynamoDBServer(ServerContract):
    """The store bears what happens to servers."""

    @pytest.fixture
    def server(self, shared: MiniStack) -> MiniStack:
        """Give a server that was emptied."""
        shared.reset()
        return shared

    @pytest.fixture
    def reach(self) -> Reach:
        """Open handles by way of another port."""
        return reach_at


TABLE = "state"
LARGE = b"x" * 400_000
WRITES = ("transact_write_items", "batch_write_item")


class Died(Exception):
    """The process ended here, as far as the store can tell."""


class Ends:
    """Lets a table take some writes, and ends the process at the next: before it is sent, or before it is answered.

    Args:
        table: of one handle.
        after: how many writes go through.
        sent: whether the last is sent.
        error: raised.
    """

    def __init__(self, table: Table, *, after: int, sent: bool, error: Exception) -> None:
        self.left = after
        self._ask = table.ask
        self._sent = sent
        self._error = error
        table.ask = self.ask  # type: ignore[method-assign]

    async def ask(self, what: str, **request: Any) -> Any:
        if what not in WRITES:
            return await self._ask(what, **request)
        self.left -= 1
        if self.left == -1:
            if self._sent:
                await self._ask(what, **request)
            raise self._error
        return await self._ask(what, **request)


def a_backend(server: MiniStack) -> DynamoDBBackend:
    """Give what a handle has below it."""
    backend = DynamoDBStateStore(TABLE, endpoint=server.url, create=True).backend
    assert isinstance(backend, DynamoDBBackend)
    return backend


@pytest.fixture
async def pair(shared: MiniStack) -> AsyncGenerator[tuple[DynamoDBBackend, DynamoDBBackend]]:
    """Open two backends on a server that was emptied, as two processes do."""
    shared.reset()
    backends = a_backend(shared), a_backend(shared)
    for backend in backends:
        await backend.open()
    yield backends
    for backend in backends:
        await backend.close()


async def held(backend: DynamoDBBackend, chain: str = UNIT, *, ttl: float = 60) -> Lease:
    """Take a chain that is free, or becomes free."""
    while True:
        answer = await backend.take(chain, owner=an_owner(), ttl=ttl, nonce=secrets.token_hex(4))
        if isinstance(answer, Taken):
            return answer.lease
        await asyncio.sleep(0.01)


async def leftovers(backend: DynamoDBBackend, unit: str = UNIT) -> list[str]:
    """List what is in a unit's partition beside its records."""
    items = await backend._table.query(Page(f"unit#{unit}"))
    needed = {
        f"{item['part']['S']}#{n:05d}" for item in items if "part" in item for n in range(int(item["parts"]["N"]))
    }
    return [item["sk"]["S"] for item in items if item["sk"]["S"].startswith("x#") and item["sk"]["S"] not in needed]


def a_large_commit() -> tuple[dict[str, bytes], Commit, dict[str, bytes]]:
    """Give rows, a commit that is larger than one transaction, and what there is after it."""
    before = {f"{UNIT}/old{n}": b"old" for n in range(60)} | {f"{UNIT}/site/{n}": b"old" for n in range(5)}
    puts = {f"{UNIT}/new{n}": b"new" for n in range(120)} | {f"{UNIT}/large": LARGE, f"{UNIT}/old0": b"changed"}
    drops = [f"{UNIT}/old{n}" for n in range(1, 40)]
    kept = {fqn: row for fqn, row in before.items() if fqn not in drops and not fqn.startswith(f"{UNIT}/site")}
    return before, Commit("large", f"{UNIT}/site", drops, puts), kept | puts


@pytest.mark.parametrize("sent", [False, True], ids=["unsent", "unanswered"])
async def test_a_large_commit_is_all_or_nothing_wherever_it_ends(
    pair: tuple[DynamoDBBackend, DynamoDBBackend], shared: MiniStack, sent: bool
) -> None:
    """Whatever write a process ends at, readers see all of it or nothing, and the next holder goes on from there."""
    before, commit, after = a_large_commit()
    reader = pair[1]
    outcomes: list[bool] = []
    while True:
        writer = a_backend(shared)
        await writer.open()
        lease = await held(writer)
        await writer.commit(lease, UNIT, Commit(secrets.token_hex(8), UNIT, (), before))
        ends = Ends(writer._table, after=len(outcomes), sent=sent, error=Died())
        with contextlib.suppress(Died):
            await writer.commit(lease, UNIT, commit._replace(nonce=secrets.token_hex(8)))
        seen = await reader.load(UNIT)
        assert seen in (before, after)
        assert await reader.read(UNIT, [f"{UNIT}/new0", f"{UNIT}/old0"]) == {
            fqn: seen[fqn] for fqn in (f"{UNIT}/new0", f"{UNIT}/old0") if fqn in seen
        }
        assert list(await reader.units("notes")) == [UNIT]
        await reader.break_(UNIT, why=str(len(outcomes)))
        second = await held(reader)
        await reader.commit(second, UNIT, Commit(secrets.token_hex(8), None, (), {f"{UNIT}/next": b"next"}))
        assert await reader.load(UNIT, lease=second) == {**seen, f"{UNIT}/next": b"next"}
        await reader.fold(second, UNIT)
        assert await leftovers(reader) == []
        await reader.release(second)
        await writer.close()
        outcomes.append(seen == after)
        if ends.left >= 0:
            break
    assert outcomes == sorted(outcomes), "once it counts, it counts"
    assert {False, True} == {*outcomes}


async def test_a_large_commit_is_asked_for_again_wherever_its_answer_was_lost(
    pair: tuple[DynamoDBBackend, DynamoDBBackend], shared: MiniStack
) -> None:
    """The same commit asked for again after any write that was not answered gives what it gives at once."""
    before, commit, after = a_large_commit()
    place = 0
    while True:
        writer = a_backend(shared)
        await writer.open()
        lease = await held(writer)
        await writer.commit(lease, UNIT, Commit(secrets.token_hex(8), UNIT, (), before))
        ends = Ends(writer._table, after=place, sent=True, error=Unreachable("no answer"))
        again = commit._replace(nonce=secrets.token_hex(8))
        await persist(lambda: writer.commit(lease, UNIT, again))  # noqa: B023 - awaited here
        is_through = ends.left >= 0
        ends.left = 1000
        assert await pair[1].load(UNIT) == after
        await writer.fold(lease, UNIT)
        assert await leftovers(writer) == []
        await writer.release(lease)
        await writer.close()
        place += 1
        if is_through:
            return


async def test_no_reader_sees_half_a_commit(pair: tuple[DynamoDBBackend, DynamoDBBackend]) -> None:
    """While commits follow one another, of which some do not fit into a transaction, each load is of one moment."""
    writer, reader = pair
    lease = await held(writer)
    names = [f"{UNIT}/r{n}" for n in range(150)]
    seen: set[bytes] = set()
    done = asyncio.Event()

    async def write() -> None:
        for number in range(6):
            puts = dict.fromkeys(names, b"%d" % number)
            await writer.commit(lease, UNIT, Commit(secrets.token_hex(8), None, (), puts))
            if number % 2:
                await writer.commit(lease, UNIT, Commit(secrets.token_hex(8), None, names[90:], {}))
                continue
            while b"%d" % number not in seen:  # several are seen, however slow the reader is
                await asyncio.sleep(0)
        done.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        while not done.is_set():
            rows = await reader.load(UNIT)
            assert len({*rows.values()}) <= 1
            assert len(rows) in (0, 90, 150)
            seen |= {*rows.values()}
    assert len(seen) > 2


async def test_parts_of_large_rows_are_collected(pair: tuple[DynamoDBBackend, DynamoDBBackend]) -> None:
    """A row that was replaced, or dropped, leaves nothing after a fold; what is needed stays, and can be read alone."""
    writer, reader = pair
    lease = await held(writer)
    one, two = f"{UNIT}/one", f"{UNIT}/two"
    for number in range(3):
        rows = {one: b"%d" % number + LARGE, two: b"%d" % number}
        await writer.commit(lease, UNIT, Commit(str(number), None, (), rows))
    assert await leftovers(writer) != []
    await writer.fold(lease, UNIT)
    assert await leftovers(writer) == []
    assert await reader.load(UNIT) == {one: b"2" + LARGE, two: b"2"}
    assert await reader.read(UNIT, [one]) == {one: b"2" + LARGE}
    await writer.commit(lease, UNIT, Commit("last", None, (one,), {}))
    await writer.fold(lease, UNIT)
    assert await reader._table.query(Page(f"unit#{UNIT}", "x#")) == []


async def test_whoever_does_not_renew_loses_the_chain(pair: tuple[DynamoDBBackend, DynamoDBBackend]) -> None:
    """Unchanged for a ttl by the other's own clock: it is taken, also from above, and the old holder is refused."""
    first, second = pair
    for taken in (UNIT, "notes", f"{UNIT}/database"):
        old = await held(first, ttl=0.2)
        assert isinstance(await second.take(taken, owner=an_owner(), ttl=60, nonce="early"), Blocked)
        await first.renew(old, ttl=0.2)
        assert isinstance(await second.take(taken, owner=an_owner(), ttl=60, nonce="early"), Blocked)
        new = await held(second, taken)
        with pytest.raises(LeaseLost, match=r"has taken|has it since"):
            await first.commit(old, UNIT, Commit(secrets.token_hex(8), None, (), {f"{UNIT}/late": b"{}"}))
        with pytest.raises(LeaseLost):
            await first.renew(old, ttl=60)
        assert await second.load(UNIT) == {}
        await second.release(new)


async def test_one_who_is_long_overdue_by_the_servers_clock_holds_nothing(
    pair: tuple[DynamoDBBackend, DynamoDBBackend],
) -> None:
    """A process that sees a lease for the first time, past its deadline, takes it at once, and lists it no more."""
    first, second = pair
    old = await held(first)
    await first.renew(old, ttl=-(GRACE + 2))
    assert list(await second.locks()) == []
    assert isinstance(await second.take(UNIT, owner=an_owner(), ttl=60, nonce="new"), Taken)


async def test_one_takes_a_chain_from_many_below_it(pair: tuple[DynamoDBBackend, DynamoDBBackend]) -> None:
    """More than one transaction has room for, none of whom renews any more: all have lost it."""
    first, second = pair
    old = [await held(first, f"{UNIT}/s{n}") for n in range(35)]
    for lease in old:
        await first.renew(lease, ttl=-(GRACE + 2))
    new = await held(second)
    assert [lease.token for lease in await second.locks()] == [new.token]
    for lease in old[::7]:
        with pytest.raises(LeaseLost, match="takes"):
            await first.commit(lease, UNIT, Commit(secrets.token_hex(8), None, (), {f"{lease.unit}/late": b"{}"}))


async def test_breaking_again_breaks_nobody_else(pair: tuple[DynamoDBBackend, DynamoDBBackend]) -> None:
    """Asked again because its answer was lost, a break leaves who has taken the chain since."""
    first, second = pair
    await held(first)
    Ends(first._table, after=0, sent=True, error=Unreachable("no answer"))
    with pytest.raises(Unreachable):
        await first.break_(UNIT, why="because")
    new = await held(second)
    await first.break_(UNIT, why="because")
    assert [lease.token for lease in await second.locks()] == [new.token]


async def test_a_table_is_made_only_when_asked(shared: MiniStack) -> None:
    """Without `create` a missing table is an error with the remedy; with it, it is there, recovery turned on."""
    shared.reset()
    store = DynamoDBStateStore("absent", endpoint=shared.url)
    with pytest.raises(ConfigurationError, match="no table absent") as refused:
        await store.init()
    assert "create=true" in (refused.value.hint or "")
    await store.deinit()
    made = open_store(f"dynamodb://absent?endpoint={shared.url}&create=true&recovery=true")
    await made.init()
    await store.init()
    backend = a_backend(shared)
    await backend.open()
    answer = await backend._table.ask("describe_continuous_backups", TableName="absent")
    await backend.close()
    recovery = answer["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    assert recovery["PointInTimeRecoveryStatus"] == "ENABLED"
    assert made.url == f"dynamodb://absent?endpoint={shared.url}"
    await store.deinit()
    await made.deinit()


async def test_another_ones_table_and_a_newer_format_are_refused(shared: MiniStack) -> None:
    """Nothing is written to either."""
    shared.reset()
    backend = a_backend(shared)
    await backend.open()
    name = {"AttributeName": "id", "AttributeType": "S"}
    await backend._table.ask(
        "create_table",
        TableName="other",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[name],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    with pytest.raises(ConfigurationError, match="another form"):
        await DynamoDBStateStore("other", endpoint=shared.url, create=True).backend.open()
    await backend._table.write([{**key("alchemy", "format"), "format": {"N": "2"}}])
    with pytest.raises(StateTooNew):
        await backend.open()
    await backend.close()


async def test_without_credentials_or_a_region_it_is_said(
    shared: MiniStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each is an error of its own, with the variables to set."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(ConfigurationError, match="says no region"):
        await DynamoDBStateStore(TABLE, endpoint=shared.url).backend.open()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(ConfigurationError, match="without AWS credentials"):
        await DynamoDBStateStore(TABLE, endpoint=shared.url, region="us-east-1").backend.open()


@pytest.mark.parametrize("url", ["dynamodb:", "dynamodb://", "dynamodb://table/x", "dynamodb://table?create=yes"])
def test_a_url_that_cannot_be_read_is_refused(url: str) -> None:
    """With the form that is wanted."""
    with pytest.raises(ConfigurationError):
        open_store(url)


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniStack]:
    """Give a server where keys and policies count."""
    server = MiniStack(tmp_path_factory.mktemp("checked"), checked=True)
    server.start()
    try:
        yield server
    finally:
        server.kill()


async def test_the_policy_in_the_documentation_is_enough(checked: MiniStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user with the page's policy and no other can do all that a run does, but make no table."""
    page = (Path(__file__).parents[3] / "docs" / "stores" / "dynamodb.md").read_text()
    policy = page.partition("```json\n")[2].partition("```")[0]
    owner = DynamoDBStateStore("alchemy-state", endpoint=checked.url, create=True)
    await owner.init()
    await owner.deinit()
    session = get_session()
    async with session.create_client("iam", endpoint_url=checked.url) as iam:
        await iam.create_user(UserName="deployer")
        await iam.put_user_policy(UserName="deployer", PolicyName="state", PolicyDocument=policy)
        pair = (await iam.create_access_key(UserName="deployer"))["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", pair["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", pair["SecretAccessKey"])
    other = DynamoDBStateStore("another", endpoint=checked.url, create=True)
    with pytest.raises(ConfigurationError, match="does not accept"):
        await other.init()
    await other.deinit()
    store = DynamoDBStateStore("alchemy-state", endpoint=checked.url)
    await store.init()
    await store.create_application(Application(app="notes", lineage="00" * 16, created_at=""))
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    name = "state-2026-11-21T09-00-00-000Z.json"
    await store.save_backup(lease, name, b"{}")
    await store.set(lease, *(a_resource(f"{UNIT}/r{n}") for n in range(120)))
    await store.delete(lease, f"{UNIT}/r0")
    await store.clear_scope(lease, UNIT)
    await store.set(lease, a_resource(f"{UNIT}/a"))
    assert await store.get(f"{UNIT}/a") is not None
    assert list(await store.list_scopes("")) == ["notes"]
    await store.append_log(UNIT, "run.ndjson", b"{}\n")
    assert (await store.read_backup(UNIT, name), await store.read_log(UNIT, "run.ndjson")) == (b"{}", b"{}\n")
    await store.drop_backups(UNIT, name)
    await store.drop_logs(UNIT, "run.ndjson")
    await store.renew(lease)
    await store.fold(lease)
    await store.release(lease)
    await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.break_(UNIT)
    await store.deinit()


async def test_wrong_credentials_are_refused(checked: MiniStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and without showing them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONGWRONGWRONG")
    store = DynamoDBStateStore("alchemy-state", endpoint=checked.url)
    with pytest.raises(ConfigurationError, match="does not accept these credentials") as refused:
        await store.init()
    assert "AKIAWRONG" not in str(refused.value)
    await store.deinit()
