"""The proxy that tests put between a client and a server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import AsyncGenerator

import pytest

from alchemy.testing.proxy import Proxy

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def echo() -> AsyncGenerator[tuple[int, list[bytes]]]:
    """Serve lines: each is given back; what was heard is kept."""
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                heard.append(line)
                writer.write(line)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], heard


def bound(server: socket.socket) -> int:
    """Have a socket at a port, without listening; give the port."""
    server.bind(("127.0.0.1", 0))
    port: int = server.getsockname()[1]
    return port


async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes) -> bytes:
    """Send a line and give the answer; empty when the connection was cut."""
    writer.write(line)
    answer = b""
    with contextlib.suppress(OSError):
        answer = await reader.readline()
    if not answer:
        writer.close()
    return answer


async def test_what_goes_through_is_counted() -> None:
    """Connections, round trips and bytes are told, in all and for a part."""
    async with echo() as (port, _):
        with Proxy("127.0.0.1", port) as proxy:
            connection = await asyncio.open_connection("127.0.0.1", proxy.port)
            assert await say(*connection, b"one\n") == b"one\n"
            with proxy.counted() as part:
                assert await say(*connection, b"three\n") == b"three\n"
            assert (part.connections, part.round_trips, part.sent, part.received) == (0, 1, 6, 6)
            assert (proxy.traffic.connections, proxy.traffic.round_trips, proxy.traffic.sent) == (1, 2, 10)
            connection[1].close()


async def test_a_cut_proxy_refuses_and_comes_back_on_its_port() -> None:
    """Cutting ends connections and refuses new ones; restoring accepts them at the same place."""
    async with echo() as (port, _):
        with Proxy("127.0.0.1", port) as proxy:
            place = proxy.port
            connection = await asyncio.open_connection("127.0.0.1", place)
            assert await say(*connection, b"a\n") == b"a\n"
            proxy.cut()
            assert await say(*connection, b"b\n") == b""
            with pytest.raises(OSError, match=str(place)):
                await asyncio.open_connection("127.0.0.1", place)
            proxy.restore()
            again = await asyncio.open_connection("127.0.0.1", place)
            assert await say(*again, b"c\n") == b"c\n"
            again[1].close()


async def test_a_lost_answer_was_heard() -> None:
    """The server acts on a request whose answer does not arrive, and the next is answered again."""
    async with echo() as (port, heard):
        with Proxy("127.0.0.1", port) as proxy:
            proxy.lose_answers()
            connection = await asyncio.open_connection("127.0.0.1", proxy.port)
            assert await say(*connection, b"lost\n") == b""
            assert heard == [b"lost\n"]
            again = await asyncio.open_connection("127.0.0.1", proxy.port)
            assert await say(*again, b"told\n") == b"told\n"
            again[1].close()


async def test_requests_are_delayed() -> None:
    """A round trip takes longer by the delay, at least."""
    async with echo() as (port, _):
        with Proxy("127.0.0.1", port) as proxy:
            proxy.delay = 0.05
            connection = await asyncio.open_connection("127.0.0.1", proxy.port)
            began = time.monotonic()
            assert await say(*connection, b"a\n") == b"a\n"
            assert time.monotonic() - began >= 0.05
            connection[1].close()


async def test_what_is_being_connected_is_cut_too() -> None:
    """A client whose way to the server is not open yet does not come through a cut."""
    async with echo() as (port, heard):
        with Proxy("127.0.0.1", port) as proxy:
            for _ in range(20):
                connection = await asyncio.open_connection("127.0.0.1", proxy.port)
                proxy.cut()
                assert await say(*connection, b"late\n") == b""
                proxy.restore()
    assert heard == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep no port")
async def test_while_it_is_cut_nobody_else_is_given_its_port() -> None:
    """It stays the proxy's own, though nobody listens there."""
    async with echo() as (port, _):
        with Proxy("127.0.0.1", port) as proxy:
            proxy.cut()
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", proxy.port))
            proxy.restore()
            connection = await asyncio.open_connection("127.0.0.1", proxy.port)
            assert await say(*connection, b"a\n") == b"a\n"
            connection[1].close()


async def test_a_server_that_is_not_there_cuts_the_client() -> None:
    """When nobody listens behind the proxy its clients are cut off and nothing hangs."""
    with socket.socket() as deaf, Proxy("127.0.0.1", bound(deaf)) as proxy:
        connection = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await say(*connection, b"a\n") == b""
