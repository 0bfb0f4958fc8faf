"""A network between a program and the local Cloudflare that does to requests what a test says."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from alchemy.local import LocalCloudflare


class Fate(NamedTuple):
    """What becomes of a request.

    Attributes:
        arrives: it reaches the server.
        body: what arrives instead of its body; of the same length.
        answer: what the client gets instead of the server's answer; empty: the connection breaks.
    """

    arrives: bool = True
    answer: bytes | None = None
    body: bytes | None = None


PASSES, LOST_ANSWER, LOST = Fate(), Fate(answer=b""), Fate(arrives=False, answer=b"")


def answering(status: int, *, code: int | None = None) -> bytes:
    """Give an answer without a body, or with Cloudflare's envelope for an error."""
    told = {"success": False, "errors": [{"code": code, "message": "no"}], "messages": [], "result": None}
    body = b"" if code is None else json.dumps(told).encode()
    kind = "content-type: application/json\r\n" if body else ""
    return f"HTTP/1.1 {status} Said\r\n{kind}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body


@asynccontextmanager
async def network(info: LocalCloudflare, decide: Callable[[str, bytes], Fate]) -> AsyncIterator[str]:
    """Pass requests on as `decide` says of each, by its head and body; give the URL to use as the API's."""
    port = urlsplit(info.base_url).port

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        body = await reader.readexactly(int(length[1])) if length else b""
        fate = decide(head.decode(), body)
        answer = b""
        if fate.arrives:
            behind, to_behind = await asyncio.open_connection("127.0.0.1", port)
            to_behind.write(re.sub(rb"(?i)connection: [^\r]+", b"connection: close", head) + (fate.body or body))
            answer = await behind.read()
            to_behind.close()
        writer.write(answer if fate.answer is None else fate.answer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/client/v4"
