"""What is passed on between a client and workerd, and what is not sent twice."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from cloudflare import AsyncCloudflare

from alchemy import local
from alchemy.local import LocalCloudflare

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]

Deploy = Callable[..., Awaitable[str]]


async def test_much_goes_both_ways(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """Twenty megabytes arrive whole in the Worker, and as many come back to a client that reads slowly."""
    source = """
        export default { async fetch(request) {
          if (request.method === "POST") {
            return new Response((await crypto.subtle.digest("SHA-256", await request.arrayBuffer())));
          }
          const block = new Uint8Array(1 << 20).map((_, at) => at);
          let left = 20;
          return new Response(new ReadableStream({ pull(controller) {
            if (left-- > 0) controller.enqueue(block.slice()); else controller.close();
          } }));
        } }"""
    url = await deploy(client, cloud, "much", source)
    block = bytes(range(256)) * 4096

    async def content() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield block

    assert (await http.post(url, content=content())).content == hashlib.sha256(block * 20).digest()
    received = hashlib.sha256()
    async with http.stream("GET", url) as answer:
        await asyncio.sleep(0.2)  # everything between fills up
        async for part in answer.aiter_bytes():
            received.update(part)
    assert received.digest() == hashlib.sha256(block * 20).digest()


async def test_a_websocket_works(client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy) -> None:
    """A Worker accepts a WebSocket and answers on it."""
    source = """
        export default { fetch() {
          const [mine, theirs] = Object.values(new WebSocketPair());
          theirs.accept();
          theirs.addEventListener("message", (event) => theirs.send(`got ${event.data}`));
          return new Response(null, { status: 101, webSocket: mine });
        } }"""
    url = httpx.URL(await deploy(client, cloud, "socket", source))
    reader, writer = await asyncio.open_connection("127.0.0.1", url.port)
    writer.write(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert b" 101 " in await reader.readline()
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"\x81\x82\0\0\0\0hi")  # a text frame of two bytes, masked with zeros
    assert await reader.readexactly(8) == b"\x81\x06got hi"
    writer.close()
    await writer.wait_closed()


async def test_a_crash_is_not_hidden(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """When workerd is killed in the middle of a request its client is told, and the request is not made twice."""
    namespace = await client.kv.namespaces.create(account_id=cloud.account_id, title="crash")
    assert namespace is not None
    source = """
        export default { async fetch(request, env) {
          if (request.method === "GET") return new Response("fine");
          await env.KV.put(crypto.randomUUID(), "begun"); await scheduler.wait(60000);
          return new Response("never") } }"""
    bindings = [{"type": "kv_namespace", "name": "KV", "namespace_id": namespace.id}]
    url = await deploy(client, cloud, "crash", source, bindings=bindings)

    async def begun() -> int:
        keys = client.kv.namespaces.keys.list(namespace.id, account_id=cloud.account_id)
        return len([each async for each in keys])

    async def told() -> None:
        with pytest.raises(httpx.TransportError):
            await http.post(url)

    async with asyncio.TaskGroup() as group:
        group.create_task(told())
        while not await begun():
            await asyncio.sleep(0)
        pid = (await local.status(cloud.data_dir)).workerd_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    assert (await http.get(url)).text == "fine"
    assert await begun() == 1
