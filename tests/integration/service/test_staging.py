"""Commits that are too large for one request: most of their puts come ahead, and all is there at once, or nothing."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.integration.service.clients import TOKEN, Client, Open

from alchemy.errors import StateError
from alchemy.state import Record
from alchemy.stores import CloudflareStateStore
from alchemy.stores._service_client import ServiceClient
from alchemy.testing.contract import UNIT, a_resource, an_owner

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]
LONG = "€" + "x" * 1_000_000
"""A text of more than one row."""


def commit(number: int, puts: Mapping[str, str | int], **more: Any) -> dict[str, Any]:
    """What is asked of a commit, or of what comes ahead of it."""
    return {"number": number, "clear": None, "drops": [], "puts": puts, **more}


async def test_they_are_one(shared: Client) -> None:
    """Nothing is there before the commit, all of it afterwards; asked again, also late, it changes nothing."""
    unit = "staged/prod"
    lease = await shared.take(unit, "n")
    await shared("commit", lease, commit(1, {f"{unit}/old": "1", f"{unit}/kept": "1"}), chain=unit)
    parts = [{f"{unit}/a": LONG, f"{unit}/a/b": "1"}, {f"{unit}/c": "1"}]
    for part in [*parts, parts[0]]:
        await shared("stage", lease, commit(2, part), chain=unit)
    assert sorted(await shared.load(unit)) == [f"{unit}/kept", f"{unit}/old"]
    last = commit(2, {f"{unit}/d": "1"}, drops=[f"{unit}/old"], staged=3)
    await shared("commit", lease, last, chain=unit)
    expected = {f"{unit}/a": LONG, f"{unit}/a/b": "1", f"{unit}/c": "1", f"{unit}/d": "1", f"{unit}/kept": "1"}
    assert await shared.load(unit) == expected
    await shared("commit", lease, commit(3, {f"{unit}/c": "2"}), chain=unit)
    for part in parts:
        await shared("stage", lease, commit(2, part), chain=unit)
    await shared("commit", lease, last, chain=unit)
    assert await shared.load(unit) == {**expected, f"{unit}/c": "2"}


async def test_one_that_clears(shared: Client) -> None:
    """What is staged is there afterwards, also within the chain that is cleared."""
    unit = "cleared/prod"
    lease = await shared.take(unit, "n")
    await shared("commit", lease, commit(1, {f"{unit}/x/a": "1", f"{unit}/x/b": "1"}), chain=unit)
    await shared("stage", lease, commit(2, {f"{unit}/x/b": "2"}), chain=unit)
    await shared("clearScope", lease, commit(2, {}, clear=f"{unit}/x", staged=1), chain=unit)
    assert await shared.load(unit) == {f"{unit}/x/b": "2"}


async def test_what_is_not_staged_is_not_committed(shared: Client) -> None:
    """A commit that something is missing of, bad names, and a lease that was lost are refused, and write nothing."""
    unit = "refused/prod"
    lease = await shared.take(unit, "n")
    await shared("stage", lease, commit(1, {f"{unit}/a": "1"}), chain=unit)
    assert (await shared.refused("commit", lease, commit(1, {}, staged=2), chain=unit))["status"] == 400
    bad: list[dict[str, str | int]] = [{"refused/dev/a": "1"}, {f"{unit}/a": 1}]
    for puts in bad:
        assert (await shared.refused("stage", lease, commit(1, puts), chain=unit))["status"] == 400
    await shared("break", ": broken by ann", chain=unit)
    for method in ("stage", "commit"):
        answer = await shared.refused(method, lease, commit(1, {f"{unit}/a": "1"}, staged=1), chain=unit)
        assert (answer["status"], answer["code"]) == (409, "lease_lost")
    assert await shared.load(unit) == {}


async def test_what_was_never_finished_goes(tmp_path: Path, open_service: Open) -> None:
    """What a killed run had staged, or begun to save, goes when the unit is taken next; what is whole stays."""
    saved = {"kind": "backups", "pieces": {"0": "x"}}
    async with open_service(tmp_path) as client:
        lease = await client.take(UNIT, "killed")
        await client("stage", lease, commit(1, {f"{UNIT}/a": LONG}))
        await client("save", lease, {**saved, "name": "begun", "digest": "1", "last": False})
        await client("save", lease, {**saved, "name": "whole", "digest": "2", "last": True})
        await client("append", "log", {"0": "x"})
        await client("break", ": killed")
        await client.kill()
        other = await client.take("notes/dev", "other")
        await client("stage", other, commit(1, {"notes/dev/a": "1"}), chain="notes/dev")
        await client.take(UNIT, "next")
        assert await client.load() == {}
    assert pieces(tmp_path) == [("notes/dev", "staged"), (UNIT, "backups"), (UNIT, "logs")]


async def test_a_commit_leaves_no_pieces(tmp_path: Path, open_service: Open) -> None:
    """What was staged is stored once, when it is committed."""
    async with open_service(tmp_path) as client:
        lease = await client.take(UNIT, "n")
        await client("stage", lease, commit(1, {f"{UNIT}/a": LONG}))
        await client("commit", lease, commit(1, {}, staged=1))
        assert await client.load() == {f"{UNIT}/a": LONG}
    assert pieces(tmp_path) == []


@pytest.mark.parametrize("at", range(5))
async def test_the_service_is_killed_between_the_parts(
    tmp_path: Path, open_service: Open, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Before, between and after them: the commit is asked for again from its beginning, and happens once."""
    async with open_service(tmp_path) as client:
        store = CloudflareStateStore(client.service.url, state_token=TOKEN)
        store.backend.max_bytes = 1000
        lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
        await store.set(lease, *records(1, "old"))
        asked: list[str] = []
        ask = ServiceClient.ask

        async def asking(self: ServiceClient, method: str, *params: Any, **more: Any) -> Any:
            if len(asked) == at:
                await client.kill()
            asked.append(method)
            return await ask(self, method, *params, **more)

        monkeypatch.setattr(ServiceClient, "ask", asking)
        new = records(4, "new")
        await store.set(lease, *new)
        assert asked.count("stage") >= 3
        assert {fqn: record.props for fqn, record in (await store.load(UNIT, lease=lease)).records.items()} == {
            record.fqn: record.props for record in new
        }
        await store.release(lease)
        await store.deinit()


async def test_an_older_service_says_so(tmp_path: Path, open_service: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that knows of no parts refuses the first: nothing is written, and it is said how to upgrade it."""
    ask = ServiceClient.ask

    async def asking(self: ServiceClient, method: str, *params: Any, **more: Any) -> Any:
        return await ask(self, {"stage": "unheardOf"}.get(method, method), *params, **more)

    monkeypatch.setattr(ServiceClient, "ask", asking)
    async with open_service(tmp_path) as client:
        store = CloudflareStateStore(client.service.url, state_token=TOKEN)
        store.backend.max_bytes = 1000
        lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
        with pytest.raises(StateError, match="older than this library"):
            await store.set(lease, *records(4, "new"))
        assert await client.load() == {}
        await store.deinit()


def records(count: int, text: str) -> list[Record]:
    """Give resources of which each is a request of its own where `max_bytes` is 1000."""
    return [a_resource(f"{UNIT}/r{number}", props={"text": text * 300}) for number in range(count)]


def pieces(folder: Path) -> list[tuple[str, str]]:
    """Give unit and kind of all pieces that a service which is not running has, sorted."""
    found: list[tuple[str, str]] = []
    for file in folder.rglob("*.sqlite"):
        with contextlib.closing(sqlite3.connect(file)) as connection, contextlib.suppress(sqlite3.OperationalError):
            found += connection.execute("SELECT DISTINCT unit, kind FROM pieces").fetchall()
    return sorted(found)
