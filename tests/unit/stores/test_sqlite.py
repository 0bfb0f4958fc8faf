"""A SQLite file between processes, and files that are none, are another's, are damaged, full or locked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import pytest
from tests.stopping import stop

from alchemy.errors import ConfigurationError, LeaseLost, LockedError, StateDamaged, StateError, StateTooNew
from alchemy.ports import Lease, Owner
from alchemy.state import STAGE_KIND
from alchemy.stores import SQLiteStateStore, _mounts, _sqlite_file, _sqlite_schema, is_there, open_store
from alchemy.stores._schema import Migration
from alchemy.stores._sqlite import SQLiteBackend
from alchemy.stores._sqlite_schema import APPLICATION_ID, MIGRATIONS
from alchemy.stores.backend import Blocked, Taken
from alchemy.testing.contract import UNIT, a_resource, a_scope, an_owner
from alchemy.testing.contract.servers import _Duel, _interleavings

pytestmark = pytest.mark.anyio
ELSEWHERE = Owner(user="ci", host="elsewhere", pid=os.getpid(), operation="deploy")

HOLDER = """
import asyncio, json, sys
from alchemy.errors import LeaseLost
from alchemy.ports import Owner
from alchemy.stores import SQLiteStateStore
from alchemy.testing.contract import a_resource

async def main():
    store = SQLiteStateStore(sys.argv[1])
    await store.init()
    lease = await store.acquire("notes/prod", owner=Owner(user="slow", host="here", pid=1, operation="deploy"),
                                timeout=0, ttl=float(sys.argv[2]))
    await store.set(lease, a_resource("notes/prod/a", rev=1))
    print("held", flush=True)
    sys.stdin.readline()
    told = {}
    late = a_resource("notes/prod/a")
    calls = {"renew": store.renew, "set": lambda lease: store.set(lease, late), "fold": store.fold}
    for what, call in calls.items():
        try:
            await call(lease)
        except LeaseLost as error:
            told[what] = error.message
    print(json.dumps(told), flush=True)

asyncio.run(main())
"""

WRITER = """
import asyncio, sys
from alchemy.stores import SQLiteStateStore
from alchemy.testing.contract import a_resource, an_owner

async def main():
    store = SQLiteStateStore(sys.argv[1])
    await store.init()
    lease = await store.acquire("notes/prod", owner=an_owner(), timeout=0)
    for rev in range(1, 201):
        await store.set(lease, *(a_resource(f"notes/prod/r{n}", rev=rev) for n in range(5)))
        print(rev, flush=True)
    await store.release(lease)
    await store.deinit()

asyncio.run(main())
"""

RACER = """
import asyncio, os, random, sys
from pathlib import Path
from alchemy.stores import SQLiteStateStore
from alchemy.testing.contract import an_owner

chains = ["notes", "notes/prod", "notes/prod/database", "notes/prod/database/x", "notes/prod/compute", "notes/dev"]

async def main():
    marks, choice = Path(sys.argv[2]), random.Random(int(sys.argv[3]))
    store = SQLiteStateStore(sys.argv[1])
    await store.init()
    for _ in range(12):
        chain = choice.choice(chains)
        lease = await store.acquire(chain, owner=an_owner(), timeout=120)
        mark = marks / chain.replace("/", "+")
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        for other in os.listdir(marks):
            other = other.replace("+", "/")
            assert other == chain or not (other + "/").startswith(chain + "/"), (chain, other)
            assert other == chain or not (chain + "/").startswith(other + "/"), (chain, other)
        mark.unlink()
        await store.release(lease)
    await store.deinit()

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is."""
    return tmp_path / "state.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStateStore]:
    """A store that is ready."""
    made = SQLiteStateStore(path)
    await made.init()
    yield made
    with contextlib.suppress(StateError):  # what a test has broken on purpose is told once more
        await made.deinit()


def database(store: SQLiteStateStore) -> sqlite3.Connection:
    """Give the connection of a store; it may be used in the store's own thread only."""
    assert isinstance(store.backend, SQLiteBackend)
    return store.backend._file._opened()


async def execute(store: SQLiteStateStore, statement: str) -> None:
    """Run a statement on the connection of a store."""

    async def run() -> None:
        database(store).execute(statement)

    await store._portal.run(run())


# -- several processes -------------------------------------------------------------------------------------------------


def start(script: str, *args: object) -> subprocess.Popen[str]:
    """Start a Python program that talks over pipes."""
    command = [sys.executable, "-c", script, *map(str, args)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def hear(process: subprocess.Popen[str]) -> str:
    """Wait for a line."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def stop_between_writes(process: subprocess.Popen[str], path: Path) -> None:
    """Stop a process while it is not writing to a database: in the middle of that it would keep others out."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as mine:
        mine.execute("BEGIN IMMEDIATE")
        stop(process)


async def test_a_killed_holder_is_recognised_at_once(path: Path, store: SQLiteStateStore) -> None:
    """Nobody waits for the ttl of a process that is gone; what it was told is written is there."""
    with start(HOLDER, path, 600) as holder:
        assert hear(holder) == "held"
        (lease,) = await store.locks()
        with pytest.raises(LockedError):
            await store.acquire(UNIT, owner=an_owner(), timeout=0)
        holder.kill()
    assert list(await store.locks()) == []
    mine = await store.acquire("notes", owner=an_owner(), timeout=0)
    await store.release(mine)
    mine = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    assert mine.token > lease.token + 1, "the dead holder's was used up"
    assert set((await store.load(UNIT, lease=mine)).records) == {f"{UNIT}/a"}
    assert len(os.listdir(f"{path}-locks")) == 1, "nothing is left of the dead"


async def test_a_stopped_holder_is_overtaken_and_notices(path: Path, store: SQLiteStateStore) -> None:
    """One stopped for longer than its lease loses the unit to whoever waits, and can do nothing when it goes on."""
    with start(HOLDER, path, 0.5) as holder:
        assert hear(holder) == "held"
        stop_between_writes(holder, path)
        try:
            lease = await store.acquire(UNIT, owner=an_owner("destroy"), timeout=60)
            await store.set(lease, a_resource(f"{UNIT}/a", rev=2))
        finally:
            holder.send_signal(signal.SIGCONT)
        told, _ = await asyncio.to_thread(holder.communicate, "\n")
    said = json.loads(told)
    assert set(said) == {"renew", "set", "fold"}
    assert all("tester@here" in message and "destroy" in message for message in said.values())
    assert {fqn: record.rev for fqn, record in (await store.all(UNIT)).items()} == {f"{UNIT}/a": 2}


async def test_a_writer_that_is_killed(path: Path, store: SQLiteStateStore) -> None:
    """What it was told is written is there, and of the commit that it was making all or nothing."""
    with start(WRITER, path) as writer:
        while hear(writer) != "20":
            pass
        writer.kill()
        told, _ = writer.communicate()
    acknowledged = max([20, *map(int, told.split())])
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    revs = [record.rev for record in (await store.load(UNIT, lease=lease)).records.values()]
    assert len(revs) == 5
    assert set(revs) in ({acknowledged}, {acknowledged + 1})


async def test_a_reader_sees_whole_commits(path: Path, store: SQLiteStateStore) -> None:
    """While another process writes, every read gives one commit's records, and never older ones than before."""
    revs = [0]
    with start(WRITER, path) as writer:
        assert hear(writer) == "1"
        while writer.poll() is None:
            seen = {record.rev for record in (await store.all(UNIT)).values()}
            assert len(seen) == 1
            revs += seen
    assert writer.returncode == 0
    assert revs == sorted(revs)
    assert {record.rev for record in (await store.all(UNIT)).values()} == {200}


def test_racing_processes_never_hold_what_lies_in_one_another(tmp_path: Path) -> None:
    """Of processes that take chains above and below one another at once, never two hold at the same time."""
    marks = tmp_path / "marks"
    marks.mkdir()
    # The first to come make the tables, all at once.
    racers = [start(RACER, tmp_path / "state.db", marks, seed) for seed in range(4)]
    for racer in racers:
        racer.communicate()
    assert [racer.returncode for racer in racers] == [0] * 4


async def test_first_users_do_not_collide(tmp_path: Path) -> None:
    """Of many that open an empty place at once none sees tables in part, which it would take for another program's."""
    for round_ in range(6):
        handles = [SQLiteStateStore(tmp_path / f"{round_}.db") for _ in range(16)]
        await asyncio.gather(*(handle.init() for handle in handles))
        await asyncio.gather(*(handle.deinit() for handle in handles))


async def test_of_fifty_racers_one_wins(path: Path) -> None:
    """Of fifty that take a unit at the same instant exactly one gets it."""
    handles = [SQLiteStateStore(path) for _ in range(50)]
    await asyncio.gather(*(handle.init() for handle in handles))
    asked = [handle.acquire(UNIT, owner=an_owner(), timeout=0) for handle in handles]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(answer, Lease) for answer in answers) == 1
    assert sum(isinstance(answer, LockedError) for answer in answers) == 49
    await asyncio.gather(*(handle.deinit() for handle in handles))


async def test_no_interleaving_lets_a_stale_write_through(path: Path, store: SQLiteStateStore) -> None:
    """In every order of what two holders do, a write lands exactly if its lease is the newest and still held."""
    other = SQLiteStateStore(path)
    for number, order in enumerate(_interleavings(["write", "write", "release"], ["break", "take", "write"])):
        await _Duel(store, other, f"notes/order-{number}").run(order)
    await other.deinit()


async def test_a_holder_on_another_machine(path: Path) -> None:
    """Its flock may not be seen: it holds until it was seen unchanged for its ttl."""
    backend, other = SQLiteBackend(path), SQLiteBackend(path)
    taken = await other.take(UNIT, owner=ELSEWHERE, ttl=0.05, nonce="1")
    assert isinstance(taken, Taken)
    await other.close()
    await backend._file.write(
        lambda db: db.execute("UPDATE leases SET machine = 'x', deadline = ?", (time.time() + 60,))
    )
    blocked = await backend.take(UNIT, owner=an_owner(), ttl=60, nonce="2")
    assert isinstance(blocked, Blocked)
    assert blocked.holder.owner == ELSEWHERE
    end = time.monotonic() + 0.06
    while time.monotonic() < end:
        await asyncio.sleep(0.01)
    taken = await backend.take(UNIT, owner=an_owner(), ttl=60, nonce="3")
    assert isinstance(taken, Taken)
    again = await backend.take(UNIT, owner=an_owner(), ttl=60, nonce="3")
    assert again == taken, "asked again, the same lease"
    await backend.close()


async def test_a_writer_is_waited_for_without_blocking(path: Path, store: SQLiteStateStore) -> None:
    """While another program keeps the file locked, reads go on; the write is done when it lets go."""
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    async with asyncio.TaskGroup() as group:
        written = group.create_task(_await(store.set(lease, a_resource(f"{UNIT}/a"))))
        for _ in range(20):
            assert await store.all(UNIT) == {}
        assert not written.done()
        other.execute("ROLLBACK")
    other.close()
    assert await store.list(UNIT) == ["a"]


async def test_a_file_that_stays_locked(path: Path, store: SQLiteStateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits in vain is told for how long, and what to do."""
    monkeypatch.setattr(_sqlite_file, "BUSY_PATIENCE", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateError, match=r"kept locked by another process for 0\.05 s") as locked:
        await store.break_(UNIT)
    assert locked.value.hint
    other.close()


async def _await(ack: Awaitable[None]) -> None:
    await ack


# -- what the file is --------------------------------------------------------------------------------------------------


async def test_what_is_in_the_file(path: Path, store: SQLiteStateStore) -> None:
    """It says whose it is and of which version, and is nobody else's to read."""
    other = sqlite3.connect(path)
    assert other.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert other.execute("SELECT version FROM schema_version").fetchall() == [(MIGRATIONS[-1].version,)]
    steps = other.execute("SELECT version, description FROM migrations ORDER BY version").fetchall()
    assert steps == [(step.version, step.description) for step in MIGRATIONS]
    other.close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert store.url == f"sqlite://{path}"


async def test_a_step_that_was_done_is_done_again(path: Path, store: SQLiteStateStore) -> None:
    """When the version is older than the tables, the steps are repeated, and nothing is lost."""
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.set(lease, a_resource(f"{UNIT}/a"))
    await execute(store, "UPDATE schema_version SET version = 0")
    other = SQLiteStateStore(path)
    await other.init()
    assert await other.list(UNIT) == ["a"]
    await other.deinit()
    await execute(store, "DELETE FROM schema_version")
    await other.init()
    assert await other.list(UNIT) == ["a"]
    await other.deinit()


async def test_an_older_file_is_changed(path: Path, store: SQLiteStateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are made by who opens it, in order and each as a whole; whoever is older by then is refused."""
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.set(lease, a_resource(f"{UNIT}/a"))
    good = Migration(2, "notes of people", ("CREATE TABLE IF NOT EXISTS remarks (fqn TEXT PRIMARY KEY)",))
    bad = Migration(3, "more notes", ("CREATE TABLE IF NOT EXISTS more (fqn TEXT)", "INSERT INTO nowhere VALUES (1)"))
    monkeypatch.setattr(_sqlite_schema, "MIGRATIONS", (*MIGRATIONS, good, bad))
    newer = SQLiteStateStore(path)
    with pytest.raises(StateError, match="nowhere"):
        await newer.init()
    other = sqlite3.connect(path)
    assert other.execute("SELECT version FROM schema_version").fetchall() == [(2,)], "the first of them stands"
    tables = {name for (name,) in other.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert "remarks" in tables
    assert "more" not in tables
    other.close()
    monkeypatch.setattr(_sqlite_schema, "MIGRATIONS", (*MIGRATIONS, good))
    await newer.init()
    assert await newer.list(UNIT) == ["a"]
    await newer.deinit()
    monkeypatch.setattr(_sqlite_schema, "MIGRATIONS", MIGRATIONS)
    with pytest.raises(StateTooNew):
        await store.init()


async def test_a_newer_file_is_refused_and_not_touched(path: Path) -> None:
    """Of a version that this package does not know, nothing is read or changed."""
    made = SQLiteStateStore(path)
    await made.init()
    await execute(made, f"UPDATE schema_version SET version = {MIGRATIONS[-1].version + 1}")
    await made.deinit()
    before = path.read_bytes()
    with pytest.raises(StateTooNew, match="tables of version"):
        await SQLiteStateStore(path).init()
    assert path.read_bytes() == before


@pytest.mark.parametrize("wrong", ["text", "tables", "marked"])
async def test_what_is_not_ours_is_not_touched(path: Path, wrong: str) -> None:
    """A file that is no database, or another program's, is refused and stays as it is."""
    if wrong == "text":
        path.write_text("dear diary, today I kept no state at all\n" * 100)
    else:
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE records (artist TEXT)" if wrong == "tables" else "PRAGMA application_id = 7")
        other.commit()
        other.close()
    before = path.read_bytes()
    with pytest.raises(StateError, match="no SQLite database" if wrong == "text" else "another program's") as refused:
        await SQLiteStateStore(path).init()
    assert str(path) in refused.value.message
    assert refused.value.hint
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["state.db"]


async def test_damaged_pages_are_told(path: Path) -> None:
    """Reading what was overwritten in the middle is an error that names the file and a remedy."""
    made = SQLiteStateStore(path)
    await made.init()
    lease = await made.acquire(UNIT, owner=an_owner(), timeout=0)
    await made.set(lease, *(a_resource(f"{UNIT}/r{n}", props={"x": "y" * 2000}) for n in range(100)))
    await made.deinit()
    raw = bytearray(path.read_bytes())
    raw[8 * 4096 :] = b"\xa5" * (len(raw) - 8 * 4096)
    path.write_bytes(raw)
    store = SQLiteStateStore(path)
    with pytest.raises(StateDamaged) as damaged:
        await store.all(UNIT)
    assert str(path) in damaged.value.message
    assert ".recover" in (damaged.value.hint or "")
    await store.deinit()


@pytest.mark.parametrize(
    ("pragma", "what", "remedy"),
    [("max_page_count = 1", "full", "make room"), ("query_only = ON", "readonly", "writable")],
)
async def test_a_disk_that_takes_nothing(store: SQLiteStateStore, pragma: str, what: str, remedy: str) -> None:
    """A write that is refused fails with the remedy, nothing of it is there, and later ones are refused too."""
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.set(lease, a_resource(f"{UNIT}/a"))
    await execute(store, f"PRAGMA {pragma}")
    with pytest.raises(StateError, match=what) as refused:
        await store.set(lease, a_resource(f"{UNIT}/b"), a_resource(f"{UNIT}/large", props={"x": "y" * 100_000}))
    assert remedy in (refused.value.hint or "")
    await execute(store, f"PRAGMA {'query_only = OFF' if what == 'readonly' else 'max_page_count = 100000'}")
    with pytest.raises(StateError, match=what):
        await store.set(lease, a_resource(f"{UNIT}/c"))
    assert await store.list(UNIT) == ["a"]


async def test_a_place_that_cannot_be(tmp_path: Path) -> None:
    """A folder, or a path below a file, is told with the remedy."""
    (tmp_path / "file").write_text("")
    for place in (tmp_path, tmp_path / "file" / "state.db"):
        store = SQLiteStateStore(place)
        with pytest.raises(StateError, match=r"cannot be used|unable to open") as refused:
            await store.init()
        assert refused.value.hint
        await store.deinit()


async def test_a_folder_for_locks_that_cannot_be_made(path: Path, store: SQLiteStateStore) -> None:
    """What the system refuses beside the database is told too, and nothing is taken."""
    Path(f"{path}-locks").write_text("")
    with pytest.raises(StateError, match=r"state\.db-locks") as refused:
        await store.acquire(UNIT, owner=an_owner(), timeout=0)
    assert refused.value.hint
    assert list(await store.locks()) == []


async def test_a_network_file_system_is_warned_of(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever loads under a lease hears once that locks may not hold there."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"40 27 0:50 / {tmp_path} rw - nfs server:/ rw\n")
    monkeypatch.setattr(_mounts, "MOUNTS", str(mounts))
    store = SQLiteStateStore(path)
    await store.init()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    assert (await store.load(UNIT)).notices == []
    (notice,) = (await store.load(UNIT, lease=lease)).notices
    assert "(nfs), where locks may not hold" in notice
    assert (await store.load(UNIT, lease=lease)).notices == []
    await store.deinit()


# -- how much is asked -------------------------------------------------------------------------------------------------


async def test_a_unit_is_one_query(store: SQLiteStateStore) -> None:
    """A thousand records are loaded by one query, besides the look at the lease; large ones come back whole."""
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0, ttl=600)  # no renewal comes between
    large = a_resource(f"{UNIT}/large", props={"x": "é" * 500_000})
    await store.set(lease, a_scope(UNIT, STAGE_KIND), large, *(a_resource(f"{UNIT}/r{n}") for n in range(1000)))
    asked: list[str] = []

    async def trace() -> None:
        database(store).set_trace_callback(asked.append)

    await store._portal.run(trace())
    records = (await store.load(UNIT, lease=lease)).records
    assert len(records) == 1002
    assert records[large.fqn].props == large.props
    assert sum(statement.startswith("SELECT") for statement in asked) == 2


# -- URLs --------------------------------------------------------------------------------------------------------------


def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative and absolute ones are known, odd names survive, and the URL that is told opens the same file."""
    monkeypatch.chdir(tmp_path)
    assert open_store("sqlite:state.db").url == f"sqlite://{tmp_path}/state.db"
    assert open_store("sqlite:///srv/my%20state.db").url == "sqlite:///srv/my state.db"
    odd = SQLiteStateStore(tmp_path / "50%?#é.db")
    again = open_store(odd.url)
    assert isinstance(again, SQLiteStateStore)
    assert isinstance(again.backend, SQLiteBackend)
    assert again.backend.path == str(tmp_path / "50%?#é.db")
    assert not is_there(odd.url)
    (tmp_path / "50%?#é.db").touch()
    assert is_there(odd.url)


@pytest.mark.parametrize(
    "url",
    ["sqlite:", "sqlite:///", "sqlite:folder/", "sqlite://state.db", "sqlite::memory:", "sqlite:state.db?mode=ro"],
)
def test_urls_that_name_no_file(url: str) -> None:
    """Each is refused with what to write instead."""
    with pytest.raises(ConfigurationError) as refused:
        open_store(url)
    assert refused.value.hint


async def test_a_lost_lease_reads_nothing(path: Path, store: SQLiteStateStore) -> None:
    """Loading and saving under a lease that was broken is refused by the file, and no error of another kind."""
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    other = SQLiteStateStore(path)
    await other.break_(UNIT)
    for ask in (store.load(UNIT, lease=lease), store.salvage(lease)):
        with pytest.raises(LeaseLost, match="broken by"):
            await ask
    await other.deinit()
