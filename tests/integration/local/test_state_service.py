"""The state service put on an account by the library itself, through the API, as on the real Cloudflare."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from cloudflare import AsyncCloudflare
from tests.integration.service.releases import MIGRATED, NEWEST, Traffic, look, migrations, newer

from alchemy.errors import ConfigurationError, ProviderError, StateError
from alchemy.local import LocalCloudflare, environment, local_cloudflare
from alchemy.ports import LogEnd
from alchemy.secret import Secret
from alchemy.state import Application
from alchemy.stores import CloudflareStateStore, _service_deploying, open_store, service
from alchemy.stores._service_client import ServiceClient
from alchemy.stores._service_deploying import change_token
from alchemy.stores._service_deploying import deploy as deploy_service
from alchemy.testing.contract import UNIT, a_resource, an_owner

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]
TOKEN = "a-token-of-tests"
Deploy = Callable[..., Awaitable[str]]


@pytest.fixture(autouse=True)
def _environment(cloud: LocalCloudflare, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**environment(cloud), "ALCHEMY_STATE_TOKEN": TOKEN}.items():
        monkeypatch.setenv(name, value)


async def keep(script: str, id: str) -> list[str]:
    """Write one resource, and give what is there, with a store of its own."""
    store = CloudflareStateStore(script_name=script)
    await store.init()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    notices = (await store.load(UNIT, lease=lease)).notices
    await store.set(lease, a_resource(f"{UNIT}/{id}"))
    await store.release(lease)
    found = list(await store.list(UNIT))
    await store.deinit()
    return [*found, *notices]


async def test_it_is_put_there_once(client: AsyncCloudflare, cloud: LocalCloudflare) -> None:
    """The first use uploads it and says so; the next one finds it, and what was kept."""
    first = await keep("state-once", "a")
    assert first == ["a", "the state service state-once was created"]
    before = await client.workers.scripts.script_and_version_settings.get("state-once", account_id=cloud.account_id)
    assert before.tags == [f"alchemy-state-service:{service.version()}:{service.digest()}"]
    assert await keep("state-once", "b") == ["a", "b"]


async def test_nothing_is_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run asks before it writes, and when it gives the stage back, are three requests on an account too."""
    await keep("state-asked", "a")
    asked: list[str] = []
    ask = ServiceClient.ask

    async def note(client: ServiceClient, method: str, *params: Any, **more: Any) -> Any:
        asked.append(method)
        return await ask(client, method, *params, **more)

    monkeypatch.setattr(ServiceClient, "ask", note)
    store = CloudflareStateStore(script_name="state-asked")
    made = await store.create_application(Application(app="notes", lineage="00" * 16, created_at=""))
    await store.deinit()
    asked.clear()
    await store.init()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    assert await store.application("notes") == made
    loaded = await store.load(UNIT, lease=lease)
    assert (list(loaded.records), loaded.logs) == ([f"{UNIT}/a"], [])
    await store.release(lease, log=LogEnd(name="run.ndjson", lines=b"{}\n"))
    assert asked == ["version", "take", "release"]
    assert await store.read_log(UNIT, "run.ndjson") == b"{}\n"
    await store.deinit()


@pytest.mark.parametrize(("deployed", "said"), [(0, "was updated"), (99, "newer than this library's")])
async def test_older_ones_are_replaced_and_newer_ones_stay(
    client: AsyncCloudflare, cloud: LocalCloudflare, deployed: int, said: str
) -> None:
    """An older service is updated, with its data and its token; a newer one is left alone."""
    script = f"state-{deployed}"
    await keep(script, "a")
    tags = [f"alchemy-state-service:{deployed}:0"]
    await client.workers.scripts.settings.edit(script, account_id=cloud.account_id, tags=tags)
    found = await keep(script, "b")
    assert found[:2] == ["a", "b"]
    assert said in found[2]
    after = await client.workers.scripts.script_and_version_settings.get(script, account_id=cloud.account_id)
    assert (after.tags == tags) is (deployed > service.version())


async def test_a_newer_release_under_traffic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While others read and write, a newer library replaces the service: nobody notices, and the tables are newer."""
    async with local_cloudflare(tmp_path) as info:
        for name, value in environment(info).items():
            monkeypatch.setenv(name, value)
        store = CloudflareStateStore()
        await store.init()
        lease = await store.acquire("notes", owner=an_owner(), timeout=0)
        await store.set(lease, *(a_resource(f"{UNIT}/{number}") for number in range(20)))
        address = (await deploy_service(service.SCRIPT, Secret(TOKEN))).address
        traffic = Traffic(address, await look(address))
        written: list[str] = []

        async def write() -> None:
            while True:
                fqn = f"notes/dev/{len(written)}"
                await store.set(lease, a_resource(fqn))
                written.append(fqn)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(traffic()), group.create_task(write())]
            await traffic.more()
            before, newest = len(written), newer()
            monkeypatch.setattr(service, "source", lambda: newest)
            monkeypatch.setattr(service, "version", lambda: NEWEST)
            assert "was updated" in str((await deploy_service(service.SCRIPT, Secret(TOKEN))).notices)
            await traffic.more()
            while len(written) < before + 20:
                await asyncio.sleep(0.01)
            for task in tasks:
                task.cancel()
        assert (traffic.wrong, traffic.unanswered) == ([], 0)
        assert set(written) <= (await store.all("notes")).keys()
        await store.deinit()
    assert migrations(tmp_path / "storage" / "do") == [MIGRATED]


async def test_an_upgrade_does_not_change_the_token(
    client: AsyncCloudflare, cloud: LocalCloudflare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever upgrades with another token is refused: the one it was made with stays."""
    await keep("state-token", "a")
    tags = ["alchemy-state-service:0:0"]
    await client.workers.scripts.settings.edit("state-token", account_id=cloud.account_id, tags=tags)
    monkeypatch.setenv("ALCHEMY_STATE_TOKEN", "another")
    with pytest.raises(ConfigurationError, match="does not accept the token"):
        await keep("state-token", "b")
    monkeypatch.setenv("ALCHEMY_STATE_TOKEN", TOKEN)
    assert await keep("state-token", "b") == ["a", "b"]


async def test_the_token_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another token is accepted from then on, and the one before no more; what was kept is there."""
    await keep("state-changed", "a")
    monkeypatch.setenv("ALCHEMY_STATE_TOKEN", "hers")
    with pytest.raises(ConfigurationError, match="no Worker 'state-nowhere'"):
        await change_token("state-nowhere", Secret("hers"))
    await change_token("state-changed", Secret("hers"))
    assert await keep("state-changed", "b") == ["a", "b"]
    monkeypatch.setenv("ALCHEMY_STATE_TOKEN", TOKEN)
    with pytest.raises(ConfigurationError, match="does not accept the token"):
        await keep("state-changed", "c")


async def test_two_at_once(client: AsyncCloudflare, cloud: LocalCloudflare) -> None:
    """Several that find no service at the same time end with the same one, and none of them fails."""
    stores = [CloudflareStateStore(script_name="state-race") for _ in range(4)]
    await asyncio.gather(*(store.init() for store in stores))
    lease = await stores[0].acquire(UNIT, owner=an_owner(), timeout=0)
    assert [[one.token for one in await store.locks()] for store in stores] == [[lease.token]] * 4
    for store in stores:
        await store.deinit()


async def test_two_tokens_at_once() -> None:
    """Of two that make the service at the same time, with a token each, one has it, and the other is refused."""
    stores = [CloudflareStateStore(script_name="state-tokens", state_token=token) for token in ("hers", "his")]
    ends = await asyncio.gather(*(store.init() for store in stores), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["NoneType", "TokenRefused"]
    assert list(await stores[ends.index(None)].locks()) == []
    for store in stores:
        await store.deinit()


@pytest.mark.parametrize(
    ("tags", "said"), [([], "not this library's"), (["cloudflare-state-store:0a1b"], "Alchemy for TypeScript")]
)
async def test_a_worker_of_somebody_else(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, http: httpx.AsyncClient, tags: list[str], said: str
) -> None:
    """A Worker of that name that is not the service is not touched; the error says what it is, and the way out."""
    script = f"state-other-{len(tags)}"
    url = await deploy(client, cloud, script, "export default { fetch: () => new Response('hello') };", tags=tags)
    with pytest.raises(ConfigurationError, match=said) as caught:
        await keep(script, "a")
    assert "script_name" in (caught.value.hint or "")
    assert (await http.get(url)).text == "hello"


async def test_another_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has another token than the service is told so, and sees neither; without any, how one is made."""
    await keep("state-wrong", "a")
    monkeypatch.setenv("ALCHEMY_STATE_TOKEN", "hers")
    with pytest.raises(ConfigurationError, match="does not accept the token") as refused:
        await keep("state-wrong", "b")
    assert not any(token in f"{refused.value.message} {refused.value.hint}" for token in (TOKEN, "hers"))
    monkeypatch.delenv("ALCHEMY_STATE_TOKEN")
    with pytest.raises(ConfigurationError, match="is not set") as missing:
        open_store("cloudflare:?script_name=state-wrong")
    assert "openssl rand" in (missing.value.hint or "")


@pytest.mark.parametrize(
    "answer",
    ["new Response('<html>', { headers: { 'Content-Type': 'text/html' } })", "Response.redirect('https://a.b')"],
)
async def test_a_login_page_before_it(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """An address that answers with a page, or leads to one, is told as a login page before the service."""
    monkeypatch.setattr(_service_deploying, "_KNOWN_SECONDS", 0.5)
    tags = [f"alchemy-state-service:{service.version()}:0"]
    await deploy(client, cloud, "state-page", f"export default {{ fetch: () => {answer} }};", tags=tags)
    with pytest.raises(ConfigurationError, match="as a login page does") as caught:
        await keep("state-page", "a")
    assert caught.value.hint


async def test_an_api_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cloudflare's API is asked again for a while, as the service is; then it is told what could not be reached."""
    monkeypatch.setenv("CLOUDFLARE_BASE_URL", "http://127.0.0.1:1/client/v4")
    store = CloudflareStateStore(script_name="state-far", patience=0.3)
    for ask in (store.init, store.redeploy):
        with pytest.raises(StateError, match=r"Cloudflare could not be reached .*\(asked for \d+ s\)") as caught:
            await ask()
        assert "127.0.0.1:1" in (caught.value.hint or "")
    await store.deinit()


async def test_an_account_without_a_workers_dev_name(
    client: AsyncCloudflare, cloud: LocalCloudflare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told before anything is uploaded: this one is taken for the real Cloudflare, where the name is needed."""
    monkeypatch.setattr("alchemy.clients.cloudflare.is_cloudflares_own", lambda base_url: True)
    before = await client.workers.subdomains.get(account_id=cloud.account_id)
    await client.workers.subdomains.delete(account_id=cloud.account_id)
    try:
        with pytest.raises(ProviderError, match=r"workers\.dev subdomain") as caught:
            await keep("state-nameless", "a")
    finally:
        await client.workers.subdomains.update(account_id=cloud.account_id, subdomain=before.subdomain)
    assert "dashboard" in (caught.value.hint or "")
    assert "state-nameless" not in [
        script.id async for script in client.workers.scripts.list(account_id=cloud.account_id)
    ]
    assert await keep("state-nameless", "a")


async def test_an_address_that_was_switched_off(client: AsyncCloudflare, cloud: LocalCloudflare) -> None:
    """A service whose workers.dev address somebody has switched off gets it back, and that is said."""
    await keep("state-off", "a")
    await client.workers.scripts.subdomain.create(
        "state-off", account_id=cloud.account_id, enabled=False, previews_enabled=False
    )
    assert await keep("state-off", "b") == [
        "a",
        "b",
        "the workers.dev address of the state service state-off was switched on",
    ]


async def test_no_error_of_an_upload_shows_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback with all locals, of an upload that is refused, has the token nowhere."""
    broken = service.source() + "throw new Error('broken');"
    monkeypatch.setattr(service, "source", lambda: broken)
    with pytest.raises(ProviderError, match="broken") as caught:
        await keep("state-broken", "a")
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert TOKEN not in "".join(shown.format())


def test_urls() -> None:
    """`cloudflare:` opens it, and its URL opens the same again."""
    for url in ("cloudflare:", "cloudflare:?script_name=mine"):
        assert open_store(url).url == url
    for odd in ("//host", "mine", "?name=mine", "?script_name=A", "?script_name=a%2Fb", "?script_name="):
        with pytest.raises(ConfigurationError):
            open_store(f"cloudflare:{odd}")
