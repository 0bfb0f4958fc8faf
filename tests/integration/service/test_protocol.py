"""The state service's way in: tokens, methods, malformed requests, and what Alchemy for TypeScript sends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.integration.service.clients import OWNER, TOKEN, Client

from alchemy.stores import service

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]


def state(id: str, **more: Any) -> dict[str, Any]:
    """A state as Alchemy for TypeScript 0.94 serializes it."""
    given = {"status": "created", "kind": "cloudflare::Worker", "id": id, "fqn": f"ts/prod/{id}", "seq": 3}
    return {**given, "data": {}, "props": {"name": "a"}, "output": {"name": "a"}, **more}


async def test_token_is_needed(shared: Client) -> None:
    """Without the token, or with another one, or with it under another scheme, nothing is answered but 401."""
    for header in (None, "Bearer", "Bearer other", f"Basic {TOKEN}", f"Bearer {TOKEN}x", TOKEN):
        headers = {} if header is None else {"Authorization": header}
        request = shared.http.build_request("POST", "/", headers=headers, json={"method": "list"})
        if header is None:
            del request.headers["Authorization"]
        answer = await shared.http.send(request)
        assert (answer.status_code, answer.json()["success"]) == (401, False), header
        assert TOKEN not in answer.text


async def test_head_checks_the_token(shared: Client) -> None:
    """HEAD says whether the token is right, and which version answers."""
    right = await shared.http.head("/")
    wrong = await shared.http.head("/", headers={"Authorization": "Bearer other"})
    assert (right.status_code, wrong.status_code) == (200, 401)
    assert right.headers["x-alchemy-state-service"] == str((await shared("version", chain=""))["version"])


async def test_other_verbs_and_paths(shared: Client) -> None:
    """Another verb is 405, another path 404."""
    verb = await shared.http.get("/")
    path = await shared.post("list", path="/elsewhere")
    assert (verb.status_code, verb.json()["status"]) == (405, 405)
    assert (path.status_code, path.json()["status"]) == (404, 404)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b'{"method": 3, "context": {"chain": ["a"]}}',
        b'{"method": "list"}',
        b'{"method": "list", "context": {"chain": "a"}}',
        b'{"method": "list", "context": {"chain": []}}',
        b'{"method": "list", "context": {"chain": ["a/b"]}}',
        b'{"method": "list", "context": {"chain": [""]}}',
        b'{"method": "list", "params": {}, "context": {"chain": ["a"]}}',
        b'{"method": "set", "params": ["a"], "context": {"chain": ["a"]}}',
        b'{"method": "take", "params": [], "context": {"chain": ["a"]}}',
        b'{"method": "commit", "params": [], "context": {"chain": ["a"]}}',
        b'{"method": "release", "params": [], "context": {"chain": ["a"]}}',
        b'{"method": "append", "params": [1], "context": {"chain": ["a"]}}',
        b'{"method": "renew", "params": [{"chain": "a", "token": 1}], "context": {"chain": ["a"]}}',
        b'{"method": "take", "params": [null], "context": {"chain": ["a"]}}',
        b'{"method": "release", "params": [{}], "context": {"chain": ["a"]}}',
        b'{"method": "append", "params": ["run", {"0": {}}], "context": {"chain": ["a"]}}',
    ],
)
async def test_malformed(shared: Client, body: bytes) -> None:
    """What is no request is refused with a 4xx that says why, and the service goes on."""
    answer = await shared.http.post("/", content=body)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["error"]


async def test_unknown_method(shared: Client) -> None:
    """A method that there is not is named, with the service's version; an object's own are not reached."""
    for method in ("zap", "constructor", "write", "held", "withoutLease", "__proto__"):
        answer = await shared.refused(method)
        assert answer["status"] == 400
        assert method in answer["error"]
        assert f"version {service.version()}" in answer["error"]


async def test_too_large(shared: Client) -> None:
    """A body over the limit is refused, also when its length was not said before."""

    async def pieces() -> Any:
        for _ in range(25):
            yield b" " * 1024 * 1024

    answer = await shared.http.post("/", content=pieces())
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_what_typescript_sends(shared: Client) -> None:
    """Every method of Alchemy for TypeScript's store, in the order a run has them."""
    assert await shared("init", chain="ts/prod") is None
    assert await shared("get", "api", chain="ts/prod") is None
    await shared("set", "prod", state("prod", kind="alchemy::Scope"), chain="ts")
    await shared("set", "api", state("api", status="creating"), chain="ts/prod")
    await shared("set", "api", state("api"), chain="ts/prod")
    await shared("set", "a/b", state("a/b"), chain="ts/prod")
    await shared("set", "db", state("db"), chain="ts/prod/data")
    assert await shared("get", "api", chain="ts/prod") == state("api")
    assert await shared("getBatch", ["api", "a/b", "none"], chain="ts/prod") == {
        "api": state("api"),
        "a/b": state("a/b"),
    }
    assert await shared("list", chain="ts/prod") == ["a/b", "api"]
    assert await shared("count", chain="ts/prod") == 2
    assert await shared("all", chain="ts/prod") == {"api": state("api"), "a/b": state("a/b")}
    assert await shared("listScopes", chain="ts") == ["prod"]
    assert await shared("listScopes", chain="ts/prod") == ["data"]
    assert "ts" in await shared("listScopes", chain="")
    await shared("delete", "api", chain="ts/prod")
    await shared("delete", "api", chain="ts/prod")
    assert await shared("list", chain="ts/prod") == ["a/b"]
    await shared("clearScope", chain="ts/prod")
    assert await shared("list", chain="ts/prod") == await shared("list", chain="ts/prod/data") == []
    assert await shared("list", chain="ts") == ["prod"]
    assert await shared("deinit", chain="ts/prod") is None


@pytest.mark.parametrize("chain", ["wild/a_c", "wild/a%", "wild/a*", "wild/[a]c", "wild/a'c"])
async def test_chains_are_no_patterns(shared: Client, chain: str) -> None:
    """Clearing a scope whose name has a wildcard in it touches itself and what is below, and nothing like it."""
    others = ["wild/abc", "wild/a", "wild/ac", "wild/abc/d", f"{chain}x", f"{chain}-x"]
    for other in [chain, f"{chain}/below", *others]:
        await shared("set", "x", state("x"), chain=other)
    await shared("clearScope", chain=chain)
    assert await shared("list", chain=chain) == await shared("list", chain=f"{chain}/below") == []
    assert [await shared("list", chain=other) for other in others] == [["x"]] * len(others)


async def test_long_texts_come_back(shared: Client) -> None:
    """A record over a row's 2 MB is kept in parts, cut between no two halves of a character."""
    text = json.dumps({"text": "𝄞" * 900_000 + "ä" * 900_001}, ensure_ascii=False)
    lease = await shared.take("long/prod", "n")
    for number, value in enumerate((text, text[:600_000], "{}", text), start=1):
        puts: dict[str, Any] = {"number": number, "clear": None, "drops": [], "puts": {"long/prod/a": value}}
        await shared("commit", lease, puts, chain="long/prod")
        assert await shared.load("long/prod") == {"long/prod/a": value}
        rows = (await shared("read", 0, ["long/prod/a"], chain="long/prod"))["rows"]
        assert "".join(part for _, part, _ in rows) == value


async def test_a_unit_of_many_pages(shared: Client) -> None:
    """A unit that is too large for one answer is taken and loaded in pages, and writes between them are noticed."""
    lease = await shared.take("many/prod", "n")
    rows = {f"many/prod/{number}": "x" * 1_000_000 for number in range(20)}
    for number, (fqn, text) in enumerate(rows.items(), start=1):
        commit: dict[str, Any] = {"number": number, "clear": None, "drops": [], "puts": {fqn: text}}
        await shared("commit", lease, commit, chain="many/prod")
    first = (await shared("take", {"owner": OWNER, "ttl": 60, "nonce": "n"}, chain="many/prod"))["page"]
    assert 0 < len(first["rows"]) < 20
    assert await shared.load("many/prod") == rows
    await shared("commit", lease, {"number": 21, "clear": None, "drops": [], "puts": {}}, chain="many/prod")
    assert (await shared("load", 0, chain="many/prod"))["writes"] == first["writes"]
    await shared(
        "commit", lease, {"number": 22, "clear": None, "drops": ["many/prod/0"], "puts": {}}, chain="many/prod"
    )
    assert (await shared("load", 0, chain="many/prod"))["writes"] > first["writes"]
