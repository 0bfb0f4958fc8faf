"""Cloudflare's API: whose account, and one client a run.

Light to import: the official SDK is loaded when the first client is made. What the API refuses is translated by
`alchemy.clients.cloudflare_errors`.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from alchemy.clients.cloudflare_errors import NO_SUBDOMAIN, TOKEN_PAGE, calling
from alchemy.errors import ConfigurationError
from alchemy.secret import Secret

if TYPE_CHECKING:
    from cloudflare import AsyncCloudflare

API = "https://api.cloudflare.com/client/v4"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Credentials:
    """What calls are made with.

    Attributes:
        token: from `CLOUDFLARE_API_TOKEN`.
        account_id: from `CLOUDFLARE_ACCOUNT_ID`; `None`: to be looked up.
        base_url: from `CLOUDFLARE_BASE_URL`; `None`: Cloudflare's own.
    """

    token: Secret[str]
    account_id: str | None
    base_url: str | None


def credentials() -> Credentials:
    """Read the credentials from the environment, as it is now.

    Raises:
        ConfigurationError: there is no token; says where to make one.
    """
    token = _setting("CLOUDFLARE_API_TOKEN")
    if token is None:
        raise ConfigurationError(
            "CLOUDFLARE_API_TOKEN is not set: without a token nothing can be done at Cloudflare",
            hint=f"make one in the dashboard under My Profile, API Tokens ({TOKEN_PAGE}), and export it; "
            "or deploy to the Cloudflare on this machine with --local",
        )
    return Credentials(
        token=Secret(token, name="CLOUDFLARE_API_TOKEN"),
        account_id=_setting("CLOUDFLARE_ACCOUNT_ID"),
        base_url=_setting("CLOUDFLARE_BASE_URL"),
    )


def configured_target() -> str:
    """Say which account calls go to, by the environment alone.

    Without an account's id, which would have to be looked up, it ends after the colon: `cloudflare:`.
    """
    return target_of(_setting("CLOUDFLARE_ACCOUNT_ID") or "", _setting("CLOUDFLARE_BASE_URL"))


def target_of(account_id: str, base_url: str | None) -> str:
    """Name an account as records do: `cloudflare:<id>`, or `cloudflare-local:<id>` for any other API than its own."""
    return f"{'cloudflare' if is_cloudflares_own(base_url) else 'cloudflare-local'}:{account_id}"


def is_on_this_machine(target: str) -> bool:
    """Say whether an account, as records name it, is one that can be reset, by what the environment says now."""
    host = urlsplit(_setting("CLOUDFLARE_BASE_URL") or API).hostname
    return target.startswith("cloudflare-local:") and host in LOOPBACK


def is_cloudflares_own(base_url: str | None) -> bool:
    """Say whether an API's URL is Cloudflare's own; `None` stands for it."""
    host = urlsplit(base_url).hostname if base_url else "api.cloudflare.com"
    return host is not None and (host == "cloudflare.com" or host.endswith(".cloudflare.com"))


def _setting(name: str) -> str | None:
    return os.environ.get(name, "").strip() or None


class Cloudflare:
    """One account, through the official SDK. It never retries by itself: that is the engine's.

    Attributes:
        sdk: `cloudflare.AsyncCloudflare`.
        account_id: 32 hexadecimal digits.
        own: it is Cloudflare itself, not the one on this machine.
    """

    def __init__(self, sdk: AsyncCloudflare, account_id: str, base_url: str | None) -> None:
        self.sdk = sdk
        self.account_id = account_id
        self.own = is_cloudflares_own(base_url)
        self.target = target_of(account_id, base_url)
        self._subdomain: str | None = None

    async def workers_subdomain(self) -> str:
        """Give the account's subdomain of workers.dev; asked for once a run.

        Raises:
            ConfigurationError: the account has none yet.
        """
        if self._subdomain is None:
            with calling("look up the account's workers.dev subdomain", service="subdomain", kind="list"):
                found = await self.sdk.workers.subdomains.get(account_id=self.account_id)
            if not found.subdomain:
                raise ConfigurationError("this Cloudflare account has no workers.dev subdomain yet", hint=NO_SUBDOMAIN)
            self._subdomain = found.subdomain
        return self._subdomain

    async def close(self) -> None:
        """Close the connections; safe to repeat."""
        await self.sdk.close()


async def connect() -> Cloudflare:
    """Make a client by the environment's credentials.

    Raises:
        ConfigurationError: a credential is missing or refused, several accounts could be meant, or the SDK is not
            installed.
    """
    given = credentials()
    # Half a second of imports: in a thread, so that what else is under way goes on.
    sdk = await asyncio.to_thread(_make, given)
    try:
        account_id = given.account_id or await _only_account(sdk)
    except BaseException:
        await sdk.close()
        raise
    return Cloudflare(sdk, account_id, given.base_url)


def _make(given: Credentials) -> AsyncCloudflare:
    try:
        from cloudflare import AsyncCloudflare, DefaultAsyncHttpxClient
    except ImportError as error:
        raise ConfigurationError(
            "the package cloudflare is not installed", hint="pip install 'alchemy-iac[cloudflare]'"
        ) from error
    base_url = given.base_url or API
    # A proxy of the environment must not see what is meant for this machine, nor could it reach it.
    direct = urlsplit(base_url).hostname in LOOPBACK
    sdk = AsyncCloudflare(
        api_token=given.token.reveal(),
        base_url=base_url,
        max_retries=0,
        # Reading the system's certificates takes 30 ms.
        http_client=DefaultAsyncHttpxClient(trust_env=False, verify=base_url.startswith("https:")) if direct else None,
    )
    # The SDK prefers these, from the environment, to the token.
    sdk.api_key = sdk.api_email = sdk.user_service_key = None
    return sdk


async def _only_account(sdk: AsyncCloudflare) -> str:
    found: list[tuple[str, str]] = []
    with calling("list the accounts of this token", service="accounts", kind="list"):
        async for account in sdk.accounts.list():
            found.append((account.id, account.name))
    if len(found) == 1:
        return found[0][0]
    if not found:
        raise ConfigurationError(
            "CLOUDFLARE_API_TOKEN can see no account",
            hint="set CLOUDFLARE_ACCOUNT_ID, or give the token the permission 'Account Settings: Read'",
        )
    shown = ", ".join(f"{account_id} ({name})" for account_id, name in found)
    raise ConfigurationError(
        f"CLOUDFLARE_API_TOKEN can see {len(found)} accounts: {shown}", hint="set CLOUDFLARE_ACCOUNT_ID to one of them"
    )
