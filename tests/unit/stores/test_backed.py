"""A store over a backend: what is damaged there, what gets no answer, and what is cancelled."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from alchemy.errors import (
    AlchemyError,
    ConfigurationError,
    LeaseLost,
    LockedError,
    StateDamaged,
    StateError,
    StateTooNew,
)
from alchemy.ports import Lease, LogEnd, Owner
from alchemy.state import STAGE_KIND, Application, Generation, Status
from alchemy.stores._sqlite import SQLiteBackend
from alchemy.stores.backed import BackedStore
from alchemy.stores.backend import Blocked, Commit, Ending, Taken, Unreachable
from alchemy.testing.contract import UNIT, a_resource, a_scope, an_owner

T = TypeVar("T")
pytestmark = pytest.mark.anyio


class Shaky(SQLiteBackend):
    """A backend whose answers get lost: it does what it is asked, and then seems not to have answered.

    Attributes:
        losing: how many next answers are lost.
        gate: what `take` waits for before it answers.
    """

    losing = 0
    gate: asyncio.Event | None = None

    async def take(self, chain: str, *, owner: Owner, ttl: float, nonce: str) -> Taken | Blocked:
        """Take a chain."""
        taken = await super().take(chain, owner=owner, ttl=ttl, nonce=nonce)
        if self.gate is not None:
            await self.gate.wait()
        return self._lose(taken)

    async def commit(self, lease: Lease, unit: str, commit: Commit) -> None:
        """Make a commit."""
        await super().commit(lease, unit, commit)
        self._lose(None)

    async def load(self, unit: str, *, lease: Lease | None = None) -> Mapping[str, bytes]:
        """Load a unit."""
        return self._lose(await super().load(unit, lease=lease))

    def _lose(self, answer: T) -> T:
        if self.losing:
            self.losing -= 1
            raise Unreachable("the shaky place does not answer", hint="wait")
        return answer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is."""
    return tmp_path / "state.db"


@pytest.fixture
def backend(path: Path) -> Shaky:
    """The backend of `store`."""
    return Shaky(path)


@pytest.fixture
async def store(backend: Shaky) -> AsyncIterator[BackedStore]:
    """A store with two records."""
    store = BackedStore(backend)
    await store.init()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    old = Generation(generation=1, kind="fs::File", provider="", physical_name="", status=Status.CREATED)
    await store.set(
        lease, a_scope(UNIT, STAGE_KIND), a_resource(f"{UNIT}/a", generations=[old]), a_resource(f"{UNIT}/b")
    )
    await store.release(lease)
    yield store
    await store.deinit()


def change(path: Path, statement: str, *args: object) -> None:
    """Change the database by hand."""
    database = sqlite3.connect(path)
    database.execute(statement, args)
    database.commit()
    database.close()


DAMAGE: Sequence[tuple[str, str, Callable[[bytes], bytes]]] = [
    ("edited", "was changed since", lambda row: row.replace(b"README", b"README2")),
    ("cut", "no checksum", lambda row: row[:-30]),
    ("empty", "no checksum", lambda _: b""),
    ("no text", "no checksum", lambda _: b"\xff\xfe" * 40),
]


@pytest.mark.parametrize(("what", "says", "edit"), DAMAGE, ids=[what for what, _, _ in DAMAGE])
async def test_a_damaged_row(
    store: BackedStore, path: Path, what: str, says: str, edit: Callable[[bytes], bytes]
) -> None:
    """It is named and refused by whoever reads it, and told by `problems`; the others can be read one by one."""
    row = await store._ask(store.backend.read, UNIT, [f"{UNIT}/a"])
    change(path, "UPDATE records SET row = ? WHERE fqn = ?", edit(row[f"{UNIT}/a"]), f"{UNIT}/a")
    for read in (lambda: store.load(UNIT), lambda: store.get(f"{UNIT}/a"), lambda: store.all(UNIT)):
        with pytest.raises(StateDamaged, match=says) as damaged:
            await read()
        assert f"{UNIT}/a" in damaged.value.message
        assert "restore" in (damaged.value.hint or "")
    assert await store.get(f"{UNIT}/b") is not None
    (problem,) = await store.problems("")
    assert (problem.fqn, says in problem.what) == (f"{UNIT}/a", True), what


async def test_a_row_under_anothers_name(store: BackedStore, path: Path) -> None:
    """A record that says it is another one's is refused: it would be written back under the wrong name."""
    change(path, "UPDATE records SET fqn = ? WHERE fqn = ?", f"{UNIT}/x", f"{UNIT}/a")
    with pytest.raises(StateDamaged, match=f"{UNIT}/x holds the record of {UNIT}/a"):
        await store.load(UNIT)
    assert [problem.fqn for problem in await store.problems(UNIT)] == [f"{UNIT}/x"]


async def test_salvage(store: BackedStore, path: Path) -> None:
    """What can be read stays, to be verified, old generations too; all rows are kept aside, byte for byte."""
    await store.create_application(Application(app="notes", lineage="00" * 16, created_at=""))
    change(path, "UPDATE records SET row = X'7B7D' WHERE fqn = ?", f"{UNIT}/b")
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    kept = await store.salvage(lease)
    assert kept is not None
    assert store.url in kept
    records = (await store.load(UNIT, lease=lease)).records
    assert set(records) == {UNIT, f"{UNIT}/a"}
    assert records[f"{UNIT}/a"].verify
    assert [old.verify for old in records[f"{UNIT}/a"].generations] == [True]
    assert not records[UNIT].verify
    (name,) = await store._ask(store.backend.names, UNIT, "aside")
    content = await store._ask(store.backend.fetch, UNIT, "aside", name)
    assert content is not None
    assert b'"notes/prod/b":"{}"' in content
    assert list(await store.problems("")) == []
    assert await store.salvage(lease) is None


async def test_what_is_newer_is_not_salvaged(store: BackedStore) -> None:
    """A record of a newer version is refused by `load` and by `salvage`, and stays."""
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.set(lease, a_resource(f"{UNIT}/new", version=99))
    before = await store._ask(store.backend.load, UNIT)
    for ask in (store.load(UNIT, lease=lease), store.salvage(lease)):
        with pytest.raises(StateTooNew):
            await ask
    assert await store._ask(store.backend.load, UNIT) == before


async def test_a_damaged_application(store: BackedStore, path: Path) -> None:
    """It is named."""
    await store.create_application(Application(app="notes", lineage="00" * 16, created_at=""))
    change(path, "UPDATE applications SET row = X'7B'")
    with pytest.raises(StateDamaged, match="the application notes"):
        await store.application("notes")


async def test_lost_answers(store: BackedStore, backend: Shaky) -> None:
    """What was done and not answered is asked for again, with the same effect as once."""
    backend.losing = 2
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    assert [held.token for held in await store.locks()] == [lease.token]
    backend.losing = 2
    await store.set(lease, a_resource(f"{UNIT}/c"), drop=[f"{UNIT}/a"])
    backend.losing = 2
    assert set((await store.load(UNIT, lease=lease)).records) == {UNIT, f"{UNIT}/b", f"{UNIT}/c"}


async def test_no_answer_at_all(store: BackedStore, backend: Shaky, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its patience the store gives up, says for how long it asked, and writes nothing more under that lease."""
    monkeypatch.setattr(store, "_patience", 0.2)
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    backend.losing = 10**6
    with pytest.raises(StateError, match=r"does not answer \(asked for"):
        await store.set(lease, a_resource(f"{UNIT}/c"))
    backend.losing = 0
    with pytest.raises(StateError, match="does not answer"):
        await store.set(lease, a_resource(f"{UNIT}/d"))
    await store.release(lease)
    assert "d" not in await store.list(UNIT)
    again = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.set(again, a_resource(f"{UNIT}/d"))
    assert "d" in await store.list(UNIT)


async def test_a_cancelled_acquire_gives_back(store: BackedStore, backend: Shaky, path: Path) -> None:
    """The chain that was taken though nobody waits for it any more is free at once."""
    backend.gate = asyncio.Event()
    asked = asyncio.create_task(store.acquire(UNIT, owner=an_owner(), timeout=0))
    other = BackedStore(SQLiteBackend(path))
    while not await other.locks():
        await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    with pytest.raises(LockedError):
        await other.acquire(UNIT, owner=an_owner(), timeout=0)

    async def open_gate() -> None:
        assert backend.gate is not None
        backend.gate.set()

    await store._portal.run(open_gate())
    lease = await other.acquire(UNIT, owner=an_owner(), timeout=60)
    await other.release(lease)
    await other.deinit()


async def test_letting_go_gives_everything_back(path: Path) -> None:
    """`deinit` writes what is queued and gives back all chains, though one of them was lost."""
    store, other = BackedStore(SQLiteBackend(path)), BackedStore(SQLiteBackend(path))
    await store.init()
    lost = await store.acquire("notes/dev", owner=an_owner(), timeout=0)
    kept = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await other.break_("notes/dev")
    store.set(lost, a_resource("notes/dev/a"))
    store.set(kept, a_resource(f"{UNIT}/a"))
    with pytest.raises(LeaseLost):
        await store.deinit()
    assert list(await other.locks()) == []
    assert await other.list(UNIT) == ["a"]
    assert await other.list("notes/dev") == []
    await other.deinit()


class Giving(SQLiteBackend):
    """A backend that gives a unit's rows along with its lease."""

    async def take(self, chain: str, *, owner: Owner, ttl: float, nonce: str) -> Taken | Blocked:
        """Take a chain."""
        taken = await super().take(chain, owner=owner, ttl=ttl, nonce=nonce)
        return taken._replace(rows=await self.load(chain)) if isinstance(taken, Taken) else taken


async def test_rows_that_came_with_a_lost_lease(store: BackedStore, path: Path) -> None:
    """They are not what is loaded under another lease, around it, that was taken later."""
    giving = BackedStore(Giving(path))
    await giving.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.break_(UNIT)
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.set(lease, a_resource(f"{UNIT}/c"))
    await store.release(lease)
    around = await giving.acquire("notes", owner=an_owner(), timeout=0)
    assert f"{UNIT}/c" in (await giving.load(UNIT, lease=around)).records
    await giving.deinit()


LOG = "2026-11-21T09-00-00-000Z.ndjson"


@pytest.mark.parametrize("error", [StateError, ConfigurationError])
@pytest.mark.parametrize("refused", ["together", "the log", "dropping"])
async def test_a_log_that_is_refused_keeps_nothing_from_being_given_back(
    store: BackedStore, backend: Shaky, monkeypatch: pytest.MonkeyPatch, refused: str, error: type[AlchemyError]
) -> None:
    """What cannot be done in one step is tried in two, and a log that cannot be written at all is given up."""

    async def no(*_args: object) -> None:
        raise error("the place has no room for that")

    release = backend.release

    async def alone(lease: Lease, log: Ending | None = None) -> None:
        await (release(lease) if log is None else no())

    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.append_log(UNIT, "old.ndjson", b"{}\n")
    monkeypatch.setattr(backend, "release", alone)
    if refused != "together":
        monkeypatch.setattr(backend, "append" if refused == "the log" else "discard", no)
    await store.release(lease, log=LogEnd(name=LOG, lines=b"{}\n", drop=["old.ndjson"]))
    assert list(await store.locks()) == []
    assert (
        list(await store.logs(UNIT))
        == {
            "together": [LOG],
            "the log": ["old.ndjson"],
            "dropping": [LOG, "old.ndjson"],
        }[refused]
    )
    await store.release(lease, log=LogEnd(name=LOG, lines=b"{}\n", drop=["old.ndjson"]))


async def test_a_place_that_takes_nothing_back(
    store: BackedStore, backend: Shaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first failure is told, and the log is there once, though it was asked for again and again."""
    monkeypatch.setattr(store, "_patience", 0.2)
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    release = backend.release

    async def unheard(lease: Lease, log: Ending | None = None) -> None:
        await release(lease, log)
        raise Unreachable("the shaky place does not answer", hint="wait")

    monkeypatch.setattr(backend, "release", unheard)
    with pytest.raises(StateError, match=r"does not answer \(asked for"):
        await store.release(lease, log=LogEnd(name=LOG, lines=b"{}\n"))
    assert await store.read_log(UNIT, LOG) == b"{}\n"
