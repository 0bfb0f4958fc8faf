"""A TCP proxy on loopback, for tests of what talks to a server: it counts, delays, and cuts."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Generator
from dataclasses import dataclass
from types import TracebackType

from alchemy.stores._portal import Portal

_CHUNK = 1 << 16
_BACKLOG = 100


@dataclass(slots=True)
class Traffic:
    """What went through a proxy.

    Attributes:
        connections: accepted.
        round_trips: how often a client said something after the server had, or at the beginning.
        sent, received: bytes, as the client sees it.
    """

    connections: int = 0
    round_trips: int = 0
    sent: int = 0
    received: int = 0


class Proxy:
    """Stands between a client and a server; runs in a thread of its own, so that a blocked test does not stop it.

    ```python
    with Proxy("127.0.0.1", server.port) as proxy:
        store = MyStore(f"my://127.0.0.1:{proxy.port}")
        proxy.cut()
    ```

    Attributes:
        port: where it listens on 127.0.0.1; the same as long as it is entered.
        delay: seconds that everything waits on its way to the server: what a round trip takes longer.
        traffic: what went through it so far.
    """

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self.delay = 0.0
        self.traffic = Traffic()
        self._target = (host, port)
        self._portal = Portal("alchemy-proxy")
        self._kept: socket.socket | None = None
        self._serving: asyncio.Task[None] | None = None
        self._losing = 0

    def __enter__(self) -> Proxy:
        self._kept = _keep_a_port()
        if self._kept is not None:
            self.port = self._kept.getsockname()[1]
        self.restore()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        self._portal.close()
        if self._kept is not None:
            self._kept.close()

    def cut(self) -> None:
        """Cut every connection, and refuse new ones until `restore`."""
        self._portal.call(self._stop())

    def restore(self) -> None:
        """Accept connections again, on the same port."""
        if self._serving is None:
            listener = _bound(self.port)
            listener.listen(_BACKLOG)
            self.port = listener.getsockname()[1]
            self._portal.call(self._start(listener))

    def lose_answers(self, count: int = 1) -> None:
        """Let that many next answers not arrive: the server has the request and acts on it, and the client is cut off
        as soon as the server says something.
        """
        self._losing += count

    @contextlib.contextmanager
    def counted(self) -> Generator[Traffic]:
        """Count what goes through within the block alone."""
        before = Traffic(*(getattr(self.traffic, name) for name in Traffic.__slots__))
        within = Traffic()
        try:
            yield within
        finally:
            for name in Traffic.__slots__:
                setattr(within, name, getattr(self.traffic, name) - getattr(before, name))

    async def _start(self, listener: socket.socket) -> None:
        begun = asyncio.Event()
        self._portal.submit(self._serve(listener, begun))
        await begun.wait()

    async def _stop(self) -> None:
        serving, self._serving = self._serving, None
        if serving is not None:
            serving.cancel()
            await asyncio.wait([serving])

    async def _serve(self, listener: socket.socket, begun: asyncio.Event) -> None:
        """Pass on what comes until this is cancelled.

        Not a server of asyncio's: when that is closed, a client that it has just accepted is neither served nor cut.
        """
        loop = asyncio.get_running_loop()
        self._serving = asyncio.current_task()
        async with asyncio.TaskGroup() as group:
            loop.add_reader(listener, self._accept, listener, group)
            begun.set()
            try:
                await loop.create_future()
            finally:
                loop.remove_reader(listener)
                listener.close()

    def _accept(self, listener: socket.socket, group: asyncio.TaskGroup) -> None:
        try:
            client, _ = listener.accept()
        except OSError:
            return  # it has given up already; or it is accepted in the next turn
        client.setblocking(False)
        self.traffic.connections += 1
        # Also when it is cancelled before it begins.
        group.create_task(self._link(client)).add_done_callback(lambda _: client.close())

    async def _link(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            mine = await asyncio.open_connection(sock=client)
            try:
                theirs = await asyncio.open_connection(*self._target)
            except BaseException:
                mine[1].transport.abort()
                raise
            await _Link(self, mine, theirs).run()

    def take_loss(self) -> bool:
        """Say whether the answer at hand is to be lost."""
        if self._losing > 0:
            self._losing -= 1
            return True
        return False


def _keep_a_port() -> socket.socket | None:
    """Bind a socket that never listens: beside it Linux lets a server listen, and gives its port to nobody else while
    the proxy is cut. Other systems let no server in there: on those a port is free when it is listened on first.
    """
    return _bound(0) if sys.platform == "linux" else None


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setblocking(False)
    try:
        bound.bind(("127.0.0.1", port))
    except OSError:
        bound.close()
        raise
    return bound


_Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy, client: _Pair, server: _Pair) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._client_spoke = False

    async def run(self) -> None:
        """Pass on what comes until one side ends, or this is cancelled; then cut both, without saying goodbye."""
        try:
            async with asyncio.TaskGroup() as group:
                both = [group.create_task(self._requests()), group.create_task(self._answers())]
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                for one in both:
                    one.cancel()  # it may be in the middle of a long delay
        finally:
            for _, writer in (self._client, self._server):
                writer.transport.abort()

    async def _requests(self) -> None:
        traffic = self._proxy.traffic
        with contextlib.suppress(OSError):
            while data := await self._client[0].read(_CHUNK):
                if not self._client_spoke:
                    self._client_spoke = True
                    traffic.round_trips += 1
                    if self._proxy.delay:
                        await asyncio.sleep(self._proxy.delay)
                traffic.sent += len(data)
                self._server[1].write(data)
                await self._server[1].drain()

    async def _answers(self) -> None:
        traffic = self._proxy.traffic
        with contextlib.suppress(OSError):
            while data := await self._server[0].read(_CHUNK):
                if self._client_spoke and self._proxy.take_loss():
                    return
                self._client_spoke = False
                traffic.received += len(data)
                self._client[1].write(data)
                await self._client[1].drain()
