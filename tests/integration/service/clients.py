"""State services on the real workerd, and a client that sends what Alchemy for TypeScript 0.94 sends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from alchemy.local import install
from alchemy.local._state_service import StateService, serve

TOKEN = "a-token-of-tests"
OWNER = {"user": "ann", "host": "laptop", "pid": 7, "operation": "deploy"}


class Client:
    """Asks one service, as `POST /` with `{method, params, context: {chain}}`."""

    def __init__(self, service: StateService, http: httpx.AsyncClient) -> None:
        self.service = service
        self.http = http

    async def post(self, method: str, *params: Any, chain: str = "notes/prod", path: str = "/") -> httpx.Response:
        """Ask, and give the whole answer."""
        parts = chain.split("/") if chain else []
        body = {"method": method, "params": params, "context": {"chain": parts}}
        return await self.http.post(path, json=body)

    async def __call__(self, method: str, *params: Any, chain: str = "notes/prod") -> Any:
        """Ask for something that succeeds, and give the result."""
        answer = (await self.post(method, *params, chain=chain)).json()
        assert answer["success"] is True, answer
        assert answer["status"] == 200
        return answer.get("result")

    async def refused(self, method: str, *params: Any, chain: str = "notes/prod") -> dict[str, Any]:
        """Ask for something that is refused, and give the answer."""
        response = await self.post(method, *params, chain=chain)
        answer: dict[str, Any] = response.json()
        assert answer["success"] is False, answer
        assert answer["status"] == response.status_code
        return answer

    async def take(self, chain: str, nonce: str, *, ttl: float = 60) -> dict[str, Any]:
        """Take a chain that is free; give the lease as writes name it."""
        taken = await self("take", {"owner": OWNER, "ttl": ttl, "nonce": nonce}, chain=chain)
        return {"chain": chain, "token": taken["lease"]["token"]}

    async def commit(self, lease: dict[str, Any], number: int, puts: dict[str, str], **more: Any) -> None:
        """Write `notes/prod` under a lease."""
        await self("commit", lease, {"number": number, "clear": None, "drops": [], "puts": puts, **more})

    async def load(self, chain: str = "notes/prod") -> dict[str, str]:
        """Give a unit's rows, from as many pages as it takes."""
        rows: dict[str, str] = {}
        after: int | None = 0
        while after is not None:
            page = await self("load", after, chain=chain)
            for fqn, text, _ in page["rows"]:
                rows[fqn] = rows.get(fqn, "") + text
            after = page["next"]
        return rows

    async def evict(self, app: str = "notes") -> None:
        """Have an application's object go from memory."""
        assert (await self.post("", chain=app, path="/debug/evict")).status_code == 200

    async def kill(self) -> None:
        """Kill workerd, and return when another one answers."""
        pid = self.service.workerd_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        while self.service.workerd_pid in (None, pid):
            await asyncio.sleep(0.01)


Open = Callable[..., AbstractAsyncContextManager[Client]]


@asynccontextmanager
async def opened(data: Path, **options: Any) -> AsyncGenerator[Client]:
    """Serve a folder for the length of the block."""
    options = {"token": TOKEN, "debug": True, **options}
    toolchain = await install()
    up: asyncio.Future[StateService] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(serve(toolchain, data, ready=up.set_result, **options))
        waited: list[asyncio.Future[Any]] = [up, task]
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if not up.done():
                await task  # raises
            headers = {"Authorization": f"Bearer {options['token']}"}
            limits = httpx.Limits(max_keepalive_connections=0)
            url = up.result().url
            async with httpx.AsyncClient(
                base_url=url, headers=headers, limits=limits, trust_env=False, timeout=60
            ) as http:
                yield Client(up.result(), http)
        finally:
            task.cancel()
