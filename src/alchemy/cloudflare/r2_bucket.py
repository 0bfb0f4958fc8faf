"""R2: buckets of objects."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Literal
from urllib.parse import quote

from alchemy.clients.cloudflare import Cloudflare
from alchemy.clients.cloudflare_errors import calling
from alchemy.cloudflare.provider import CloudflareProvider
from alchemy.errors import Gone, ProviderError
from alchemy.names import Naming
from alchemy.provider import Context
from alchemy.resource import Resource, detached, output, prop

if TYPE_CHECKING:
    from cloudflare.types.r2 import Bucket

Location = Literal["apac", "eeur", "enam", "weur", "wnam", "oc"]
Jurisdiction = Literal["default", "eu", "us", "fedramp", "fedramp-high"]
StorageClass = Literal["Standard", "InfrequentAccess"]

_DELETES_AT_ONCE = 8


class R2Bucket(
    Resource,
    kind="cloudflare::R2Bucket",
    provider="alchemy.cloudflare.r2_bucket:R2BucketProvider",
    reference=("bucket_name", "jurisdiction"),
):
    """An R2 bucket.

    Attributes:
        name: 3 to 63 of `a-z`, `0-9` and `-`; by default one made from the id. Another name replaces the bucket.
        location: where its objects should be, as a hint that counts only when it is created.
        jurisdiction: where they must be. Changing either of these two replaces the bucket.
        storage_class: of objects stored from now on without a class of their own.
        empty_on_delete: delete its objects with it. Without it, a bucket that holds something is not deleted.
        bucket_name: the name it has.

    Source: https://developers.cloudflare.com/api/resources/r2/
    """

    name: str | None = prop(default=None, replace=True)
    location: Location | None = prop(default=None, replace=True)
    jurisdiction: Jurisdiction = prop(default="default", replace=True)
    storage_class: StorageClass = "Standard"
    empty_on_delete: bool = False
    bucket_name: str = output()


class R2BucketProvider(CloudflareProvider[R2Bucket]):
    """Handles `cloudflare::R2Bucket`."""

    naming: ClassVar[Naming | None] = Naming(max=63)

    async def find(self, ctx: Context[R2Bucket], want: R2Bucket) -> R2Bucket | None:
        """Ask for it by its name."""
        return await self._get(ctx, want, ctx.name)

    async def read(self, ctx: Context[R2Bucket], have: R2Bucket) -> R2Bucket | None:
        """Ask for it by its name, which is its identity."""
        return await self._get(ctx, have, have.bucket_name)

    async def _get(self, ctx: Context[R2Bucket], declared: R2Bucket, name: str) -> R2Bucket | None:
        api = await self.api(ctx)
        try:
            with calling(f"read the R2 bucket {name!r}", service="r2"):
                found = await api.sdk.r2.buckets.get(
                    name, account_id=api.account_id, cf_r2_jurisdiction=declared.jurisdiction
                )
        except Gone:
            return None
        return _observed(declared, name, found)

    async def create(self, ctx: Context[R2Bucket], want: R2Bucket) -> R2Bucket:
        """Create it, empty."""
        from cloudflare import omit

        api = await self.api(ctx)
        with calling(f"create the R2 bucket {ctx.name!r}", service="r2", kind="create"):
            await api.sdk.r2.buckets.create(
                account_id=api.account_id,
                name=ctx.name,
                location_hint=want.location or omit,
                storage_class=want.storage_class,
                cf_r2_jurisdiction=want.jurisdiction,
            )
        return ctx.result(bucket_name=ctx.name)

    async def update(self, ctx: Context[R2Bucket], want: R2Bucket, have: R2Bucket) -> R2Bucket:
        """Set its storage class; `empty_on_delete` counts here and not at Cloudflare."""
        api = await self.api(ctx)
        if want.storage_class != have.storage_class:
            with calling(f"change the R2 bucket {have.bucket_name!r}", service="r2"):
                await api.sdk.r2.buckets.edit(
                    have.bucket_name,
                    account_id=api.account_id,
                    storage_class=want.storage_class,
                    cf_r2_jurisdiction=want.jurisdiction,
                )
        return ctx.result(bucket_name=have.bucket_name)

    async def delete(self, ctx: Context[R2Bucket], have: R2Bucket) -> None:
        """Delete it; its objects first when it was declared so."""
        api = await self.api(ctx)
        try:
            if have.empty_on_delete:
                await _empty(api, ctx, have)
            with calling(f"delete the R2 bucket {have.bucket_name!r}", service="r2"):
                await api.sdk.r2.buckets.delete(
                    have.bucket_name, account_id=api.account_id, cf_r2_jurisdiction=have.jurisdiction
                )
        except Gone:
            return


def _observed(declared: R2Bucket, name: str, found: Bucket) -> R2Bucket:
    seen = detached(declared, bucket_name=name)
    if found.storage_class:
        seen = detached(seen, storage_class=found.storage_class)
    return seen


async def _empty(api: Cloudflare, ctx: Context[R2Bucket], have: R2Bucket) -> None:
    """Delete all objects, page by page; always the first page, because deleting moves the rest up."""
    deleted, before = 0, None
    while True:
        with calling(f"list the R2 bucket {have.bucket_name!r}", service="r2"):
            page = await api.sdk.r2.buckets.objects.list(
                have.bucket_name, account_id=api.account_id, cf_r2_jurisdiction=have.jurisdiction
            )
        keys = [entry.key for entry in page.result or () if entry.key]
        if not keys:
            if deleted:
                ctx.log(f"deleted {deleted} objects of the R2 bucket {have.bucket_name}")
            return
        if keys == before:
            raise ProviderError(
                f"the R2 bucket {have.bucket_name!r} still lists {keys[0]!r} after it was deleted",
                hint="see whether a lock rule of the bucket keeps its objects",
                retryable=True,
            )
        await _delete_all(api, have, keys)
        deleted, before = deleted + len(keys), keys


async def _delete_all(api: Cloudflare, have: R2Bucket, keys: list[str]) -> None:
    waiting = iter(keys)

    async def work() -> None:
        for key in waiting:
            await _delete_object(api, have, key)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_DELETES_AT_ONCE, len(keys))):
                group.create_task(work())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


async def _delete_object(api: Cloudflare, have: R2Bucket, key: str) -> None:
    # Not `objects.delete`: it writes a slash in a key as %2F, which the API says it must not be; and it refuses keys
    # with `.` or `..` between slashes. Those dots are escaped here, or the client would resolve them as a path.
    parts = ["%2E" * len(part) if part in (".", "..") else quote(part, safe="") for part in key.split("/")]
    url = f"/accounts/{api.account_id}/r2/buckets/{have.bucket_name}/objects/{'/'.join(parts)}"
    try:
        with calling(f"delete the object {key!r} of the R2 bucket {have.bucket_name!r}", service="r2"):
            await api.sdk.delete(url, cast_to=object, options={"headers": {"cf-r2-jurisdiction": have.jurisdiction}})
    except Gone:
        return
