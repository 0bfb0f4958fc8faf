"""MiniStack on loopback: DynamoDB and S3 in one process, from PyPI."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.integration.stores.servers.base import Server

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
"""Credentials that it accepts, as the environment has them."""


class MiniStack(Server):
    """A server that keeps what it was told when it is ended in order.

    Args:
        folder: for its data.
        checked: keys and policies count, as they do at AWS; `KEYS` are the account's own. Signatures do not.
    """

    def __init__(self, folder: Path, *, checked: bool = False) -> None:
        super().__init__(folder)
        self._checked = checked

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, on the same port as before, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {
            **KEYS,
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": "127.0.0.1",
            "PERSIST_STATE": "1",
            "STATE_DIR": str(self.folder / "state"),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(self.folder / "s3"),
            "SFTP_ENABLED": "0",
            "AUTH": "true" if self._checked else "false",
            "LOG_LEVEL": "WARNING",
            "DOCKER_HOST": "unix:///nonexistent",
        }
        self._start(
            [sys.executable, "-m", "ministack"],
            is_up=lambda: self._ask("GET", "/_ministack/health") == 200,
            env={**os.environ, **settings},
        )

    def kill(self) -> None:
        """End it while requests are under way. In order, since otherwise it keeps nothing: it writes to disk last."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def reset(self) -> None:
        """Make it forget everything."""
        status = self._ask("POST", "/_ministack/reset")
        if status != 200:
            raise RuntimeError(f"ministack was not emptied: {status}")

    def _ask(self, method: str, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()
