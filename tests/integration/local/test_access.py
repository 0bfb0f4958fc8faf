"""Who may call, and what is answered where nothing is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cloudflare
import httpx
import pytest
from cloudflare import AsyncCloudflare

from alchemy.local import LocalCloudflare

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]


async def test_the_token_and_the_account_are_found(client: AsyncCloudflare, cloud: LocalCloudflare) -> None:
    """The token is active and there is exactly one account, which has a workers.dev subdomain."""
    verified = await client.user.tokens.verify()
    assert verified is not None
    assert verified.status == "active"
    assert [each.id async for each in client.accounts.list()] == [cloud.account_id]
    subdomain = await client.workers.subdomains.get(account_id=cloud.account_id)
    assert subdomain.subdomain == f"local-{cloud.account_id[:8]}"


async def test_another_token_is_refused(
    cloud: LocalCloudflare, connect: Callable[[LocalCloudflare], AsyncCloudflare]
) -> None:
    """9109 for a wrong token."""
    async with connect(replace(cloud, api_token="wrong")) as client:
        with pytest.raises(cloudflare.PermissionDeniedError) as refused:
            await client.user.tokens.verify()
    assert refused.value.errors[0].code == 9109


@pytest.mark.parametrize("header", [None, "Basic abc", "Bearer"])
async def test_no_token_is_refused(http: httpx.AsyncClient, cloud: LocalCloudflare, header: str | None) -> None:
    """10000 without one, also for what only this package asks."""
    headers = {"authorization": header} if header else {}
    for path in ("/client/v4/accounts", "/_alchemy/status"):
        answer = await http.get(cloud.base_url.removesuffix("/client/v4") + path, headers=headers)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (401, 10000)


@pytest.mark.parametrize(("account", "code"), [("0" * 32, 10000), ("nonsense", 7003)])
async def test_another_account_is_refused(
    client: AsyncCloudflare, cloud: LocalCloudflare, account: str, code: int
) -> None:
    """An account that is not this one: no access; an id that cannot be one: no route."""
    with pytest.raises(cloudflare.APIStatusError) as refused:
        await client.kv.namespaces.list(account_id=account)
    assert refused.value.errors[0].code == code


@pytest.mark.parametrize(("method", "path", "code"), [("GET", "/zones", 7000), ("PATCH", "/accounts", 7001)])
async def test_what_is_not_here_says_so(
    http: httpx.AsyncClient, cloud: LocalCloudflare, method: str, path: str, code: int
) -> None:
    """An unknown route answers in the envelope."""
    headers = {"authorization": f"Bearer {cloud.api_token}"}
    answer = await http.request(method, cloud.base_url + path, headers=headers)
    assert (answer.json()["success"], answer.json()["errors"][0]["code"]) == (False, code)


@pytest.mark.parametrize("body", [b"{", b"[]"])
async def test_a_malformed_body_is_refused(http: httpx.AsyncClient, cloud: LocalCloudflare, body: bytes) -> None:
    """A body that is not the JSON that is needed is an error of the caller."""
    answer = await http.post(
        f"{cloud.base_url}/accounts/{cloud.account_id}/d1/database",
        headers={"authorization": f"Bearer {cloud.api_token}"},
        content=body,
    )
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, 10026)
