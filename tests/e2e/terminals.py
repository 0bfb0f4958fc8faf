"""A command on a terminal of its own, as a person sees it."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tests.amounts import amount

if TYPE_CHECKING:
    from tests.e2e.conftest import Project


LIMIT = amount(60, 600)
"""Seconds after which what hangs fails its test."""


class Terminal:
    """A command on a pseudo-terminal of 100 columns and 30 lines."""

    def __init__(self, project: Project, *args: str, env: Mapping[str, str] | None = None) -> None:
        self.text = ""
        self._mine, theirs = pty.openpty()
        changes = {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30", **(env or {})}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "alchemy", *args],
            cwd=project.folder,
            env=project.environment(changes),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def until(self, text: str) -> None:
        """Read until `text` was shown."""
        deadline = time.monotonic() + LIMIT
        while text not in self.text:
            assert time.monotonic() < deadline, f"{text!r} was not shown: {self.text!r}"
            if select.select([self._mine], [], [], 1)[0] and not self._read():
                break
        assert text in self.text, self.text

    def _read(self) -> bool:
        try:
            data = os.read(self._mine, 65536)
        except OSError:  # Linux says so when the other end is closed
            return False
        self.text += data.decode()
        return bool(data)

    def type(self, text: str) -> None:
        os.write(self._mine, text.encode())

    def finish(self) -> int:
        """Read to the end; give the exit code."""
        while self._read():
            pass
        os.close(self._mine)
        return self.process.wait(LIMIT)

    @property
    def plain(self) -> str:
        """What was shown, without colors and movements."""
        return re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", self.text).replace("\r", "")
