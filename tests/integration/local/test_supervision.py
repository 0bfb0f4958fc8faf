"""Whatever is killed, nothing is left behind, and what should run runs again."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from cloudflare import AsyncCloudflare

from alchemy import local
from alchemy.local import LocalCloudflare, _toolchain
from alchemy.local.runtime import wiring
from alchemy.local.runtime.files import write_files
from alchemy.local.runtime.process import Workerd
from alchemy.local.runtime.worker import Module, Worker

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]

Deploy = Callable[..., Awaitable[str]]
Connect = Callable[[LocalCloudflare], AsyncCloudflare]
HELLO = "export default { fetch: () => new Response('hello') }"


async def gone(pid: int) -> None:
    """Wait until there is no such process (a zombie does not count), at most a minute."""
    async with asyncio.timeout(60):
        while alive(pid):
            await asyncio.sleep(0.005)


def alive(pid: int) -> bool:
    """Say whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_killed_server_takes_workerd_along(
    data_dir: Path, connect: Connect, deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """kill -9 of the server leaves no workerd; the next start has the Worker, its data, its address, its account."""
    first = await local.start(data_dir)
    try:
        async with connect(first) as client:
            url = await deploy(client, first, "kept", HELLO)
            database = await client.d1.database.create(account_id=first.account_id, name="kept")
            assert database.uuid
            async for _ in client.d1.database.query(
                database.uuid, account_id=first.account_id, sql="CREATE TABLE t (a); INSERT INTO t VALUES (1)"
            ):
                pass
        workerd = (await local.status(data_dir)).workerd_pid
        assert workerd is not None
        os.kill(first.pid, signal.SIGKILL)
        await gone(workerd)
        second = await local.start(data_dir)
        assert second.pid != first.pid
        assert (second.account_id, second.api_token) == (first.account_id, first.api_token)
        assert (second.base_url, second.entry_port) == (first.base_url, first.entry_port)
        assert (await http.get(url)).text == "hello"
        async with connect(second) as client:
            rows = client.d1.database.query(database.uuid, account_id=second.account_id, sql="SELECT a FROM t")
            assert [each.results async for each in rows] == [[{"a": 1}]]
    finally:
        await local.stop(data_dir)


async def test_a_killed_workerd_comes_back(
    cloud: LocalCloudflare, client: AsyncCloudflare, deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """kill -9 of workerd, three times: requests wait for the next one, Workers and the API answer again."""
    url = await deploy(client, cloud, "reborn", HELLO)
    before = set[int]()
    for number in range(3):
        async with asyncio.timeout(60):
            while (pid := (await local.status(cloud.data_dir)).workerd_pid) is None or pid in before:
                await asyncio.sleep(0.005)
        before.add(pid)
        os.kill(pid, signal.SIGKILL)
        await gone(pid)
        assert (await http.get(url)).text == "hello"
        database = await client.d1.database.create(account_id=cloud.account_id, name=f"reborn-{number}")
        assert database.uuid
        assert (await client.d1.database.get(database.uuid, account_id=cloud.account_id)).num_tables == 0


async def test_a_server_for_tests_ends_with_its_parent(tmp_path: Path) -> None:
    """When the process that runs `local_cloudflare` is killed, server and workerd end too."""
    program = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom alchemy import local\n"
        "async def main():\n"
        "    async with local.local_cloudflare(Path(sys.argv[1])) as info:\n"
        "        status = await local.status(Path(sys.argv[1]))\n"
        "        print(info.pid, status.workerd_pid, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path / "local"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    server, workerd = (int(pid) for pid in (await process.stdout.readline()).split())
    process.kill()
    await process.wait()
    await gone(server)
    await gone(workerd)
    assert not (await local.status(tmp_path / "local")).running


@pytest.fixture
async def guarded(tmp_path: Path) -> tuple[Path, wiring.Wiring]:
    """A configuration with one Worker, written down."""
    module = Module("index.js", "application/javascript+module", HELLO.encode())
    plan = wiring.scratch(Worker("alone", "", "", (module,), (), "2026-07-01"))
    config = tmp_path / "config.capnp"
    write_files(config, plan)
    return config, plan


@pytest.mark.parametrize("victim", ["guard", "parent"])
async def test_the_guard_of_other_systems_works(
    guarded: tuple[Path, wiring.Wiring], http: httpx.AsyncClient, victim: str
) -> None:
    """Where the kernel cannot tie workerd to its parent, a guard does: it is killed, or loses its parent."""
    config, plan = guarded
    toolchain = await _toolchain.install()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        workerd = await Workerd.start(
            toolchain,
            config,
            sockets={"worker": listener.fileno()},
            environment=plan.environment,
            guarded=True,
        )
        try:
            assert (await http.get(f"http://127.0.0.1:{listener.getsockname()[1]}/")).text == "hello"
            (child,) = children(workerd.pid)
            if victim == "guard":
                os.kill(workerd.pid, signal.SIGKILL)
                await workerd.wait()
            else:
                workerd.release_guard()  # what the kernel does when the parent dies
                assert await workerd.wait() == 1
            await gone(child)
        finally:
            await workerd.stop(grace=0)


def children(pid: int) -> list[int]:
    """Return the direct children of a process."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
