"""A state service on loopback: `alchemy state-service serve`, with a folder of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from tests.integration.stores.servers.base import Server

from alchemy.local import install
from alchemy.local._state_service import StateService, serve
from alchemy.stores.service import source

TOKEN = "a-token-of-tests"
_FLUSH = "await this.ctx.storage.sync();"
WIPING = source().replace(_FLUSH, f"await this.ctx.storage.deleteAll(); {_FLUSH}")


class ServiceServer(Server):
    """A state service, started as people start it.

    Args:
        folder: for its data.
    """

    @property
    def url(self) -> str:
        """Where it is, as a store's URL."""
        return f"cloudflare+http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, on the same port as before, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "alchemy", "state-service", "serve"]
        options = ["--data", str(self.folder / "data"), "--port", str(self.port)]
        self._start([*command, *options], is_up=self.answers, env={**os.environ, "ALCHEMY_STATE_TOKEN": TOKEN})

    def kill_workerd(self) -> None:
        """End the workerd that it runs, or on macOS its guard, at once; it starts another one by itself."""
        assert self._process is not None, "it runs"
        (pid,) = _children(self._process.pid)
        os.kill(pid, signal.SIGKILL)

    def answers(self) -> bool:
        """Say whether it accepts the token."""
        return answers(self.port)


class ServiceThread:
    """The same in a thread of this process.

    Args:
        folder: for its data.
        source: its module; by default one that can be emptied, which differs in that eviction forgets all.
    """

    def __init__(self, folder: Path, *, source: str = WIPING) -> None:
        self.port = 0
        self._source = source
        self._folder = folder
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="state service")

    @property
    def url(self) -> str:
        """Where it is, as a store's URL."""
        return f"cloudflare+http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._thread.start()
        self._ready.wait()
        assert self.port, "the service did not start"

    def stop(self) -> None:
        """End it."""
        if self._loop is not None and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()

    def wipe(self) -> None:
        """Have every object forget all it has, and go."""
        wipe(self.port)

    async def _serve(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()

        def ready(service: StateService) -> None:
            self.port = service.port
            self._ready.set()

        try:
            with contextlib.suppress(asyncio.CancelledError):
                await serve(await install(), self._folder, token=TOKEN, ready=ready, source=self._source, debug=True)
        finally:
            self._ready.set()


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    if tasks.exists():  # a container may have no ps
        return [int(each) for task in tasks.iterdir() for each in (task / "children").read_text().split()]
    found = subprocess.run(["pgrep", "-P", f"{pid}"], capture_output=True, text=True, check=True).stdout
    return [int(each) for each in found.split()]


def answers(port: int) -> bool:
    """Say whether a service at a port of this machine accepts the token."""
    request = Request(f"http://127.0.0.1:{port}", method="HEAD", headers={"Authorization": f"Bearer {TOKEN}"})
    try:
        with urlopen(request, timeout=5) as answer:
            status: int = answer.status
    except (URLError, OSError):
        return False
    return status == 200


def wipe(port: int) -> None:
    """Have every object of a service whose module is `WIPING` forget all it has, and go."""
    for app in ["", *_ask(port, "applications", "")]:
        _ask(port, "", app, path="/debug/evict")


def _ask(port: int, method: str, app: str, *, path: str = "/") -> list[str]:
    body = {"method": method, "context": {"chain": [app] if app else []}}
    request = Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode())
    request.add_header("Authorization", f"Bearer {TOKEN}")
    with urlopen(request, timeout=30) as answer:
        result: list[str] = json.loads(answer.read()).get("result", [])
        return result
