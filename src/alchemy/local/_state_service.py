"""The state service on a machine of one's own: the Worker that `alchemy.stores.service` ships, on bare workerd.

```
DIR/objects/          what it keeps: one SQLite database an application
DIR/run/              workerd's configuration and the module it reads
DIR/serve.lock        held while it is served
DIR/workerd.log
```

The folder has mode 0700. The token is in no file: workerd takes it from its environment.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from alchemy.errors import ConfigurationError
from alchemy.local._errors import LocalCloudflareError
from alchemy.local._flock import FileLock
from alchemy.local._toolchain import Toolchain
from alchemy.local.runtime.capnp import Value
from alchemy.local.runtime.files import write_files
from alchemy.local.runtime.listeners import BACKLOG
from alchemy.local.runtime.process import Workerd, WorkerdRefused
from alchemy.local.runtime.wiring import Wiring
from alchemy.stores import service

_SOCKET = "service"
_UNIQUE_KEY = "alchemy-state-service"
_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
_SECONDS_FOR_LOCK = 2.0  # a workerd whose server was killed is gone sooner
_log = logging.getLogger(__name__)


@dataclass
class StateService:
    """A state service that listens.

    Attributes:
        host, port: where.
        workerd_pid: of the workerd (or its guard) that answers now; `None` while there is none.
    """

    host: str
    port: int
    workerd_pid: int | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


async def serve(
    toolchain: Toolchain,
    data: Path,
    *,
    token: str,
    ready: Callable[[StateService], None],
    host: str = "127.0.0.1",
    port: int = 0,
    source: str | None = None,
    debug: bool = False,
) -> None:
    """Serve until cancelled; a workerd that ends by itself is started again, on the same socket.

    Args:
        toolchain: what to run.
        data: the folder; made when it is not there.
        token: what every request has to show.
        ready: called once it answers.
        host: address to listen on.
        port: 0 is any that is free.
        source: another module than the one that is shipped, for tests.
        debug: answer `POST /debug/evict`.

    Raises:
        ConfigurationError: the token is empty or has blanks in it, the folder cannot be made, or the address cannot be
            listened on.
        LocalCloudflareError: somebody serves that folder already, or workerd does not come up.
    """
    if not token or any(not 0x21 <= ord(char) <= 0x7E for char in token):
        raise ConfigurationError(
            "the token is empty, or has blanks or characters beyond ASCII in it",
            hint='set ALCHEMY_STATE_TOKEN, such as to "$(openssl rand -hex 32)"',
        )
    await asyncio.to_thread(_prepare, data)
    lock = FileLock(data / "serve.lock")
    if not await lock.acquire(seconds=_SECONDS_FOR_LOCK):
        raise LocalCloudflareError(f"{data} is being served already", hint="give every service a folder of its own")
    try:
        with _listen(host, port) as listener:
            plan = wire(source or service.source(), storage=data / "objects", token=token, debug=debug)
            keeper = _Keeper(toolchain, data, plan, listener, lock)
            try:
                await keeper.start()
                ready(keeper.service)
                await keeper.watch()
            finally:
                await asyncio.shield(keeper.stop())
    finally:
        lock.release()


class _Keeper:
    """Keeps one workerd running on a listening socket; it holds the folder's lock too, as long as it lives."""

    def __init__(self, toolchain: Toolchain, data: Path, plan: Wiring, listener: socket.socket, lock: FileLock) -> None:
        host, port = listener.getsockname()[:2]
        self.service = StateService(host, port)
        self._toolchain = toolchain
        self._data = data
        self._plan = plan
        self._listener = listener
        self._lock = lock
        self._workerd: Workerd | None = None

    async def start(self) -> None:
        config = self._data / "run" / "config.capnp"
        await asyncio.to_thread(write_files, config, self._plan)
        self._workerd = await Workerd.start(
            self._toolchain,
            config,
            sockets={_SOCKET: self._listener.fileno()},
            environment=self._plan.environment,
            inherit=(self._lock.fileno(),),
            log=self._data / "workerd.log",
        )
        self.service.workerd_pid = self._workerd.pid

    async def watch(self) -> None:
        """Start workerd again whenever it ends; the sooner it did, the longer the pause before."""
        clock = asyncio.get_running_loop().time
        pause, began = _PAUSE, clock()
        while True:
            if self._workerd is not None:
                status = await self._workerd.wait()
                self._workerd, self.service.workerd_pid = None, None
                _log.warning("workerd ended by itself with status %s; starting it again", status)
            pause = _PAUSE if clock() - began > _LONGEST_PAUSE else min(pause * 2, _LONGEST_PAUSE)
            await asyncio.sleep(pause)
            began = clock()
            try:
                await self.start()
            except (WorkerdRefused, OSError) as error:  # such as a full disk
                _log.error("workerd does not start: %s", error)

    async def stop(self) -> None:
        workerd, self._workerd = self._workerd, None
        if workerd is not None:
            await workerd.stop()


def wire(source: str, *, storage: Path, token: str, debug: bool) -> Wiring:
    """Give workerd's configuration for the service."""
    wiring = Wiring()
    wiring.services.append({"name": "objects", "disk": {"path": str(storage), "writable": True}})
    bindings: list[Value] = [
        {"name": "STORE", "durableObjectNamespace": {"className": service.CLASS}},
        {"name": "STATE_TOKEN", "fromEnvironment": wiring.secret(token)},
    ]
    if debug:
        bindings.append({"name": "DEBUG", "text": "1"})
    wiring.services.append(
        {
            "name": _SOCKET,
            "worker": {
                "modules": [{"name": f"{service.SCRIPT}.js", "esModule": wiring.embed(source.encode())}],
                "compatibilityDate": service.COMPATIBILITY_DATE,
                "bindings": bindings,
                "durableObjectNamespaces": [{"className": service.CLASS, "uniqueKey": _UNIQUE_KEY, "enableSql": True}],
                "durableObjectStorage": {"localDisk": "objects"},
            },
        }
    )
    wiring.socket(_SOCKET, _SOCKET)
    return wiring


def _prepare(data: Path) -> None:
    try:
        for folder in (data, data / "objects", data / "run", data / "run" / "modules"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigurationError(
            f"the folder {data} cannot be made: {error.strerror}", hint="choose one that this user may write to"
        ) from error


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigurationError(f"{host} is no address to listen on: {error}", hint="such as 127.0.0.1") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"{host} port {port} cannot be listened on: {error}", hint="choose another") from error
    return listener
