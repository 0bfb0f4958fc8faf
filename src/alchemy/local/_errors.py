"""What can go wrong around the local Cloudflare, apart from what its API answers."""

from __future__ import annotations

from alchemy.errors import AlchemyError


class LocalCloudflareError(AlchemyError):
    """The local Cloudflare could not be installed, started, asked or stopped."""


class ToolchainError(LocalCloudflareError):
    """workerd or the simulator files could not be obtained, or are not the ones that were pinned."""
