"""KV through the official SDK."""

from __future__ import annotations

import json
import time
import uuid

import cloudflare
import httpx
import pytest
from cloudflare import AsyncCloudflare

from alchemy.local import LocalCloudflare

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]


@pytest.fixture
async def namespace(client: AsyncCloudflare, cloud: LocalCloudflare) -> str:
    """The id of a namespace of its own for a test."""
    made = await client.kv.namespaces.create(account_id=cloud.account_id, title=f"kv-{uuid.uuid4()}")
    assert made is not None
    return made.id


async def test_a_namespace_lives_and_dies(client: AsyncCloudflare, cloud: LocalCloudflare) -> None:
    """Create, list, rename, read and delete; then 10013."""
    account = cloud.account_id
    made = await client.kv.namespaces.create(account_id=account, title="first title")
    assert made is not None
    await client.kv.namespaces.update(made.id, account_id=account, title="second title")
    read = await client.kv.namespaces.get(made.id, account_id=account)
    assert read is not None
    assert read.title == "second title"
    assert made.id in [each.id async for each in client.kv.namespaces.list(account_id=account, per_page=1)]
    await client.kv.namespaces.delete(made.id, account_id=account)
    with pytest.raises(cloudflare.NotFoundError) as gone:
        await client.kv.namespaces.get(made.id, account_id=account)
    assert gone.value.errors[0].code == 10013


async def test_a_title_is_taken_once(client: AsyncCloudflare, cloud: LocalCloudflare) -> None:
    """10014, when created and when renamed."""
    account = cloud.account_id
    await client.kv.namespaces.create(account_id=account, title="taken")
    other = await client.kv.namespaces.create(account_id=account, title="other")
    assert other is not None
    with pytest.raises(cloudflare.BadRequestError) as created:
        await client.kv.namespaces.create(account_id=account, title="taken")
    with pytest.raises(cloudflare.BadRequestError) as renamed:
        await client.kv.namespaces.update(other.id, account_id=account, title="taken")
    assert [error.value.errors[0].code for error in (created, renamed)] == [10014, 10014]


@pytest.mark.parametrize("key", ["plain", "a/b c", "ключ", "50%", "q?x=1#y", "%2F"])
async def test_a_value_comes_back(client: AsyncCloudflare, cloud: LocalCloudflare, namespace: str, key: str) -> None:
    """Bytes and metadata come back under any key, and a deleted key answers 10009."""
    account = cloud.account_id
    values = client.kv.namespaces.values
    value = bytes(range(256))
    await values.update(key, account_id=account, namespace_id=namespace, value=value, metadata=json.dumps({"ä": 1}))
    assert await (await values.get(key, account_id=account, namespace_id=namespace)).read() == value
    metadata = await client.kv.namespaces.metadata.get(key, account_id=account, namespace_id=namespace)
    assert metadata == {"ä": 1}
    listed = [each async for each in client.kv.namespaces.keys.list(namespace, account_id=account)]
    assert [(each.name, each.metadata) for each in listed] == [(key, {"ä": 1})]
    await values.delete(key, account_id=account, namespace_id=namespace)
    with pytest.raises(cloudflare.NotFoundError) as gone:
        await values.get(key, account_id=account, namespace_id=namespace)
    assert gone.value.errors[0].code == 10009


async def test_a_raw_body_is_a_value(
    http: httpx.AsyncClient, client: AsyncCloudflare, cloud: LocalCloudflare, namespace: str
) -> None:
    """A value may be sent as the request's body, with its expiry in the query, and is shown with it."""
    expiration = int(time.time()) + 3600
    answer = await http.put(
        f"{cloud.base_url}/accounts/{cloud.account_id}/storage/kv/namespaces/{namespace}/values/k",
        params={"expiration": expiration},
        headers={"authorization": f"Bearer {cloud.api_token}"},
        content=b"body",
    )
    assert answer.json()["success"]
    listed = [each async for each in client.kv.namespaces.keys.list(namespace, account_id=cloud.account_id)]
    assert [each.expiration for each in listed] == [expiration]


async def test_many_at_once(client: AsyncCloudflare, cloud: LocalCloudflare, namespace: str) -> None:
    """Bulk put, get and delete; listing by prefix goes through all pages."""
    account = cloud.account_id
    body = [{"key": f"a{n:02}", "value": str(n)} for n in range(25)] + [
        {"key": "b", "value": "aGk=", "base64": True, "metadata": {"m": 1}}
    ]
    written = await client.kv.namespaces.bulk_update(namespace, account_id=account, body=body)  # type: ignore[arg-type]
    assert written is not None
    assert written.successful_key_count == 26
    keys = client.kv.namespaces.keys.list(namespace, account_id=account, prefix="a", limit=10)
    assert len([each async for each in keys]) == 25
    read = await client.kv.namespaces.bulk_get(namespace, account_id=account, keys=["b", "a01", "none"])
    assert read is not None
    assert read.values == {"b": "hi", "a01": "1", "none": None}
    await client.kv.namespaces.bulk_delete(namespace, account_id=account, body=["b", "a01"])
    left = [each.name async for each in client.kv.namespaces.keys.list(namespace, account_id=account)]
    assert len(left) == 24


async def test_an_expiry_in_the_past_is_refused(
    client: AsyncCloudflare, cloud: LocalCloudflare, namespace: str
) -> None:
    """The simulator's refusal reaches the caller as an error of the API."""
    with pytest.raises(cloudflare.BadRequestError):
        await client.kv.namespaces.values.update(
            "k", account_id=cloud.account_id, namespace_id=namespace, value=b"v", expiration_ttl=1
        )
