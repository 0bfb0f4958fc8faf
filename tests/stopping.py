"""Processes that are stopped, to be continued."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Any


def stop(process: subprocess.Popen[Any]) -> None:
    """Stop a process, and return when all of it stands still.

    Whoever calls this holds what others must not be kept out of by a process that stands still: the signal alone may
    come while that process has it for a moment.
    """
    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
