"""Ports of this machine for servers that are started, killed, and started again on the same one."""

from __future__ import annotations

import socket
import sys


def kept_port() -> int:
    """Give a free port of 127.0.0.1 that nobody else is given until this process ends.

    A socket keeps it that is bound and does not listen: Linux lets a server listen beside it (one that sets
    SO_REUSEADDR, as what starts again on its port has to), and gives other ports to those who ask for any, or connect
    to somewhere, also while the server is down. Other systems let no server in there: on those it is merely free now.
    """
    return keep(0)


def keep(port: int) -> int:
    """Keep this port, as `kept_port` does. Raises `OSError` when somebody else has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        number: int = probe.getsockname()[1]
        if sys.platform == "linux":
            probe.detach()
        return number
