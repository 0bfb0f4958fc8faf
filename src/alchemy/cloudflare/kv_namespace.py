"""Workers KV: a store of keys and values that Workers read from anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from alchemy.clients.cloudflare_errors import calling, given
from alchemy.cloudflare.provider import CloudflareProvider
from alchemy.errors import Gone
from alchemy.names import Naming
from alchemy.provider import Context
from alchemy.resource import Resource, detached, output, prop

if TYPE_CHECKING:
    from cloudflare.types.kv import Namespace

_PER_PAGE = 1000


class KVNamespace(
    Resource,
    kind="cloudflare::KVNamespace",
    provider="alchemy.cloudflare.kv_namespace:KVNamespaceProvider",
    reference=("namespace_id",),
):
    """A KV namespace. Deleting it deletes what it holds.

    Attributes:
        title: what the dashboard calls it, 1 to 512 characters; by default a name made from the id. Another title
            renames it; its keys stay.
        namespace_id: 32 hexadecimal digits, for good.
        namespace_title: the title it has.

    Source: https://developers.cloudflare.com/api/resources/kv/
    """

    title: str | None = prop(default=None)
    namespace_id: str = output()
    namespace_title: str = output()


class KVNamespaceProvider(CloudflareProvider[KVNamespace]):
    """Handles `cloudflare::KVNamespace`."""

    naming: ClassVar[Naming | None] = Naming(max=512, lowercase=False, allowed="A-Za-z0-9_-")
    name_input: ClassVar[str] = "title"

    async def find(self, ctx: Context[KVNamespace], want: KVNamespace) -> KVNamespace | None:
        """Look through all pages: the API cannot search by title."""
        api = await self.api(ctx)
        with calling(f"look for the KV namespace {ctx.name!r}", service="kv", kind="list"):
            async for found in api.sdk.kv.namespaces.list(account_id=api.account_id, per_page=_PER_PAGE):
                if found.title == ctx.name:
                    return _observed(want, found)
        return None

    async def read(self, ctx: Context[KVNamespace], have: KVNamespace) -> KVNamespace | None:
        """Ask for it by its id."""
        api = await self.api(ctx)
        try:
            with calling(f"read the KV namespace {have.namespace_id}", service="kv"):
                found = await api.sdk.kv.namespaces.get(have.namespace_id, account_id=api.account_id)
        except Gone:
            return None
        return _observed(have, found) if found else None

    async def create(self, ctx: Context[KVNamespace], want: KVNamespace) -> KVNamespace:
        """Create it, empty."""
        api = await self.api(ctx)
        with calling(f"create the KV namespace {ctx.name!r}", service="kv", kind="create"):
            made = await api.sdk.kv.namespaces.create(account_id=api.account_id, title=ctx.name)
        return ctx.result(namespace_id=given(made.id if made else None, "the namespace's id"), namespace_title=ctx.name)

    async def update(self, ctx: Context[KVNamespace], want: KVNamespace, have: KVNamespace) -> KVNamespace:
        """Rename it."""
        api = await self.api(ctx)
        with calling(f"rename the KV namespace {have.namespace_title!r} to {ctx.name!r}", service="kv"):
            await api.sdk.kv.namespaces.update(have.namespace_id, account_id=api.account_id, title=ctx.name)
        return ctx.result(namespace_id=have.namespace_id, namespace_title=ctx.name)

    async def delete(self, ctx: Context[KVNamespace], have: KVNamespace) -> None:
        """Delete it with what it holds."""
        api = await self.api(ctx)
        try:
            with calling(f"delete the KV namespace {have.namespace_title!r}", service="kv"):
                await api.sdk.kv.namespaces.delete(have.namespace_id, account_id=api.account_id)
        except Gone:
            return


def _observed(declared: KVNamespace, found: Namespace) -> KVNamespace:
    title = declared.title if declared.title is None else found.title
    return detached(
        declared, title=title, namespace_id=given(found.id, "the namespace's id"), namespace_title=found.title
    )
