"""Durable Objects of Workers: classes, what they store, and what becomes of it when classes come and go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import cloudflare
import httpx
import pytest
from cloudflare import AsyncCloudflare

from alchemy.local import LocalCloudflare, local_cloudflare
from alchemy.stores import CloudflareStateStore, service
from alchemy.testing.contract import UNIT, a_resource, an_owner

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]

Deploy = Callable[..., Awaitable[str]]
COUNTER = """
import { DurableObject } from "cloudflare:workers";
export class NAME extends DurableObject {
  async fetch() {
    const { sql } = this.ctx.storage;
    sql.exec("CREATE TABLE IF NOT EXISTS n (at INTEGER)");
    sql.exec("INSERT INTO n VALUES (1)");
    return new Response(String(sql.exec("SELECT count(*) AS n FROM n").one().n));
  }
}
export default {
  fetch: (request, env) => env.COUNTER.get(env.COUNTER.idFromName(new URL(request.url).pathname)).fetch(request),
};
"""
NEW = {"new_tag": "v1", "new_sqlite_classes": ["Counter"]}
LIVE = {"type": "durable-object", "storage": "sqlite"}


def binding(class_name: str = "Counter", **more: str) -> dict[str, Any]:
    return {"type": "durable_object_namespace", "name": "COUNTER", "class_name": class_name, **more}


def counter(name: str = "Counter") -> str:
    return COUNTER.replace("NAME", name)


async def namespaces(client: AsyncCloudflare, info: LocalCloudflare, script: str) -> dict[str, str]:
    """Give the ids of a script's namespaces by class."""
    found = client.durable_objects.namespaces.list(account_id=info.account_id)
    return {each.class_: each.id async for each in found if each.script == script and each.class_ and each.id}


async def objects(client: AsyncCloudflare, info: LocalCloudflare, namespace: str) -> list[str]:
    """Give the ids of the objects that have stored something."""
    found = client.durable_objects.namespaces.objects.list(namespace, account_id=info.account_id)
    return [each.id async for each in found if each.id]


async def test_what_an_object_stores_survives(
    tmp_path: Path, connect: Callable[[LocalCloudflare], AsyncCloudflare], deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """Each object has storage of its own, which outlives uploads and restarts, and which the API lists."""
    async with local_cloudflare(tmp_path) as info, connect(info) as client:
        url = await deploy(client, info, "counting", counter(), bindings=[binding()], migrations=NEW)
        assert [(await http.get(f"{url}{path}")).text for path in ("/a", "/a", "/b")] == ["1", "2", "1"]
        url = await deploy(client, info, "counting", counter() + "// newer", bindings=[binding()])
        assert (await http.get(f"{url}/a")).text == "3"
        (namespace,) = (await namespaces(client, info, "counting")).values()
        assert len(await objects(client, info, namespace)) == 2
    async with local_cloudflare(tmp_path) as info, connect(info) as client:
        assert await namespaces(client, info, "counting") == {"Counter": namespace}
        assert (await http.get(f"{url}/a")).text == "4"


async def test_a_renamed_class_keeps_its_data(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """A rename keeps the namespace's id, and so what its objects have stored."""
    url = await deploy(client, cloud, "renaming", counter(), bindings=[binding()], migrations=NEW)
    assert (await http.get(url)).text == "1"
    before = await namespaces(client, cloud, "renaming")
    rename = {"old_tag": "v1", "new_tag": "v2", "steps": [{"renamed_classes": [{"from": "Counter", "to": "Clock"}]}]}
    url = await deploy(client, cloud, "renaming", counter("Clock"), bindings=[binding("Clock")], migrations=rename)
    assert (await http.get(url)).text == "2"
    assert await namespaces(client, cloud, "renaming") == {"Clock": before["Counter"]}


async def test_a_deleted_class_loses_its_data(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """A class that is deleted, and one whose Worker is, takes what was stored along; one made again begins empty."""
    for end in ("migration", "script"):
        url = await deploy(client, cloud, "deleting", counter(), bindings=[binding()], migrations=NEW)
        assert (await http.get(url)).text == "1"
        (namespace,) = (await namespaces(client, cloud, "deleting")).values()
        folder = cloud.data_dir / "storage" / "do" / namespace
        assert folder.is_dir()
        if end == "migration":
            gone = {"old_tag": "v1", "new_tag": "v2", "deleted_classes": ["Counter"]}
            await deploy(client, cloud, "deleting", "export default { fetch: () => new Response() };", migrations=gone)
        await client.workers.scripts.delete("deleting", account_id=cloud.account_id) if end == "script" else None
        assert await namespaces(client, cloud, "deleting") == {}
        assert not folder.exists()
        with pytest.raises(cloudflare.NotFoundError):
            await objects(client, cloud, namespace)


async def test_a_class_of_another_worker(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """A Worker may be bound to another one's class, and meets the same objects; the other cannot go."""
    own = await deploy(client, cloud, "holding", counter(), bindings=[binding()], migrations=NEW)
    plain = counter().split("export default")[1]
    other = await deploy(
        client, cloud, "borrowing", f"export default{plain}", bindings=[binding(script_name="holding")]
    )
    assert [(await http.get(url)).text for url in (own, other, own)] == ["1", "2", "3"]
    with pytest.raises(cloudflare.BadRequestError):
        await client.workers.scripts.delete("holding", account_id=cloud.account_id)


@pytest.mark.parametrize(
    ("source", "metadata", "code"),
    [
        (counter(), {"bindings": [binding()]}, 10061),
        (counter(), {"bindings": [binding(script_name="nobody")]}, 10061),
        (counter("Other"), {"migrations": NEW}, 10021),
        (counter(), {"migrations": {"deleted_classes": ["Counter"]}}, 10074),
        (counter(), {"migrations": {"renamed_classes": [{"from": "A", "to": "B"}]}}, 10074),
        (counter(), {"migrations": {"new_sqlite_classes": ["Counter", "Counter"]}}, 10074),
        (counter(), {"migrations": {"new_classes": ["Counter"]}}, 10021),
        (counter(), {"migrations": {"steps": [{"transferred_classes": [{}]}]}}, 10021),
        (counter(), {"migrations": {"steps": ["v1"]}}, 10021),
        (counter(), {"migrations": {"renamed_classes": ["Counter"]}}, 10021),
        (counter(), {"migrations": {"deleted_classes": [{"name": "Counter"}]}}, 10021),
        (counter(), {"migrations": {"new_sqlite_classes": "Counter"}}, 10021),
        (counter(), {"migrations": "v1"}, 10021),
        (counter(), {"exports": {"": LIVE}}, 100402),
        (counter(), {"exports": {'Coun"ter': LIVE}}, 100402),
        (counter(), {"keep_bindings": 5}, 10021),
        (counter(), {"compatibility_flags": "nodejs_compat"}, 10021),
    ],
)
async def test_what_does_not_apply_is_refused(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, source: str, metadata: dict[str, Any], code: int
) -> None:
    """A class that is not there, not exported, or there already, and what is not here: nothing is changed."""
    with pytest.raises(cloudflare.BadRequestError) as refused:
        await deploy(client, cloud, "refused", source, **metadata)
    assert refused.value.errors[0].code == code
    assert await namespaces(client, cloud, "refused") == {}


async def test_another_tag_than_expected(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """Whoever expects another tag than the Worker has is told so, and what was there goes on."""
    url = await deploy(client, cloud, "tagged", counter(), bindings=[binding()], migrations=NEW)
    with pytest.raises(cloudflare.APIStatusError) as refused:
        await deploy(client, cloud, "tagged", counter(), migrations={"old_tag": "v0", "deleted_classes": ["Counter"]})
    assert (refused.value.status_code, refused.value.errors[0].code) == (412, 10079)
    assert (await http.get(url)).text == "1"


async def test_the_state_service_runs_here(client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy) -> None:
    """The state service, uploaded through the API as to the real Cloudflare, keeps state."""
    url = await deploy(
        client,
        cloud,
        service.SCRIPT,
        service.source(),
        compatibility_date=service.COMPATIBILITY_DATE,
        bindings=[
            {"type": "durable_object_namespace", "name": "STORE", "class_name": service.CLASS},
            {"type": "secret_text", "name": "STATE_TOKEN", "text": "a-token-of-tests"},
        ],
        migrations={"new_tag": "v1", "new_sqlite_classes": [service.CLASS]},
    )
    store = CloudflareStateStore(url, state_token="a-token-of-tests")
    await store.init()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.set(lease, a_resource(f"{UNIT}/api"))
    await store.release(lease)
    assert await store.list(UNIT) == ["api"]
    await store.deinit()
