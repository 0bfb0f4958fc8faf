"""What the servers have in common that tests start on loopback: a folder, a port, a log, and an end."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.ports import kept_port

STARTS = 120
"""Seconds after which a server that runs and does not answer is taken to hang; one has taken 50 on a busy machine."""


class Server:
    """A process that is started on the same port again and again.

    Args:
        folder: for its data.
        port: kept by the caller; by default one is.
    """

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self.folder = folder
        self.port = port or kept_port()
        self._process: subprocess.Popen[bytes] | None = None

    def _start(
        self,
        command: Sequence[str],
        *,
        is_up: Callable[[], bool],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Start it, and wait until it is up; if it does not come up, nothing is left running."""
        log_file = self.folder / "log"
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd=cwd)
        end = time.monotonic() + STARTS
        while not is_up():
            if self._process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise RuntimeError(f"{type(self).__name__} did not start: {log_file.read_text()[-2000:]}")
            time.sleep(0.01)

    def kill(self) -> None:
        """End it at once, without letting it put anything in order."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
