"""Whole deploys through a network that loses answers: one object of each, complete, and nothing left behind."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from tests.network import LOST, LOST_ANSWER, PASSES, Fate, answering, network

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
    waiting = [re.compile(request)]

    def decide(head: str, _body: bytes) -> Fate:
        if not waiting:
            return LOST if for_good else PASSES
        if not waiting[0].match(head):
            return PASSES
        waiting.clear()
        return Fate(answer=answering(status)) if status else LOST_ANSWER

    async with network(info, decide) as url:
        yield url
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
CASES = [pytest.param(line, id=what) for what, line in REQUESTS.items()]


@pytest.mark.parametrize("status", [None, 503])
@pytest.mark.parametrize("request_line", CASES)
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
