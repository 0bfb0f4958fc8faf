"""What the providers of Cloudflare's resources share."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from alchemy.clients.cloudflare import Cloudflare, configured_target, connect, is_on_this_machine
from alchemy.provider import Context, Provider, Recover
from alchemy.resource import Resource

R = TypeVar("R", bound=Resource)


class CloudflareProvider(Provider[R]):
    """A provider whose objects live in the account that the environment names."""

    recover: ClassVar[Recover] = "name"
    concurrency: ClassVar[int | None] = 16  # Cloudflare allows 1200 calls in five minutes

    @staticmethod
    def configured_target() -> str:
        """Say which account calls go to, without a call; it ends in `:` when the account would have to be looked up."""
        return configured_target()

    async def target(self, ctx: Context[R]) -> str:
        """Say which account calls go to: `cloudflare:<id>`, or `cloudflare-local:<id>` for the one on this machine."""
        configured = configured_target()
        return (await self.api(ctx)).target if configured.endswith(":") else configured

    def is_remade(self, stored: str, target: str) -> bool:
        """So it may be with two local ones: `alchemy local reset` ends one account and begins another."""
        return stored != target and all(is_on_this_machine(each) for each in (stored, target))

    async def api(self, ctx: Context[R]) -> Cloudflare:
        """Give the run's one client."""
        return await ctx.shared("cloudflare", connect)
