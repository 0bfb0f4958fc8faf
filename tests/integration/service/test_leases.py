"""The state service's leases: one winner, stale tokens refused in the transaction, writes without a lease."""

from __future__ import annotations

import asyncio
from itertools import permutations
from typing import Any

import pytest
from tests.integration.service.clients import OWNER, Client

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]


async def test_one_winner_of_fifty(shared: Client) -> None:
    """Of fifty that ask at once exactly one gets the chain, and the others are told who has it."""
    asked = [{"owner": {**OWNER, "pid": number}, "ttl": 60, "nonce": f"n{number}"} for number in range(50)]
    answers = await asyncio.gather(*(shared("take", each, chain="race/prod") for each in asked))
    won = [answer for answer in answers if "lease" in answer]
    assert len(won) == 1
    assert {answer["holder"]["token"] for answer in answers if "holder" in answer} == {won[0]["lease"]["token"]}


async def test_asked_again(shared: Client) -> None:
    """Who asks again with the same nonce has the same lease; another one is told who holds it."""
    asked = {"owner": OWNER, "ttl": 60, "nonce": "same"}
    first = await shared("take", asked, chain="again/prod")
    assert (await shared("take", asked, chain="again/prod"))["lease"]["token"] == first["lease"]["token"]
    assert (await shared("take", {**asked, "nonce": "other"}, chain="again/prod"))["holder"]["owner"] == OWNER


async def test_chains_above_and_below(shared: Client) -> None:
    """A chain cannot be taken while one above or below it is held; one that only begins alike can."""
    await shared.take("up/prod", "n")
    for chain in ("up", "up/prod", "up/prod/db"):
        answer = await shared("take", {"owner": OWNER, "ttl": 60, "nonce": chain}, chain=chain)
        assert answer["holder"]["unit"] == "up/prod"
    for chain in ("up/production", "up/dev", "up/prod-2"):
        assert "lease" in await shared("take", {"owner": OWNER, "ttl": 60, "nonce": chain}, chain=chain)
    assert {lease["unit"] for lease in await shared("locks", chain="up")} == {
        "up/prod",
        "up/production",
        "up/dev",
        "up/prod-2",
    }


async def test_expiry_by_the_services_clock(shared: Client) -> None:
    """Who has not renewed for a ttl is no holder any more, and its token is refused once another one took over."""
    old = await shared.take("late/prod", "old", ttl=0.05)
    new: dict[str, Any] | None = None
    while new is None:
        answer = await shared("take", {"owner": OWNER, "ttl": 60, "nonce": "new"}, chain="late/prod")
        new = answer.get("lease")
    assert new["token"] > old["token"]
    refused = await shared.refused("renew", old, 60, chain="late/prod")
    assert (refused["status"], refused["code"]) == (409, "lease_lost")
    assert "ann@laptop" in refused["whom"]


@pytest.mark.parametrize("end", ["release", "break", "takeover", "foreign"])
async def test_stale_tokens_write_nothing(shared: Client, end: str) -> None:
    """After a release, a break, a takeover or a write by Alchemy for TypeScript nothing of the old lease lands."""
    unit = f"stale-{end}/prod"
    app = unit.partition("/")[0]
    lease = await shared.take(unit, "old", ttl=0.001 if end in {"takeover", "foreign"} else 60)
    state = {"id": "x", "kind": "k", "status": "created"}
    match end:
        case "release":
            await shared("release", lease, chain=unit)
        case "break":
            await shared("break", ": broken by ann", chain=unit)
        case "takeover":
            while "lease" not in await shared("take", {"owner": OWNER, "ttl": 60, "nonce": "new"}, chain=app):
                pass
        case _:
            while (await shared.post("set", "x", state, chain=unit)).status_code == 409:
                pass
    commit: dict[str, Any] = {"number": 1, "clear": unit, "drops": [f"{unit}/x"], "puts": {f"{unit}/a": "{}"}}
    save = {"kind": "backups", "name": "b", "digest": "d", "pieces": {"0": "x"}, "last": True}
    before = await shared.load(unit)
    for method, *params in (("commit", commit), ("save", save), ("renew", 60)):
        refused = await shared.refused(method, lease, *params, chain=unit)
        assert (refused["status"], refused["code"]) == (409, "lease_lost"), method
        assert refused["whom"] or end == "release"
    assert (await shared.refused("load", 0, lease, chain=unit))["code"] == "lease_lost"
    assert await shared.load(unit) == before
    assert await shared("names", "backups", chain=unit) == []


async def test_tokens_only_grow(shared: Client) -> None:
    """No token comes twice, over releases, breaks and writes without a lease."""
    tokens = []
    for number in range(9):
        lease = await shared.take("grow/prod", f"n{number}")
        tokens.append(lease["token"])
        match number % 3:
            case 0:
                await shared("release", lease, chain="grow/prod")
            case 1:
                await shared("break", ": why", chain="grow/prod")
            case _:
                await shared("break", ": why", chain="grow/prod")
                await shared("set", "x", {"id": "x"}, chain="grow/prod")
    assert tokens == sorted(set(tokens))


async def test_writes_without_a_lease_wait(shared: Client) -> None:
    """While a lease lives, above or below, a write without one is refused, naming the holder; others are let in."""
    await shared.take("wait/prod", "n")
    for method, params, chain in (
        ("set", ["api", {"id": "api"}], "wait/prod"),
        ("set", ["db", {"id": "db"}], "wait/prod/data"),
        ("set", ["prod", {"id": "prod"}], "wait"),
        ("delete", ["api"], "wait/prod"),
        ("clearScope", [], "wait/prod/data"),
        ("clearScope", [], "wait"),
    ):
        refused = await shared.refused(method, *params, chain=chain)
        assert refused["status"] == 409
        assert "ann@laptop (pid 7), deploy" in refused["error"]
    await shared("set", "api", {"id": "api"}, chain="wait/dev")
    assert await shared("units", chain="wait") == ["wait/dev"]


async def test_foreign_rows_are_told_apart(shared: Client) -> None:
    """A row that Alchemy for TypeScript wrote, or wrote over, says so until it is written under a lease."""
    lease = await shared.take("alien/prod", "n")
    commit: dict[str, Any] = {
        "number": 1,
        "clear": None,
        "drops": [],
        "puts": {"alien/prod/a": "{}", "alien/prod/b": "{}"},
    }
    await shared("commit", lease, commit, chain="alien/prod")
    await shared("release", lease, chain="alien/prod")
    await shared("set", "b", {"id": "b"}, chain="alien/prod")
    rows = (await shared("load", 0, chain="alien/prod"))["rows"]
    assert {fqn: origin for fqn, _, origin in rows} == {"alien/prod/a": 0, "alien/prod/b": 1}


async def test_commits_are_whole_and_count_once(shared: Client) -> None:
    """A commit with one bad name writes nothing, and a late repetition of an earlier one changes nothing."""
    lease = await shared.take("whole/prod", "n")
    bad: dict[str, Any] = {"number": 1, "clear": None, "drops": [], "puts": {"whole/prod/a": "1", "whole/dev/b": "1"}}
    assert (await shared.refused("commit", lease, bad, chain="whole/prod"))["status"] == 400
    assert await shared.load("whole/prod") == {}
    first: dict[str, Any] = {"number": 1, "clear": None, "drops": [], "puts": {"whole/prod/a": "first"}}
    second: dict[str, Any] = {"number": 2, "clear": None, "drops": [], "puts": {"whole/prod/a": "second"}}
    for commit in (first, second, first, second):
        await shared("commit", lease, commit, chain="whole/prod")
    assert await shared.load("whole/prod") == {"whole/prod/a": "second"}


async def test_release_takes_the_log_with_it(shared: Client) -> None:
    """A log that comes with the release is kept, also when the lease is lost; the same part counts once; others go."""
    lease = await shared.take("logs/prod", "n")
    log = {"name": "run", "pieces": {"2": "b"}}
    for name in ("run", "old"):
        await shared("append", name, {"1": "a"}, chain="logs/prod")
    for _ in range(2):
        await shared("release", lease, log, ["old", "none"], chain="logs/prod")
    assert await shared("names", "logs", chain="logs/prod") == ["run"]
    assert (await shared("fetch", "logs", "run", "", chain="logs/prod"))["rows"] == ["a", "b"]
    assert await shared("locks", chain="logs") == []
    await shared("discard", "logs", ["run", "none"], chain="logs/prod")
    assert await shared("fetch", "logs", "run", "", chain="logs/prod") is None


@pytest.mark.parametrize("order", sorted({*permutations("aabb", 4)}))
async def test_no_order_lets_a_stale_commit_land(shared: Client, order: tuple[str, ...]) -> None:
    """Two holders who break, take and commit in every order: only the newest token's commits are there."""
    unit = f"model-{''.join(order)}/prod"
    leases: dict[str, dict[str, Any]] = {}
    expected: dict[str, str] = {}
    newest = ""
    for step, who in enumerate(order):
        if who in leases:
            commit: dict[str, Any] = {"number": 1, "clear": None, "drops": [], "puts": {f"{unit}/x": who}}
            answer = await shared.post("commit", leases[who], commit, chain=unit)
            assert answer.status_code == (200 if who == newest else 409), (order, step)
            expected = {f"{unit}/x": who} if who == newest else expected
        else:
            await shared("break", ": why", chain=unit)
            leases[who] = await shared.take(unit, who)
            newest = who
    assert await shared.load(unit) == expected
