"""One backup before a run's first write, none for a run that changes nothing; what a log begins and ends with."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable
from typing import Any

import pytest
from tests.unit.engine.world import Cloud, Options, Pair, Store, Thing, alchemy, deploy, nothing, refused, things

from alchemy import Secret
from alchemy.errors import ConfigurationError, StateError
from alchemy.events import RunFinished, RunStarted
from alchemy.history import Backup, decode_backup
from alchemy.opening import destroy_unit
from alchemy.ports import Lease
from alchemy.state import to_json

pytestmark = pytest.mark.anyio
UNIT = "app/dev"


async def backups(store: Store) -> list[Backup]:
    """Give the backups there are, oldest first."""
    return [decode_backup(await store.read_backup(UNIT, name), where=name) for name in await store.backups(UNIT)]


def everything(store: Store) -> dict[str, Any]:
    """Give all records as JSON."""
    return {fqn: to_json(record) for fqn, record in store.memory.records("").items()}


async def gone(_app: Any) -> None:
    """Leave `a` out."""
    await Thing("b")


async def reordered(_app: Any) -> None:
    """Only the order is another: records are rewritten, no provider is called."""
    await Thing("b")
    await Thing("a")


async def renamed(_app: Any) -> None:
    await Thing("z", options=Options(aliases=["a"]))
    await Thing("b")


async def nested(_app: Any) -> None:
    async with alchemy.run("inner"):
        await Pair("p")


async def data(app: Any) -> None:
    await app.set("key", 1)
    await Thing("a")
    await Thing("b")


@pytest.mark.parametrize(
    "change",
    [things(a=2, b=1), gone, nothing, reordered, renamed, nested, data, things(a=1, b=1, c=1)],
    ids=["update", "orphan", "all", "order", "rename", "nested", "data", "create"],
)
async def test_a_run_that_changes_something_backs_up_what_was_there(cloud: Cloud, store: Store, change: Any) -> None:
    """One backup, of every record as it was before the run wrote anything, whatever the first write is."""
    await deploy(things(a=1, b=1), store)
    assert await backups(store) == []
    before = everything(store)
    await deploy(change, store)
    (backup,) = await backups(store)
    assert {fqn: to_json(record) for fqn, record in backup.records.items()} == before
    assert (backup.unit, backup.operation) == (UNIT, "deploy")


async def test_a_run_that_changes_nothing_makes_no_backup(cloud: Cloud, store: Store) -> None:
    """Nor a record, nor a journal."""
    await deploy(things(a=1), store)
    store.writes.clear()
    await deploy(things(a=1), store)
    assert (store.writes, await backups(store)) == ([], [])


async def test_a_destroy_backs_up_too(cloud: Cloud, store: Store) -> None:
    """Before the first record goes."""
    await deploy(things(a=1, b=1), store)
    before = everything(store)
    await destroy_unit(UNIT, state_store=store)
    (backup,) = await backups(store)
    assert {fqn: to_json(record) for fqn, record in backup.records.items()} == before


async def test_a_backup_that_cannot_be_made_stops_the_run(
    cloud: Cloud, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No provider is called without it."""
    await deploy(things(a=1), store)
    cloud.forget()

    async def refuse() -> None:
        raise StateError("the disk is full")

    def save(_lease: Lease, _name: str, _content: bytes) -> Awaitable[None]:
        return refuse()

    monkeypatch.setattr(store, "save_backup", save)
    with pytest.raises(ExceptionGroup):
        await deploy(things(a=2), store)
    assert cloud.ops() == []


async def test_old_backups_go_after_a_successful_run(cloud: Cloud, store: Store) -> None:
    """The newest stay, as many as the option says; a failed run drops none."""
    for size in range(1, 6):
        await deploy(things(a=size), store, backups=2)
    assert len(await backups(store)) == 2
    sizes = [backup.records["app/dev/a"].props["size"] for backup in await backups(store)]
    assert sizes == [3, 4]
    cloud.fail("update", "a", refused())
    with pytest.raises(ExceptionGroup):
        await deploy(things(a=9), store, backups=2)
    assert len(await backups(store)) == 3


async def test_secrets_in_a_backup_are_encrypted(cloud: Cloud, store: Store) -> None:
    """As they are in records."""

    def program(size: int) -> Any:
        async def body(_app: Any) -> None:
            await Thing("a", size=size, token=Secret("hunter2-hunter2"))

        return body

    await deploy(program(1), store, password="a-password")
    await deploy(program(2), store, password="a-password")
    (name,) = await store.backups(UNIT)
    raw = await store.read_backup(UNIT, name)
    assert b"hunter2" not in raw
    assert b"a-password" not in raw


async def test_tests_that_clean_up_make_no_backups(cloud: Cloud, store: Store) -> None:
    """What an interrupted test left behind is destroyed; nobody wants it back."""
    async with alchemy.test("t", app="app", state_store=store, auto_cleanup=False):
        await Thing("a")
    async with alchemy.test("t", app="app", state_store=store):
        pass
    assert await store.backups("app/test/t") == []
    assert store.records() == {}


async def test_a_run_says_who_does_what_and_how(cloud: Cloud, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first event has owner, program and options, without the password; the last has the failures."""
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "program.py", raising=False)
    cloud.fail("create", "a", refused("no room"))
    with pytest.raises(ExceptionGroup):
        await deploy(things(a=1), store, password="a-password", parallelism=3)
    started = next(event for event in cloud.events if isinstance(event, RunStarted))
    finished = next(event for event in cloud.events if isinstance(event, RunFinished))
    assert "deploy" in started.owner
    assert "pid" in started.owner
    assert started.program
    assert started.options["parallelism"] == 3
    assert (started.options["password"], started.options["state_store"]) == ("***", store.url)
    assert "batch_size" not in started.options
    assert (finished.ok, len(finished.failures)) == (False, 1)
    assert "no room" in finished.failures[0]


async def test_what_a_program_raises_is_named_and_not_quoted(cloud: Cloud, store: Store) -> None:
    """Its text may hold anything, also a secret."""

    async def program(_app: Any) -> None:
        raise ValueError("hunter2")

    with pytest.raises(ValueError, match="hunter2"):
        await deploy(program, store)
    finished = next(event for event in cloud.events if isinstance(event, RunFinished))
    assert finished.failures == ["ValueError"]


async def test_the_newest_logs_are_kept(cloud: Cloud, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a successful run, as many as there may be."""
    from alchemy import holdings

    monkeypatch.setattr(holdings, "LOGS_KEPT", 3)
    for number in range(5):
        store.memory.unit(UNIT).logs[f"2026-01-01T00-00-00-00{number}Z.ndjson"] = b""
    await deploy(things(a=1), store)
    kept = await store.logs(UNIT)
    assert kept[:2] == ["2026-01-01T00-00-00-003Z.ndjson", "2026-01-01T00-00-00-004Z.ndjson"]
    assert len(kept) == 3


@pytest.mark.parametrize("error", [StateError, ConfigurationError])
async def test_old_ones_that_cannot_be_removed(
    cloud: Cloud, store: Store, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """They do no harm: the run has succeeded."""

    async def no(*_: object) -> Any:
        raise error("the place refuses that")

    await deploy(things(a=1), store)
    for name in ("logs", "backups"):
        monkeypatch.setattr(store, name, no)
    await deploy(things(a=2), store)
    assert [event.ok for event in cloud.events if isinstance(event, RunFinished)][-1]


async def test_events_are_json(cloud: Cloud, store: Store) -> None:
    """Also those with options in them."""
    from alchemy.events import to_json as event_json

    await deploy(things(a=1), store, timeout=5)
    for event in cloud.events:
        json.dumps(event_json(event))
