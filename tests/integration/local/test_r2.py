"""R2 through the official SDK."""

from __future__ import annotations

import uuid

import cloudflare
import pytest
from cloudflare import AsyncCloudflare

from alchemy.local import LocalCloudflare

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]


@pytest.fixture
async def bucket(client: AsyncCloudflare, cloud: LocalCloudflare) -> str:
    """The name of a bucket of its own for a test."""
    name = f"b-{uuid.uuid4()}"
    await client.r2.buckets.create(account_id=cloud.account_id, name=name)
    return name


async def test_a_bucket_lives_and_dies(client: AsyncCloudflare, cloud: LocalCloudflare) -> None:
    """Create, list, read and delete; 10004 for the second of a name, then 10006."""
    buckets = client.r2.buckets
    await buckets.create(account_id=cloud.account_id, name="whole-life")
    with pytest.raises(cloudflare.ConflictError) as taken:
        await buckets.create(account_id=cloud.account_id, name="whole-life")
    assert taken.value.errors[0].code == 10004
    listed = await buckets.list(account_id=cloud.account_id, name_contains="whole")
    assert [each.name for each in listed.buckets or ()] == ["whole-life"]
    assert (await buckets.get("whole-life", account_id=cloud.account_id)).storage_class == "Standard"
    await buckets.delete("whole-life", account_id=cloud.account_id)
    with pytest.raises(cloudflare.NotFoundError) as gone:
        await buckets.get("whole-life", account_id=cloud.account_id)
    assert gone.value.errors[0].code == 10006


@pytest.mark.parametrize("key", ["plain.txt", "a/b c/ä.bin", "%2F?#"])
async def test_an_object_comes_back(client: AsyncCloudflare, cloud: LocalCloudflare, bucket: str, key: str) -> None:
    """A megabyte comes back under any key, is listed, and answers 10007 once it is deleted."""
    objects = client.r2.buckets.objects
    content = bytes(range(256)) * 4096
    stored = await objects.upload(
        key,
        content,
        account_id=cloud.account_id,
        bucket_name=bucket,
        extra_headers={"Content-Type": "image/png"},
    )
    assert stored.size == str(len(content))
    got = await objects.get(key, account_id=cloud.account_id, bucket_name=bucket)
    assert await got.read() == content
    assert got.headers["content-type"] == "image/png"
    listed = [each async for each in objects.list(bucket, account_id=cloud.account_id)]
    assert [(each.key, each.size) for each in listed] == [(key, len(content))]
    await objects.delete(key, account_id=cloud.account_id, bucket_name=bucket)
    with pytest.raises(cloudflare.NotFoundError) as gone:
        await objects.get(key, account_id=cloud.account_id, bucket_name=bucket)
    assert gone.value.errors[0].code == 10007


async def test_a_bucket_that_is_not_empty_stays(client: AsyncCloudflare, cloud: LocalCloudflare, bucket: str) -> None:
    """10008 while there are objects; afterwards it goes, and a new one of that name is empty."""
    await client.r2.buckets.objects.upload("k", b"v", account_id=cloud.account_id, bucket_name=bucket)
    with pytest.raises(cloudflare.ConflictError) as refused:
        await client.r2.buckets.delete(bucket, account_id=cloud.account_id)
    assert refused.value.errors[0].code == 10008
    await client.r2.buckets.objects.delete("k", account_id=cloud.account_id, bucket_name=bucket)
    await client.r2.buckets.delete(bucket, account_id=cloud.account_id)
    await client.r2.buckets.create(account_id=cloud.account_id, name=bucket)
    listed = client.r2.buckets.objects.list(bucket, account_id=cloud.account_id)
    assert [each.key async for each in listed] == []


async def test_objects_are_listed_in_pages(client: AsyncCloudflare, cloud: LocalCloudflare, bucket: str) -> None:
    """The SDK follows the cursor to the end, by prefix, and many are deleted with one request."""
    for number in range(5):
        await client.r2.buckets.objects.upload(f"p/{number}", b"x", account_id=cloud.account_id, bucket_name=bucket)
    await client.r2.buckets.objects.upload("q", b"", account_id=cloud.account_id, bucket_name=bucket)
    pages = client.r2.buckets.objects.list(bucket, account_id=cloud.account_id, prefix="p/", per_page=2)
    keys = [str(each.key) async for each in pages]
    assert keys == ["p/0", "p/1", "p/2", "p/3", "p/4"]
    await client.delete(f"/accounts/{cloud.account_id}/r2/buckets/{bucket}/objects", body=[*keys, "q"], cast_to=object)
    left = client.r2.buckets.objects.list(bucket, account_id=cloud.account_id)
    assert [each async for each in left] == []


@pytest.mark.parametrize("name", ["ab", "Upper", "under_score", "-a-", "x" * 64])
async def test_a_bad_name_is_refused(client: AsyncCloudflare, cloud: LocalCloudflare, name: str) -> None:
    """10005 for a name that Cloudflare would refuse."""
    with pytest.raises(cloudflare.BadRequestError) as refused:
        await client.r2.buckets.create(account_id=cloud.account_id, name=name)
    assert refused.value.errors[0].code == 10005
