"""Starting, asking, stopping and resetting."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from cloudflare import AsyncCloudflare

from alchemy import local
from alchemy.local import LocalCloudflare, LocalCloudflareError
from alchemy.local._flock import FileLock

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]

Deploy = Callable[..., Awaitable[str]]
Connect = Callable[[LocalCloudflare], AsyncCloudflare]
HELLO = "export default { fetch: () => new Response('hello') }"


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Path]:
    """A data folder whose server is stopped in the end."""
    yield tmp_path / "local"
    await local.stop(tmp_path / "local")


async def test_two_starts_give_one_server(folder: Path) -> None:
    """Four at once get the same server, and so does a later one."""
    infos = await asyncio.gather(*(local.start(folder) for _ in range(4)))
    assert len({info.pid for info in infos}) == 1
    assert await local.start(folder) == infos[0]


async def test_the_whole_round(folder: Path, connect: Connect, deploy: Deploy, http: httpx.AsyncClient) -> None:
    """Status counts what there is; stop and reset may be repeated; data survives a stop and not a reset."""
    assert not (await local.status(folder)).running
    assert not folder.exists()
    first = await local.start(folder)
    async with connect(first) as client:
        url = await deploy(client, first, "api", HELLO)
        await client.kv.namespaces.create(account_id=first.account_id, title="t")
    status = await local.status(folder)
    assert (status.running, status.info) == (True, first)
    assert (status.databases, status.namespaces, status.buckets) == (0, 1, 0)
    assert [(each.name, each.url, each.entry_url, each.enabled) for each in status.workers] == [
        ("api", url, f"http://api.localhost:{first.entry_port}", True)
    ]
    assert [await local.stop(folder), await local.stop(folder)] == [True, False]
    with pytest.raises(httpx.ConnectError):
        await http.get(url)
    assert not (await local.status(folder)).running
    again = await local.start(folder)
    assert again.account_id == first.account_id
    assert (await http.get(url)).text == "hello"
    await local.reset(folder)
    await local.reset(folder)
    assert {path.name for path in folder.iterdir()} <= {".gitignore", "start.lock", "server.lock"}
    fresh = await local.start(folder)
    assert fresh.account_id != first.account_id
    assert (await local.status(folder)).workers == ()


async def test_files_are_for_the_owner_only(folder: Path) -> None:
    """Nothing but the ignore file can be read by others, and the folder cannot be entered."""
    await local.start(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o077 for path in folder.rglob("*")}
    assert {name for name, mode in modes.items() if mode} <= {".gitignore"}


async def test_ports_that_are_taken_are_chosen_anew(
    folder: Path, connect: Connect, deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """When other programs took the ports meanwhile, new ones are used, and the API says which."""
    first = await local.start(folder)
    async with connect(first) as client:
        url = httpx.URL(await deploy(client, first, "api", HELLO))
    await local.stop(folder)
    api = httpx.URL(first.base_url)
    assert url.port is not None
    assert api.port is not None
    with (
        socket.create_server(("127.0.0.1", url.port)),
        socket.create_server(("127.0.0.1", api.port)),
        socket.create_server(("127.0.0.1", first.entry_port)),
    ):
        second = await local.start(folder)
        (worker,) = (await local.status(folder)).workers
        assert worker.url != str(url)
        assert (second.base_url == first.base_url, second.entry_port == first.entry_port) == (False, False)
        assert (await http.get(worker.url)).text == "hello"


async def test_a_server_that_hangs_is_stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status says that it does not answer; stop ends it all the same."""
    info = await local.start(folder)
    monkeypatch.setattr("alchemy.local._lifecycle._SECONDS_TO_ANSWER", 0.2)
    os.kill(info.pid, signal.SIGSTOP)
    with pytest.raises(LocalCloudflareError, match="does not answer"):
        await local.status(folder)
    assert await local.stop(folder)
    assert not (await local.status(folder)).running


async def test_a_lock_held_by_a_stranger_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When something else holds the folder, start and stop say so and end nobody."""
    monkeypatch.setattr("alchemy.local._lifecycle._SECONDS_TO_ANSWER", 0.1)
    monkeypatch.setattr("alchemy.local._lifecycle._SECONDS_TO_STOP", 0.1)
    folder.mkdir()
    content = {
        "pid": os.getpid(),
        "base_url": "http://127.0.0.1:9/client/v4",
        "entry_port": 9,
        "account_id": "0" * 32,
        "api_token": "t",
    }
    (folder / "server.json").write_text(json.dumps(content))
    lock = FileLock(folder / "server.lock")
    assert lock.try_acquire()
    try:
        with pytest.raises(LocalCloudflareError, match="does not answer"):
            await local.start(folder)
        with pytest.raises(LocalCloudflareError, match="does not stop"):
            await local.stop(folder)
    finally:
        lock.release()


async def test_a_damaged_file_is_an_error_that_names_it(folder: Path) -> None:
    """A start on metadata that is not a database fails with a message, and leaves no server."""
    await local.start(folder)
    await local.stop(folder)
    (folder / "metadata.sqlite").write_bytes(b"this is not a database, certainly not" * 100)
    with pytest.raises(LocalCloudflareError) as failed:
        await local.start(folder)
    assert "metadata.sqlite" in str(failed.value)
    assert not (await local.status(folder)).running
    await local.reset(folder)
    assert not (folder / "metadata.sqlite").exists()


async def test_a_server_ends_with_its_folder(folder: Path) -> None:
    """When the project was removed nobody could stop it; another server in a new folder of that name is left alone."""
    await local.start(folder)
    (folder / "server.lock").rename(folder.parent / "server.lock")
    shutil.rmtree(folder)
    fresh = await local.start(folder)
    assert await FileLock(folder.parent / "server.lock").acquire(seconds=30)  # free when it and workerd are gone
    assert (await local.status(folder)).info == fresh


@pytest.mark.parametrize("call", [local.start, local.stop, local.reset])
async def test_a_folder_that_cannot_be_used_is_an_error_that_names_it(
    tmp_path: Path, call: Callable[[Path], Awaitable[object]]
) -> None:
    """Something else stands in its way: a message with the reason, and what to do."""
    (tmp_path / "local/start.lock").mkdir(parents=True)
    with pytest.raises(LocalCloudflareError, match="/local cannot be used for the local Cloudflare: ") as failed:
        await call(tmp_path / "local")
    assert "--state-dir" in (failed.value.hint or "")


async def test_a_folder_is_used_once(folder: Path) -> None:
    """`local_cloudflare` refuses a folder on which a server runs."""
    await local.start(folder)
    with pytest.raises(LocalCloudflareError, match="already"):
        async with local.local_cloudflare(folder):
            pass


async def test_a_server_for_tests_always_stops(tmp_path: Path) -> None:
    """It is gone after the block, also when the block fails."""

    async def failing() -> None:
        async with local.local_cloudflare(tmp_path / "x") as info:
            assert (await local.status(tmp_path / "x")).info == info
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await failing()
    assert not (await local.status(tmp_path / "x")).running
    shutil.rmtree(tmp_path / "x")
