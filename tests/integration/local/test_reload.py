"""What those who use a Worker notice while it, or another, is being replaced: nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest
from cloudflare import AsyncCloudflare

from alchemy.local import LocalCloudflare

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]

Deploy = Callable[..., Awaitable[str]]


def answering(text: str) -> str:
    """Return a script that takes a moment and then answers `text`."""
    return f"export default {{ async fetch() {{ await scheduler.wait(5); return new Response('{text}') }} }}"


@pytest.mark.parametrize("connections", [0, 8], ids=["new connections", "kept connections"])
async def test_no_request_is_lost(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, connections: int
) -> None:
    """Under constant load every request is answered, through four reloads, with the old or the new answer."""
    url = await deploy(client, cloud, "loaded", answering("0"))
    answers: list[str] = []
    over = asyncio.Event()

    async def load() -> None:
        limits = httpx.Limits(max_keepalive_connections=connections)
        async with httpx.AsyncClient(trust_env=False, timeout=30, limits=limits) as http:
            while not over.is_set():
                answer = await http.get(url)
                assert answer.status_code == 200
                answers.append(answer.text)

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(load())
        for number in range(5):
            if number:
                await deploy(client, cloud, "loaded", answering(str(number)))
            while str(number) not in answers:
                await asyncio.sleep(0)
        over.set()
    assert {*answers} == {*"01234"}


async def test_many_at_once_need_few_reloads(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """Ten Workers uploaded side by side, one of them broken: nine serve, and the log shows no crash."""

    async def one(number: int) -> str | None:
        source = answering(str(number)) if number != 3 else "throw new Error('no')"
        try:
            return await deploy(client, cloud, f"many-{number}", source)
        except Exception:
            return None

    urls = await asyncio.gather(*(one(number) for number in range(10)))
    assert urls[3] is None
    for number, url in enumerate(urls):
        if url is not None:
            assert (await http.get(url)).text == str(number)
    assert sum(url is not None for url in urls) == 9


async def test_a_long_request_is_finished(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """A request that is being worked on when its Worker is replaced gets the old one's answer."""
    source = """
        export default { async fetch(request, env) {
          await env.KV.put("begun", "yes"); await scheduler.wait(600); return new Response("old") } }"""
    namespace = await client.kv.namespaces.create(account_id=cloud.account_id, title="long")
    assert namespace is not None
    bindings = [{"type": "kv_namespace", "name": "KV", "namespace_id": namespace.id}]
    url = await deploy(client, cloud, "long", source, bindings=bindings)
    async with asyncio.TaskGroup() as group:
        request = group.create_task(http.get(url))
        while not [each async for each in client.kv.namespaces.keys.list(namespace.id, account_id=cloud.account_id)]:
            await asyncio.sleep(0)
        await deploy(client, cloud, "long", answering("new"))
        assert (await http.get(url)).text == "new"
    assert request.result().text == "old"
