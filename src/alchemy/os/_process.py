"""Run a command in a process group of its own, of which nothing is left when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import cast

from alchemy.os._masking import Stream

GRACE = 5.0
"""Seconds that a command gets to end by itself after SIGTERM, before SIGKILL."""

DRAIN = 1.0
"""Seconds to wait for the end of the outputs of a command that ended: one that left its group may hold them."""


class _Group(asyncio.SubprocessProtocol):
    """A command's process group. Its first process leads it; when that ends, the others are killed."""

    def __init__(self, out: Stream, err: Stream) -> None:
        self._streams = {1: out, 2: err}
        self._pid: int | None = None
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._pid = cast("asyncio.SubprocessTransport", transport).get_pid()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._streams[fd].feed(data)

    def process_exited(self) -> None:
        # At once: until its last member has gone, the group's number is not given to another.
        self.send(signal.SIGKILL)
        self._pid = None
        if not self.exited.done():
            self.exited.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all of the group, as long as its leader has not ended."""
        if self._pid is not None:
            # PermissionError: macOS gives it for a group of which only zombies are left.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, number)

    async def stop(self) -> None:
        """End it: SIGTERM, then SIGKILL. A cancellation meanwhile does not leave anything running."""
        self.send(signal.SIGTERM)
        try:
            await asyncio.wait((self.exited,), timeout=GRACE)
        finally:
            self.send(signal.SIGKILL)
        await asyncio.wait((self.exited,), timeout=GRACE)


async def run(
    command: Sequence[str], *, cwd: str, environment: Mapping[str, str], out: Stream, err: Stream, timeout: float | None
) -> int | None:
    """Run a command to its end, without input.

    When this returns or raises, a cancellation included, nothing of the command's process group runs any more, what
    it has started in the background included. A process that makes a session of its own (a daemon) escapes that.

    Returns:
        Its exit code (negative: the signal that killed it); `None` when it was stopped after `timeout` seconds.

    Raises:
        OSError: it cannot be started.
    """
    loop = asyncio.get_running_loop()
    transport, group = await loop.subprocess_exec(
        lambda: _Group(out, err),
        *command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        await asyncio.wait((group.exited,), timeout=timeout)
        expired = not group.exited.done()
        if expired:
            await group.stop()
        await asyncio.wait((group.closed,), timeout=DRAIN)
    except BaseException:
        await group.stop()
        raise
    finally:
        transport.close()
        out.end()
        err.end()
    return None if expired else transport.get_returncode()
