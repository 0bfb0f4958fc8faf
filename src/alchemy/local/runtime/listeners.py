"""The listening sockets: opened here and handed to one workerd after the other, so that no request is refused."""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping

BACKLOG = 1024


def listen(port: int = 0) -> socket.socket:
    """Listen on 127.0.0.1 at `port`, or at any free one when that is taken or 0."""
    for candidate in dict.fromkeys((port, 0)):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        # A port whose last connections are still winding down may be taken again at once.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets take this over. workerd writes head and body apart: without it the body waits for the
        # other side's delayed acknowledgement, up to 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            listener.bind(("127.0.0.1", candidate))
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            if candidate == 0:
                raise
        else:
            return listener
    raise AssertionError("unreachable: port 0 either listens or raises")


class Listeners:
    """Listening sockets by name."""

    def __init__(self) -> None:
        self._sockets: dict[str, socket.socket] = {}

    def open(self, name: str, port: int = 0) -> int:
        """Listen under this name, if possible at this port; return the port. Safe to repeat."""
        if name not in self._sockets:
            self._sockets[name] = listen(port)
        return self.port(name)

    def port(self, name: str) -> int:
        """Return the port that is listened on under this name."""
        port: int = self._sockets[name].getsockname()[1]
        return port

    def descriptors(self, names: Collection[str]) -> Mapping[str, int]:
        """Return the descriptors to hand over, by name."""
        return {name: self._sockets[name].fileno() for name in names}

    def keep(self, names: Collection[str]) -> None:
        """Close all others."""
        for name in self._sockets.keys() - set(names):
            self._sockets.pop(name).close()
