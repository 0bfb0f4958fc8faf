"""One workerd process: started, listening, stopped, and gone when this process is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from alchemy.local._errors import LocalCloudflareError
from alchemy.local._toolchain import Toolchain

_LAUNCHER = Path(__file__).with_name("launch.py")
_PASSED_ON = ("PATH", "HOME", "TMPDIR", "TZ", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR")


class WorkerdRefused(LocalCloudflareError):
    """workerd did not come up with this configuration.

    Attributes:
        output: what it wrote, at most the last 20,000 characters.
        timed_out: it neither listened nor ended within the time, or used up its processor time.
    """

    def __init__(self, message: str, *, output: str = "", timed_out: bool = False) -> None:
        super().__init__(message)
        self.output = output
        self.timed_out = timed_out


class Workerd:
    """A workerd that listens on all its sockets."""

    def __init__(self, process: asyncio.subprocess.Process, *, guarded: bool) -> None:
        self._process = process
        self._guarded = guarded

    @classmethod
    async def start(
        cls,
        toolchain: Toolchain,
        config: Path,
        *,
        sockets: Mapping[str, int],
        environment: Mapping[str, str],
        inherit: Sequence[int] = (),
        log: Path | None = None,
        experimental: bool = True,
        seconds: float = 20,
        cpu_seconds: int = 0,
        guarded: bool = sys.platform != "linux",
    ) -> Workerd:
        """Run a configuration and return when every socket in it is being listened on.

        Args:
            toolchain: what to run.
            config: a file with the constant `config`; what it embeds lies beside it.
            sockets: a listening descriptor for each socket of the configuration.
            environment: variables for `fromEnvironment`; of this process's own only a few are passed on.
            inherit: descriptors that the process shall keep open as long as it lives, such as a lock's.
            log: file that its output is appended to; by default it is only kept for the error.
            experimental: allow what workerd calls experimental, which the simulators need.
            seconds: how long it may take to listen.
            cpu_seconds: processor time it may use in all, in seconds; 0 is no limit.
            guarded: start it under a guard process (see `launch.py`) rather than rely on the kernel.

        Raises:
            WorkerdRefused: it ended or did not listen in time; it is gone.
        """
        with ExitStack() as stack:
            output = stack.enter_context(_output(log))
            start = output.seek(0, os.SEEK_END)
            reader, writer = os.pipe()
            events = stack.enter_context(os.fdopen(reader, "rb", buffering=0))
            with os.fdopen(writer, "wb"):
                command = [str(toolchain.workerd), "serve", f"--control-fd={writer}"]
                command += [f"--import-path={toolchain.simulators}"]
                command += ["--experimental"] if experimental else []
                command += [f"--socket-fd={name}={number}" for name, number in sockets.items()]
                process = await asyncio.create_subprocess_exec(
                    *_launcher(guarded, cpu_seconds),
                    *command,
                    str(config),
                    "config",
                    stdin=asyncio.subprocess.PIPE if guarded else asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(writer, *sockets.values(), *inherit),
                    env={**_environment(), **environment},
                )
            workerd = cls(process, guarded=guarded)
            ready = False
            try:
                async with asyncio.timeout(seconds):
                    ready = await _listening(events, set(sockets))
                    if not ready:
                        # Its end of the pipe is closed, so it is ending. Killing it now would make asyncio lose the
                        # status, which says whether it ran out of processor time.
                        await workerd.wait()
            except TimeoutError:
                raise WorkerdRefused(f"workerd did not listen within {seconds} seconds", timed_out=True) from None
            finally:
                if not ready:
                    await asyncio.shield(workerd.stop(grace=0))
            if not ready:
                said = _tail(output, start)
                used_up = process.returncode in (-signal.SIGXCPU, -signal.SIGKILL, 128 + signal.SIGXCPU)
                raise WorkerdRefused(
                    said or f"workerd ended with status {process.returncode}", output=said, timed_out=used_up
                )
            return workerd

    @property
    def pid(self) -> int:
        """The process that was started: workerd, or the guard around it."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait until it is gone and return its exit status."""
        status = await self._process.wait()
        self._end_group()
        return status

    async def drain(self, *, grace: float) -> bool:
        """Have it finish the requests in flight and end; say whether it did within `grace` seconds."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
        try:
            async with asyncio.timeout(grace):
                await self._process.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self, *, grace: float = 5) -> None:
        """Let requests in flight finish for at most `grace` seconds, then kill. Safe to repeat."""
        if self._process.returncode is None and grace > 0:
            await self.drain(grace=grace)
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        self._end_group()

    def release_guard(self) -> None:
        """Let a guard believe that this process is gone: it kills workerd and ends."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _end_group(self) -> None:
        if self._guarded:  # the guard may have been killed before it could kill workerd
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _launcher(guarded: bool, cpu_seconds: int) -> list[str]:
    mode = "guard" if guarded else "die"
    return [sys.executable, "-I", "-S", str(_LAUNCHER), mode, str(os.getpid()), str(cpu_seconds)]


def _environment() -> dict[str, str]:
    # Not the whole of it: a credential in the developer's shell is none of a Worker's business.
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def _output(log: Path | None) -> IO[bytes]:
    if log is None:
        return tempfile.TemporaryFile()
    return os.fdopen(os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b")


def _tail(output: IO[bytes], start: int) -> str:
    output.seek(max(start, output.seek(0, os.SEEK_END) - 20_000))
    return output.read().decode("utf-8", "replace").strip()


async def _listening(events: IO[bytes], names: set[str]) -> bool:
    """Read the control pipe until all sockets are listened on; `False` when it ends before that."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), events
    )
    try:
        waiting = set(names)
        while waiting:
            line = await reader.readline()
            if not line:
                return False
            event = json.loads(line)
            if event.get("event") == "listen":
                waiting.discard(event["socket"])
        return True
    finally:
        transport.close()
