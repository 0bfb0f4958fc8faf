"""Whole deploys through a network that loses answers: one object of each, complete, and nothing left behind."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from alchemy import alchemy
from alchemy.clients.cloudflare import Cloudflare
from alchemy.cloudflare import Binding, D1Database, KVNamespace, R2Bucket, Worker
from alchemy.local import LocalCloudflare

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]


@asynccontextmanager
async def losing(
    info: LocalCloudflare, request: str, *, status: int | None = None, for_good: bool = False
) -> AsyncIterator[str]:
    """Pass everything on; the first request that matches is carried out, and its answer replaced or lost.

    Args:
        info: the Cloudflare behind it.
        request: a pattern for the request's first line.
        status: what is answered instead; `None` breaks the connection.
        for_good: no later request gets through.
    """
    port = urlsplit(info.base_url).port
    waiting = [re.compile(request)]

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if for_good and not waiting:
            writer.close()
            return
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        body = await reader.readexactly(int(length[1])) if length else b""
        behind, to_behind = await asyncio.open_connection("127.0.0.1", port)
        to_behind.write(re.sub(rb"(?i)connection: [^\r]+", b"connection: close", head) + body)
        answer = await behind.read()
        to_behind.close()
        if waiting and waiting[0].match(head.decode()):
            waiting.clear()
            text = f"HTTP/1.1 {status} Lost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            answer = text.encode() if status else b""
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/client/v4"
    assert not waiting, f"no request was like {request}"


async def deploy(folder: Path, name: str | None = None) -> str:
    """Deploy a program with one of each, all of them called `name`, and give the Worker's address."""
    app = await alchemy("notes", stage="dev", retry_delay=0.01)
    database = D1Database("db", name=name, migrations_dir=folder / "migrations")
    bindings: dict[str, Binding] = {
        "DB": database,
        "KV": KVNamespace("kv", title=name),
        "FILES": R2Bucket("files", name=name),
    }
    worker = Worker("api", name=name, entrypoint=folder / "worker.js", bindings=bindings)
    await app.finalize()
    address = (await worker).url
    assert address is not None
    return address


async def destroy() -> None:
    """Destroy what is in state."""
    async with alchemy("notes", stage="dev", phase="destroy"):
        pass


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a Worker and a migration, and the state of a run in it."""
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "1.sql").write_text("CREATE TABLE notes (id INTEGER); INSERT INTO notes VALUES (7);")
    (tmp_path / "worker.js").write_text(
        "export default { async fetch(request, env) {"
        '  return Response.json(await env.DB.prepare("SELECT id FROM notes").first("id")); } };'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


REQUESTS = {
    "create of a database": r"POST \S+/d1/database ",
    "migrations": r"POST \S+/query ",
    "create of a namespace": r"POST \S+/namespaces ",
    "create of a bucket": r"POST \S+/buckets ",
    "upload of a Worker": r"PUT \S+/scripts/",
    "making a Worker reachable": r"POST \S+/subdomain ",
}
LOST = [pytest.param(line, id=what) for what, line in REQUESTS.items()]


@pytest.mark.parametrize("status", [None, 503])
@pytest.mark.parametrize("request_line", LOST)
async def test_a_lost_answer_changes_nothing_about_the_outcome(
    cloud: LocalCloudflare,
    api: Cloudflare,
    program: Path,
    http: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    request_line: str,
    status: int | None,
) -> None:
    """Whichever answer is lost, the deploy ends with everything made once and in use; destroy takes all of it away."""
    before = await counts(api)
    async with losing(cloud, request_line, status=status) as url:
        monkeypatch.setenv("CLOUDFLARE_BASE_URL", url)
        address = await deploy(program)
    assert (await http.get(address)).json() == 7
    monkeypatch.setenv("CLOUDFLARE_BASE_URL", cloud.base_url)
    assert await deploy(program) == address
    assert await counts(api) == [count + 1 for count in before]
    await destroy()
    assert await counts(api) == before


@pytest.mark.parametrize("request_line", REQUESTS.values(), ids=REQUESTS.keys())
async def test_a_network_that_is_gone_for_good_loses_nothing(
    cloud: LocalCloudflare,
    api: Cloudflare,
    program: Path,
    http: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    request_line: str,
) -> None:
    """When nothing works after a lost answer, the run fails; the next one takes what that made for its own."""
    before = await counts(api)
    name = f"chosen-{uuid.uuid4().hex[:12]}"
    async with losing(cloud, request_line, for_good=True) as url:
        monkeypatch.setenv("CLOUDFLARE_BASE_URL", url)
        with pytest.raises(ExceptionGroup):
            await deploy(program, name)
    monkeypatch.setenv("CLOUDFLARE_BASE_URL", cloud.base_url)
    assert (await http.get(await deploy(program, name))).json() == 7
    assert await counts(api) == [count + 1 for count in before]
    await destroy()
    assert await counts(api) == before


async def counts(api: Cloudflare) -> list[int]:
    """Count what the account holds: databases, namespaces, buckets, Workers."""
    account = api.account_id
    buckets = (await api.sdk.r2.buckets.list(account_id=account)).buckets or []
    return [
        len([each async for each in api.sdk.d1.database.list(account_id=account)]),
        len([each async for each in api.sdk.kv.namespaces.list(account_id=account)]),
        len(buckets),
        len([each async for each in api.sdk.workers.scripts.list(account_id=account)]),
    ]
