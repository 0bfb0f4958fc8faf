"""The addresses that users see: connections end here and are passed on, byte for byte, to the workerd that runs.

A listening socket that outlives workerd is not enough. A client that keeps its connection may send the next request
at the very moment when workerd, told to stop, closes what is idle; and that request would be lost. So the client's
connection belongs to this process. When workerd closes its side because it is being replaced, the client's side
stays, and what the client has sent without having got a byte of an answer is sent again to the next workerd. That is
safe: a workerd told to stop finishes what it has begun, so what it closed without an answer it had not begun. After
a crash nothing is sent again, and the client learns of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field

from alchemy.local.runtime.listeners import BACKLOG, listen

_REQUEST = re.compile(rb"[A-Z]+ \S+ HTTP/1\.1\r\n")
_MOST_KEPT = 1 << 20

Spawn = Callable[[Coroutine[None, None, None]], object]


@dataclass
class Generations:
    """Counts workerds, and remembers which of them ended in order.

    Attributes:
        current: what a connection made now belongs to; it grows the moment before a workerd is told to stop.
        cut: those that did not finish in time and were killed.
    """

    current: int = 0
    cut: set[int] = field(default_factory=set[int])

    def in_order(self, generation: int) -> bool:
        """Say whether a workerd has closed its connections because it was told to stop."""
        return generation < self.current and generation not in self.cut


class Doors:
    """Listening sockets by name, each leading to a port of workerd's."""

    def __init__(self, generations: Generations) -> None:
        self.generations = generations
        self._doors: dict[str, tuple[asyncio.Server, int, set[_Client]]] = {}

    async def open(self, name: str, target: int, *, port: int, spawn: Spawn) -> int:
        """Listen under this name, if possible at `port`, and lead to the port `target`; return the port. Repeatable.

        `spawn` runs a coroutine for as long as the data plane lives.
        """
        if name not in self._doors:
            listener = listen(port)
            clients = set[_Client]()
            server = await asyncio.get_running_loop().create_server(
                lambda: _Client(target, self.generations, clients, spawn), sock=listener, backlog=BACKLOG
            )
            self._doors[name] = (server, int(listener.getsockname()[1]), clients)
        return self.port(name)

    def port(self, name: str) -> int:
        """Return the port that is listened on under this name."""
        return self._doors[name][1]

    def keep(self, names: Collection[str]) -> None:
        """Close all others, with their connections."""
        for name in self._doors.keys() - set(names):
            server, _, clients = self._doors.pop(name)
            server.close()
            for client in list(clients):
                client.abort()


class _Client(asyncio.Protocol):
    """A client's connection."""

    def __init__(self, target: int, generations: Generations, clients: set[_Client], spawn: Spawn) -> None:
        self._target = target
        self._generations = generations
        self._clients = clients
        self._spawn = spawn
        self._transport: asyncio.Transport | None = None
        self._upstream: _Upstream | None = None
        self._connecting = False
        self._ended = False
        self._unanswered: bytes | None = b""  # None: more than is kept

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._clients.add(self)

    def data_received(self, data: bytes) -> None:
        if self._unanswered is not None:
            whole = self._unanswered + data
            self._unanswered = whole if len(whole) <= _MOST_KEPT else None
        if self._upstream is not None:
            self._upstream.send(data)
        elif not self._connecting:
            self._connect()

    def eof_received(self) -> bool:
        self._ended = True
        if self._upstream is not None:
            self._upstream.end()
        elif not self._connecting:
            return False
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._clients.discard(self)
        self._transport = None
        if self._upstream is not None:
            self._upstream.abort()

    def pause_writing(self) -> None:
        if self._upstream is not None:
            self._upstream.pause()

    def resume_writing(self) -> None:
        if self._upstream is not None:
            self._upstream.resume()

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()

    def answer(self, data: bytes) -> None:
        """Pass on what workerd says."""
        self._unanswered = b""
        if self._transport is not None:
            self._transport.write(data)

    def hold(self, still: bool) -> None:
        """Read nothing more for now, or read on."""
        if self._transport is None:
            return
        if still:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def lost(self, upstream: _Upstream) -> None:
        """Take notice that workerd has closed its side."""
        self._upstream = None
        if self._transport is None:
            return
        self.hold(False)
        if (self._ended and not self._unanswered) or not self._generations.in_order(upstream.generation):
            self._transport.close()
        elif self._unanswered is None or (self._unanswered and not _REQUEST.match(self._unanswered)):
            self._transport.close()  # too much to send again, or the middle of something
        elif self._unanswered:
            self._connect()

    def _connect(self) -> None:
        self._connecting = True
        self.hold(True)
        self._spawn(self._connected())

    async def _connected(self) -> None:
        upstream = _Upstream(self, self._generations.current)
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: upstream, "127.0.0.1", self._target, family=socket.AF_INET)
        except OSError:  # the Worker has been deleted meanwhile
            self.abort()
            return
        finally:
            self._connecting = False
        if self._transport is None:
            upstream.abort()
            return
        self._upstream = upstream
        if self._unanswered:
            upstream.send(self._unanswered)
        if self._ended:
            upstream.end()
        self.hold(False)


class _Upstream(asyncio.Protocol):
    """A connection to workerd on behalf of a client."""

    def __init__(self, client: _Client, generation: int) -> None:
        self.generation = generation
        self._client = client
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._client.answer(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._client.lost(self)

    def pause_writing(self) -> None:
        self._client.hold(True)

    def resume_writing(self) -> None:
        self._client.hold(False)

    def send(self, data: bytes) -> None:
        """Pass on what the client says."""
        if self._transport is not None:
            self._transport.write(data)

    def end(self) -> None:
        """Pass on that the client says nothing more."""
        if self._transport is not None:
            with contextlib.suppress(OSError):
                self._transport.write_eof()

    def pause(self) -> None:
        """Read nothing more from workerd for now."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()
