"""An S3 server on loopback: MiniStack, which honours conditions and keeps what it acknowledged in files."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tests.integration.stores.servers.base import Server

BUCKET = "state"
R2_BUCKET = "r2-state"
"""In R2's only region."""
_IN_AUTO = b"<CreateBucketConfiguration><LocationConstraint>auto</LocationConstraint></CreateBucketConfiguration>"


class S3Server(Server):
    """A server with a bucket, and one as R2 has them.

    Args:
        folder: for its data.
    """

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
        command = [str(Path(sys.executable).with_name("ministack"))]
        self._start(command, is_up=self._make_buckets, env=environment, cwd=self.folder)

    def _make_buckets(self) -> bool:
        return self._make_bucket(BUCKET, b"") and self._make_bucket(R2_BUCKET, _IN_AUTO)

    def _make_bucket(self, name: str, body: bytes) -> bool:
        request = urllib.request.Request(f"{self.url}/{name}", data=body, method="PUT")
        try:
            with urllib.request.urlopen(request, timeout=5):
                return True
        except urllib.error.HTTPError as error:
            with error:
                return error.code == 409  # it is there already
        except OSError:
            return False
