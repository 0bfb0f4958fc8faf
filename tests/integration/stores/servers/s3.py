"""An S3 server on loopback: MiniStack, which honours conditions and keeps what it acknowledged in files."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

BUCKET = "state"
R2_BUCKET = "r2-state"
"""In R2's only region."""
_IN_AUTO = b"<CreateBucketConfiguration><LocationConstraint>auto</LocationConstraint></CreateBucketConfiguration>"


class S3Server:
    """A server with a bucket, and one as R2 has them.

    Args:
        folder: for its data.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, on the same port as before, and wait until the buckets are there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": "127.0.0.1",
            "SERVICES": "s3",
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(self.folder / "data"),
            "LOG_LEVEL": "WARNING",
        }
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(Path(sys.executable).with_name("ministack"))],
                cwd=self.folder, env=environment, stdout=log, stderr=log,
            )  # fmt: skip
        end = time.monotonic() + 30
        while not (self._make_bucket(BUCKET, b"") and self._make_bucket(R2_BUCKET, _IN_AUTO)):
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"ministack did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.01)

    def kill(self) -> None:
        """End it at once, without letting it put anything in order."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _make_bucket(self, name: str, body: bytes) -> bool:
        request = urllib.request.Request(f"{self.url}/{name}", data=body, method="PUT")
        try:
            with urllib.request.urlopen(request, timeout=5):
                return True
        except urllib.error.HTTPError as error:
            return error.code == 409  # it is there already
        except OSError:
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
