"""Azure Blob Storage on loopback: Azurite, from npm, installed once into the user's cache."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from tests.integration.stores.servers.base import Server

from alchemy.local._npm import npm_command

PINNED = Path(__file__).parents[4] / "requirements" / "azurite"
FILES = ("package.json", "package-lock.json")
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # everybody's
CONTAINER = "state"


class AzureServer(Server):
    """A server with one container.

    Args:
        folder: for its data.
    """

    @property
    def url(self) -> str:
        """The account's endpoint."""
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}"

    def start(self) -> None:
        """Start it, and wait until the container is there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        script = installed() / "node_modules/azurite/dist/src/blob/main.js"
        options = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location", str(self.folder / "data")]
        command = [_node(), str(script), *options, "--skipApiVersionCheck", "--silent", "--disableTelemetry"]
        self._start(command, is_up=self._make_container)

    def _make_container(self) -> bool:
        headers = {"x-ms-date": format_datetime(datetime.now(UTC), usegmt=True), "x-ms-version": "2021-12-02"}
        signed = "\n".join(f"{name}:{value}" for name, value in sorted(headers.items()))
        resource = f"/{ACCOUNT}/{ACCOUNT}/{CONTAINER}\nrestype:container"
        text = "PUT" + "\n" * 12 + f"{signed}\n{resource}"
        digest = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
        request = urllib.request.Request(f"{self.url}/{CONTAINER}?restype=container", method="PUT", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=5):
                return True
        except urllib.error.HTTPError as error:
            with error:
                return error.code == 409  # it is there already
        except OSError:
            return False


def installed() -> Path:
    """Give the folder that Azurite is installed in, after installing it if need be: a minute.

    It is installed with the versions that are locked: what its packages allow changes from day to day, also to what
    some registry or another npm cannot install.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "alchemy-development"
    digest = hashlib.sha256(b"".join((PINNED / name).read_bytes() for name in FILES)).hexdigest()
    folder = cache / f"azurite-{digest[:12]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "azurite.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            new = folder.with_name(f"{folder.name}.new")
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
            for name in FILES:
                shutil.copy(PINNED / name, new)
            quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            subprocess.run([*npm_command(), "ci", "--prefix", str(new), *quiet], check=True)
            new.rename(folder)
    return folder


def _node() -> str:
    return shutil.which("node") or npm_command()[0]


if __name__ == "__main__":
    installed()
