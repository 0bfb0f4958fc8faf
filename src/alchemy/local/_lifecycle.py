"""Starting, asking, stopping and resetting a local Cloudflare from another process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from alchemy.local import _pins
from alchemy.local._datadir import DEFAULT_DATA_DIR, DataDir, ServerFile
from alchemy.local._errors import LocalCloudflareError
from alchemy.local._flock import FileLock, is_locked
from alchemy.local._toolchain import Report, Toolchain, install, silent

_PAUSE = 0.02
_SECONDS_TO_ANSWER = 5.0
_SECONDS_TO_START = 60.0
_SECONDS_TO_STOP = 15.0
_MODULE = "alchemy.local._server"


@dataclass(frozen=True)
class LocalCloudflare:
    """A local Cloudflare that is running.

    Attributes:
        base_url: of the API, ending in `/client/v4`: what `CLOUDFLARE_BASE_URL` is set to.
        account_id: 32 hexadecimal digits; the same as long as the data is not reset.
        api_token: the only token it accepts.
        pid: of the server process.
        entry_port: port that answers to `http://NAME.localhost:PORT` for every Worker.
        data_dir: where everything is kept.
    """

    base_url: str
    account_id: str
    api_token: str
    pid: int
    entry_port: int
    data_dir: Path

    def __repr__(self) -> str:
        return f"LocalCloudflare(base_url={self.base_url!r}, account_id={self.account_id!r}, pid={self.pid})"


@dataclass(frozen=True)
class WorkerStatus:
    """One Worker of a local Cloudflare.

    Attributes:
        name: of the script.
        url: its own address.
        entry_url: its address by name, for browsers and curl, which resolve `*.localhost` themselves.
        enabled: whether it has been made reachable.
    """

    name: str
    url: str
    entry_url: str
    enabled: bool


@dataclass(frozen=True)
class Status:
    """What a data folder's local Cloudflare is doing.

    Attributes:
        running: whether it answers. When it does not, `info` is `None` and the numbers are 0.
        data_dir: where everything is kept.
        info: its addresses and token.
        workerd_pid: of the data plane; `None` in the moment of a restart.
        workers: by name.
        databases: number of D1 databases.
        namespaces: number of KV namespaces.
        buckets: number of R2 buckets.
        workerd_version: of the pinned npm package.
        miniflare_version: of the pinned npm package.
    """

    running: bool
    data_dir: Path
    info: LocalCloudflare | None = None
    workerd_pid: int | None = None
    workers: tuple[WorkerStatus, ...] = ()
    databases: int = 0
    namespaces: int = 0
    buckets: int = 0
    workerd_version: str = _pins.WORKERD_VERSION
    miniflare_version: str = _pins.MINIFLARE_VERSION


def environment(info: LocalCloudflare) -> dict[str, str]:
    """Return the variables with which the official `cloudflare` SDK, and this package, talk to it."""
    return {
        "CLOUDFLARE_BASE_URL": info.base_url,
        "CLOUDFLARE_API_TOKEN": info.api_token,
        "CLOUDFLARE_ACCOUNT_ID": info.account_id,
    }


async def start(data_dir: Path = DEFAULT_DATA_DIR, *, report: Report = silent) -> LocalCloudflare:
    """Start the server in the background if it is not running, and return when it answers.

    It outlives the caller. Safe to repeat, and safe when two start at once: both get the same one. Installs
    the runtime first when this user has none yet (some 40 MB, through npm).

    Raises:
        ToolchainError: the runtime cannot be installed; nothing was started.
        LocalCloudflareError: the folder cannot be used; or the server does not start, and the message has the end of
            its log.
    """
    data = DataDir(data_dir)
    with data.usable():
        await asyncio.to_thread(data.prepare)
    async with _alone(data, waiting=lambda: report("waiting for another start to finish")):
        if running := await _running(data):
            return running
        toolchain = await install(report=report)
        report("starting the local Cloudflare")
        process = await _launch(data, toolchain, detached=True)
        await process.wait()
        return _info(data)


async def status(data_dir: Path = DEFAULT_DATA_DIR) -> Status:
    """Ask the server how it is. Starts and creates nothing.

    Raises:
        LocalCloudflareError: it is running and does not answer.
    """
    data = DataDir(data_dir)
    info = await _running(data)
    answer = await _ask(info, "GET", "status") if info else None
    if info is None or answer is None:
        return Status(running=False, data_dir=data.path)
    workers = tuple(
        WorkerStatus(
            name=each["name"],
            url=each["url"],
            entry_url=f"http://{each['name']}.localhost:{info.entry_port}",
            enabled=each["enabled"],
        )
        for each in answer["workers"]
    )
    return Status(
        running=True,
        data_dir=data.path,
        info=info,
        workerd_pid=answer["workerd_pid"],
        workers=workers,
        databases=answer["databases"],
        namespaces=answer["namespaces"],
        buckets=answer["buckets"],
        workerd_version=answer["workerd_version"],
        miniflare_version=answer["miniflare_version"],
    )


async def stop(data_dir: Path = DEFAULT_DATA_DIR) -> bool:
    """Stop the server, and return when it and workerd are gone. The data stays. Safe to repeat.

    Returns whether it was running.

    Raises:
        LocalCloudflareError: it cannot be stopped.
    """
    data = DataDir(data_dir)
    if not data.path.is_dir():
        return False
    async with _alone(data):
        return await _stop(data)


async def reset(data_dir: Path = DEFAULT_DATA_DIR) -> None:
    """Stop the server and delete everything that it kept; the next start has another account id. Safe to repeat.

    Raises:
        LocalCloudflareError: it cannot be stopped; nothing was deleted.
    """
    data = DataDir(data_dir)
    if not data.path.is_dir():
        return
    async with _alone(data):
        await _stop(data)
        with data.usable():
            await asyncio.to_thread(data.remove_data)


@asynccontextmanager
async def local_cloudflare(data_dir: Path, *, report: Report = silent) -> AsyncGenerator[LocalCloudflare]:
    """Run a server for the length of the block: for tests. It ends with the block, and with this process.

    Raises:
        LocalCloudflareError: one is running on that folder already, or it does not start.
    """
    data = DataDir(data_dir)
    with data.usable():
        await asyncio.to_thread(data.prepare)
    async with _alone(data):
        if running := await _running(data):
            raise LocalCloudflareError(
                f"a local Cloudflare is running on {data.path} already, pid {running.pid}",
                hint="give every test a folder of its own",
            )
        process = await _launch(data, await install(report=report), detached=False)
    try:
        yield _info(data)
    finally:
        await asyncio.shield(_end(process))


@asynccontextmanager
async def _alone(data: DataDir, *, waiting: Callable[[], None] | None = None) -> AsyncGenerator[None]:
    """Hold the lock under which the server is started, stopped and reset."""
    lock = FileLock(data.start_lock, waiting=waiting)
    with data.usable():
        await lock.acquire()
    try:
        yield
    finally:
        lock.release()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(_SECONDS_TO_STOP):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _launch(data: DataDir, toolchain: Toolchain, *, detached: bool) -> asyncio.subprocess.Process:
    """Start the server process and return when it serves."""
    with data.usable():
        data.server_file.unlink(missing_ok=True)
        data.trim_logs()
        log = os.open(data.server_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    reader, writer = os.pipe()
    begin = os.fstat(log).st_size
    with contextlib.ExitStack() as stack:
        answers = stack.enter_context(os.fdopen(reader, "rb", buffering=0))
        with os.fdopen(writer, "wb"), os.fdopen(log, "wb"):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", _MODULE),
                *("--data", str(data.path), "--ready", str(writer)),
                *("--workerd", str(toolchain.workerd), "--simulators", str(toolchain.simulators)),
                *(("--detach",) if detached else ()),
                stdin=asyncio.subprocess.DEVNULL if detached else asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(writer,),
                start_new_session=True,
                cwd=data.path,
            )
        answer: dict[str, Any] = {}
        try:
            async with asyncio.timeout(_SECONDS_TO_START):
                answer = json.loads(await _read(answers) or b"{}")
        except TimeoutError:
            answer = {"error": f"the local Cloudflare did not start within {_SECONDS_TO_START:.0f} seconds"}
        finally:
            if not answer.get("ok") and process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await asyncio.shield(process.wait())
    if answer.get("ok"):
        return process
    message = str(answer.get("error") or "the local Cloudflare's server ended while it was starting")
    raise LocalCloudflareError(
        message + _last_words(data.server_log, begin), hint=answer.get("hint") or f"see {data.server_log}"
    )


async def _read(answers: Any) -> bytes:
    stream = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), answers
    )
    try:
        return await stream.read()
    finally:
        transport.close()


def _last_words(log: Path, begin: int) -> str:
    with log.open("rb") as file:
        file.seek(begin)
        lines = file.read().decode("utf-8", "replace").strip().splitlines()
    return ("\n" + "\n".join(lines[-10:])) if lines else ""


def _info(data: DataDir) -> LocalCloudflare:
    file = data.read_server_file()
    if file is None:
        raise LocalCloudflareError(f"{data.server_file} cannot be read", hint="alchemy local stop, and start again")
    return _from_file(data, file)


def _from_file(data: DataDir, file: ServerFile) -> LocalCloudflare:
    return LocalCloudflare(
        base_url=file.base_url,
        account_id=file.account_id,
        api_token=file.api_token,
        pid=file.pid,
        entry_port=file.entry_port,
        data_dir=data.path,
    )


async def _running(data: DataDir) -> LocalCloudflare | None:
    """Return the server that holds the folder, or `None`. One that is just ending is waited for."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _SECONDS_TO_ANSWER
    while is_locked(data.server_lock):
        file = data.read_server_file()
        if file is not None and await _ask(_from_file(data, file), "GET", "status") is not None:
            return _from_file(data, file)
        if loop.time() > deadline:
            raise LocalCloudflareError(
                f"the local Cloudflare on {data.path} is running and does not answer", hint="alchemy local stop"
            )
        await asyncio.sleep(_PAUSE)
    return None


async def _ask(info: LocalCloudflare, method: str, what: str) -> dict[str, Any] | None:
    """Ask the server itself; `None` when it does not answer, or something else does."""
    import httpx

    url = info.base_url.replace("/client/v4", f"/_alchemy/{what}")
    headers = {"authorization": f"Bearer {info.api_token}"}
    try:
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=_SECONDS_TO_ANSWER) as client:
            answer = await client.request(method, url, headers=headers)
    except httpx.HTTPError:
        return None
    return cast("dict[str, Any]", answer.json()) if answer.status_code == 200 else None


async def _stop(data: DataDir) -> bool:
    if not is_locked(data.server_lock):
        data.server_file.unlink(missing_ok=True)
        return False
    file = data.read_server_file()
    asked = file is not None and await _ask(_from_file(data, file), "POST", "stop") is not None
    if asked and await _unlocked(data):
        return True
    if file is not None and await asyncio.to_thread(_is_server, file.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(file.pid, signal.SIGKILL)
    if not await _unlocked(data):
        raise LocalCloudflareError(
            f"the local Cloudflare on {data.path} does not stop",
            hint=f"find out who has {data.server_lock} open, and end it",
        )
    data.server_file.unlink(missing_ok=True)
    return True


async def _unlocked(data: DataDir) -> bool:
    try:
        async with asyncio.timeout(_SECONDS_TO_STOP):
            while is_locked(data.server_lock):  # noqa: ASYNC110 (another process's lock sets no event)
                await asyncio.sleep(_PAUSE)
    except TimeoutError:
        return False
    return True


def _is_server(pid: int) -> bool:
    """Say whether a process is a server of this package: a process id may have gone to somebody else."""
    if Path("/proc/self/cmdline").exists():  # a container may have no ps
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
        except OSError:
            return False
        return _MODULE in command.split("\0")
    done = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return _MODULE in done.stdout.split()
