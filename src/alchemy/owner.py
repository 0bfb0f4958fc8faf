"""Who this process is, for others to read."""

from __future__ import annotations

import getpass
import os
import socket

from alchemy.ports import Owner

_CI = ("GITHUB_RUN_ID", "CI_PIPELINE_ID", "BUILD_ID")


def owner_of(operation: str) -> Owner:
    """Say who holds a lease: this process, for `operation`."""
    run = next((os.environ[name] for name in _CI if os.environ.get(name)), None)
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"
    return Owner(user=user, host=socket.gethostname(), pid=os.getpid(), operation=operation, run=run)
