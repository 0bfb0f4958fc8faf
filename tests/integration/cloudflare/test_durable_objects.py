"""Durable Object classes over whole deploys, on the real workerd: what was stored goes where the class goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from alchemy import alchemy
from alchemy.clients.cloudflare import Cloudflare
from alchemy.cloudflare import DurableObjectNamespace, Worker
from alchemy.cloudflare._upload import namespaces

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]

_COUNTER = """export class NAME extends DurableObject {
  async fetch() {
    const { sql } = this.ctx.storage;
    sql.exec("CREATE TABLE IF NOT EXISTS n (at INTEGER)");
    sql.exec("INSERT INTO n VALUES (1)");
    return new Response(String(sql.exec("SELECT count(*) AS n FROM n").one().n));
  }
}
"""
_ASKS = """export default { fetch(request, env) {
  const url = new URL(request.url);
  const counter = env[url.searchParams.get("in") ?? "ROOM"];
  return counter ? counter.get(counter.idFromName(url.pathname)).fetch(request) : new Response("unbound");
} };
"""


def counting(*names: str) -> str:
    """Give a script whose classes `names` count their requests, and which passes requests on to what it is bound to."""
    classes = "".join(_COUNTER.replace("NAME", name) for name in names)
    return f'import {{ DurableObject }} from "cloudflare:workers";\n{classes}{_ASKS}'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """State of its own for each test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def classes(api: Cloudflare, script: str) -> dict[str, str]:
    """Give the ids of a script's namespaces by class."""
    return {each.class_name: each.id for each in await namespaces(api) if each.script == script}


async def count(http: httpx.AsyncClient, worker: Worker, path: str = "/a", *, within: str = "ROOM") -> str:
    """Ask an object to count one more."""
    answer = await http.get(f"{worker.url}{path}", params={"in": within})
    return answer.text


async def test_a_class_lives(api: Cloudflare, http: httpx.AsyncClient) -> None:
    """Declared, made with the Worker and answering; nothing is done while nothing changes; gone with the Worker."""

    async def deploy(phase: Any = "up", script: str = counting("Room")) -> Worker:
        async with alchemy("objects", stage="lives", phase=phase) as app:
            rooms = DurableObjectNamespace("rooms", class_name="Room")
            worker = await Worker("api", script=script, bindings={"ROOM": rooms})
        assert app is not None
        return worker

    worker = await deploy()
    assert [await count(http, worker, path) for path in ("/a", "/a", "/b")] == ["1", "2", "1"]
    before = await classes(api, worker.script_name)
    again = await deploy()
    assert again.etag == worker.etag
    newer = await deploy(script=counting("Room") + "// newer")
    assert newer.etag != worker.etag
    assert await classes(api, worker.script_name) == before
    assert await count(http, newer) == "3"
    async with alchemy("objects", stage="lives", phase="destroy"):
        pass
    assert await classes(api, worker.script_name) == {}
