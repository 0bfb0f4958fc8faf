"""The server process: `python -m alchemy.local._server`, started by `_lifecycle`, never by hand.

It holds `server.lock` as long as it lives, and workerd inherits that, so the lock is free exactly when both are
gone. When it serves, or cannot, it says so in one line of JSON on the descriptor given with `--ready`:

```json
{"ok": true}
{"ok": false, "error": "…", "hint": null}
```
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import cast

import uvicorn
from starlette.responses import Response

from alchemy.errors import AlchemyError
from alchemy.local import _pins
from alchemy.local._datadir import DataDir, ServerFile
from alchemy.local._errors import LocalCloudflareError
from alchemy.local._flock import FileLock
from alchemy.local._metadata import Metadata
from alchemy.local._toolchain import Toolchain
from alchemy.local.control import app, objects, subdomain
from alchemy.local.control.context import Call, Context, new_id, route
from alchemy.local.control.envelope import json_response
from alchemy.local.runtime import wiring
from alchemy.local.runtime.admin import Admin
from alchemy.local.runtime.listeners import listen
from alchemy.local.runtime.plane import DataPlane

_log = logging.getLogger(__name__)
_SECONDS_FOR_LOCK = 10
_SECONDS_BETWEEN_LOOKS = 2.0


class _Uvicorn(uvicorn.Server):
    """uvicorn without its own handling of signals: the loop below decides in which order things end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until it is told to stop; return its exit status."""
    parser = argparse.ArgumentParser(prog="alchemy.local._server")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--workerd", type=Path, required=True)
    parser.add_argument("--simulators", type=Path, required=True)
    parser.add_argument("--ready", type=int, required=True)
    parser.add_argument("--detach", action="store_true", help="leave the caller; else end with standard input")
    options = parser.parse_args(arguments)
    if options.detach and os.fork():
        os._exit(0)  # the caller waits for this process; the one that goes on belongs to init
    os.umask(0o077)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    toolchain = Toolchain(workerd=options.workerd, simulators=options.simulators)
    try:
        asyncio.run(_run(DataDir(options.data), toolchain, options.ready, detached=options.detach))
    except AlchemyError as error:
        _tell(options.ready, error)
        return 1
    except BaseExceptionGroup as group:
        first = _first(group)
        _log.error("the server failed", exc_info=group)
        _tell(options.ready, first if isinstance(first, AlchemyError) else LocalCloudflareError(repr(first)))
        return 1
    return 0


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(cast("BaseExceptionGroup[BaseException]", inner)) if isinstance(inner, BaseExceptionGroup) else inner


def _tell(ready: int, error: AlchemyError | None) -> None:
    answer = {"ok": True} if error is None else {"ok": False, "error": error.message, "hint": error.hint}
    with contextlib.suppress(OSError):  # nobody may be listening any more, or it was said before
        os.write(ready, json.dumps(answer).encode())
        os.close(ready)


async def _run(data: DataDir, toolchain: Toolchain, ready: int, *, detached: bool) -> None:
    data.prepare()
    lock = FileLock(data.server_lock)
    if not await lock.acquire(seconds=_SECONDS_FOR_LOCK):
        raise LocalCloudflareError(f"another local Cloudflare is using {data.path}", hint="stop it: alchemy local stop")
    metadata = Metadata(data.metadata)
    stop = asyncio.Event()
    try:
        _stop_when_told(stop, detached=detached)
        plane = DataPlane(toolchain, data, metadata, inherit=(lock.fileno(),))
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(_stop_when_removed(stop, lock))
            await _serve(data, metadata, plane, ready, stop)
            watching.cancel()
    finally:
        if lock.is_in_place():  # else the file, if there is one, is another server's
            data.server_file.unlink(missing_ok=True)
        metadata.close()
        lock.release()


def _stop_when_told(stop: asyncio.Event, *, detached: bool) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    if not detached:

        def read() -> None:
            if not os.read(0, 1024):  # whoever started this has closed it, or is gone
                loop.remove_reader(0)
                stop.set()

        loop.add_reader(0, read)


async def _stop_when_removed(stop: asyncio.Event, lock: FileLock) -> None:
    """End with the folder: nobody could find this server to stop it, once its project was removed."""
    while lock.is_in_place():  # noqa: ASYNC110 (a folder that goes sets no event)
        await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
    _log.info("%s was removed: stopping", lock.path.parent)
    stop.set()


async def _serve(data: DataDir, metadata: Metadata, plane: DataPlane, ready: int, stop: asyncio.Event) -> None:
    settings = await _settings(metadata)
    up = asyncio.Event()
    async with Admin(plane) as admin, asyncio.TaskGroup() as group:
        serving = group.create_task(plane.serve(up, entry_port=int(settings["entry_port"])))
        await up.wait()
        with listen(int(settings["api_port"])) as api:
            context = Context(settings["account_id"], settings["api_token"], metadata, plane, admin)
            server = _uvicorn(context, stop)
            answering = group.create_task(server.serve(sockets=[api]))
            file = await _announce(data, metadata, context, api)
            _log.info("serving %s, pid %s", file.base_url, file.pid)
            _tell(ready, None)
            await stop.wait()
            server.should_exit = True
            await answering
        serving.cancel()


async def _settings(metadata: Metadata) -> dict[str, str]:
    settings = await metadata.settings()
    if "account_id" not in settings:
        account_id = new_id()
        first = {
            "account_id": account_id,
            "api_token": secrets.token_urlsafe(30),
            "api_port": "0",
            "entry_port": "0",
            subdomain.SETTING: f"local-{account_id[:8]}",
        }
        await metadata.put_settings(first)
        settings = first
    return settings


async def _announce(data: DataDir, metadata: Metadata, context: Context, api: socket.socket) -> ServerFile:
    port = int(api.getsockname()[1])
    entry_port = context.plane.doors.port(wiring.ENTRY)
    await metadata.put_settings({"api_port": str(port), "entry_port": str(entry_port)})
    file = ServerFile(
        pid=os.getpid(),
        base_url=f"http://127.0.0.1:{port}/client/v4",
        entry_port=entry_port,
        account_id=context.account_id,
        api_token=context.api_token,
    )
    data.write_server_file(file)
    return file


def _uvicorn(context: Context, stop: asyncio.Event) -> _Uvicorn:
    async def status(call: Call) -> Response:
        return json_response(await _status(call))

    async def stop_(call: Call) -> Response:
        stop.set()
        return json_response({"stopping": os.getpid()})

    own = (
        route(context, "GET", "/status", status, below="/_alchemy"),
        route(context, "POST", "/stop", stop_, below="/_alchemy"),
        *objects.routes(context),
    )
    config = uvicorn.Config(
        app.build(context, own),
        lifespan="off",
        log_config=None,
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=3,
    )
    return _Uvicorn(config)


async def _status(call: Call) -> dict[str, object]:
    targets = await call.metadata.targets()
    plane = call.context.plane
    return {
        "pid": os.getpid(),
        "workerd_pid": plane.workerd_pid,
        "workers": [
            {"name": worker.name, "url": subdomain.url(worker), "enabled": bool(worker.enabled)}
            for worker in plane.workers.values()
        ],
        "databases": len(targets.databases),
        "namespaces": len(targets.namespaces),
        "buckets": len(targets.buckets),
        "workerd_version": _pins.WORKERD_VERSION,
        "miniflare_version": _pins.MINIFLARE_VERSION,
    }


if __name__ == "__main__":
    raise SystemExit(main())
