"""The client against servers that behave as Cloudflare and networks do on bad days. Real sockets, no workerd."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from alchemy.clients.cloudflare import Cloudflare, connect
from alchemy.cloudflare.kv_namespace import KVNamespace, KVNamespaceProvider
from alchemy.cloudflare.worker import _url as address
from alchemy.errors import AlchemyError, ConfigurationError, ProviderError

pytestmark = pytest.mark.anyio

ACCOUNT = "0123456789abcdef0123456789abcdef"
TOKEN = "very-s3cret-token"

Declared = Callable[..., Any]
Answer = Callable[[str], bytes | None]


def answer(status: int, body: object, **headers: str) -> bytes:
    """Write an HTTP answer; `body` as JSON unless it is text."""
    content = (body if isinstance(body, str) else json.dumps(body)).encode()
    kind = "text/html" if isinstance(body, str) else "application/json"
    extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} Status\r\ncontent-type: {kind}\r\ncontent-length: {len(content)}\r\n{extra}"
    return f"{head}connection: close\r\n\r\n".encode() + content


def envelope(result: object, *errors: tuple[int, str]) -> dict[str, Any]:
    """Wrap a result as Cloudflare does."""
    listed = [{"code": code, "message": message} for code, message in errors]
    return {"success": not errors, "errors": listed, "messages": [], "result": result}


@asynccontextmanager
async def serving(reply: Answer) -> AsyncIterator[tuple[str, list[str]]]:
    """Answer every request with what `reply` gives for its head, or break the connection for `None`."""
    seen: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        seen.append(head)
        content = reply(head)
        if content is not None:
            writer.write(content)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/client/v4", seen


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token, and an account."""
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", TOKEN)
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", ACCOUNT)


@asynccontextmanager
async def connected(monkeypatch: pytest.MonkeyPatch, url: str) -> AsyncIterator[Cloudflare]:
    """Open a client on a server."""
    monkeypatch.setenv("CLOUDFLARE_BASE_URL", url)
    api = await connect()
    try:
        yield api
    finally:
        await api.close()


async def failure(
    monkeypatch: pytest.MonkeyPatch, make_hand: Any, declared: Declared, reply: Answer
) -> tuple[AlchemyError, list[str]]:
    """Create a namespace on a server that answers so; give the error, and the requests it got."""
    async with serving(reply) as (url, seen), connected(monkeypatch, url) as api:
        with pytest.raises(AlchemyError) as caught:
            await make_hand(KVNamespaceProvider(), api).create(declared(KVNamespace, "kv"))
    assert TOKEN not in str(caught.value)
    return caught.value, seen


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_busy_cloudflare_is_asked_once(
    monkeypatch: pytest.MonkeyPatch, make_hand: Any, declared: Declared, status: int
) -> None:
    """The SDK repeats nothing: retries are the engine's, which is told what it needs for them."""
    body = envelope(None, (971, "wait"))
    error, seen = await failure(monkeypatch, make_hand, declared, lambda _: answer(status, body, retry_after="7"))
    assert isinstance(error, ProviderError)
    assert (error.retryable, error.ambiguous, error.retry_after, error.code) == (True, status >= 500, 7.0, 971)
    assert len(seen) == 1


async def test_a_page_instead_of_an_envelope_is_an_error(
    monkeypatch: pytest.MonkeyPatch, make_hand: Any, declared: Declared
) -> None:
    """A gateway's HTML is not shown, its status is."""
    error, _ = await failure(monkeypatch, make_hand, declared, lambda _: answer(502, "<html>bad gateway</html>"))
    assert isinstance(error, ProviderError)
    assert error.status == 502
    assert "<html>" not in error.message


@pytest.mark.parametrize(("text", "expected"), [("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None)])
async def test_a_date_to_wait_for_is_understood(
    monkeypatch: pytest.MonkeyPatch, make_hand: Any, declared: Declared, text: str, expected: float | None
) -> None:
    """`Retry-After` may be a date; one that has passed means now, and one that is none means nothing."""
    error, _ = await failure(monkeypatch, make_hand, declared, lambda _: answer(429, envelope(None), retry_after=text))
    assert isinstance(error, ProviderError)
    assert error.retry_after == expected


async def test_a_lost_answer_to_a_create_is_ambiguous(
    monkeypatch: pytest.MonkeyPatch, make_hand: Any, declared: Declared
) -> None:
    """The connection breaks after the request was sent: it may have been carried out."""
    error, _ = await failure(monkeypatch, make_hand, declared, lambda _: None)
    assert isinstance(error, ProviderError)
    assert (error.retryable, error.ambiguous) == (True, True)


async def test_a_request_that_was_never_sent_is_not(
    monkeypatch: pytest.MonkeyPatch, make_hand: Any, declared: Declared
) -> None:
    """Nobody listens: nothing can have happened, and the address is named."""
    async with serving(lambda _: None) as (url, _):
        pass
    async with connected(monkeypatch, url) as api:
        with pytest.raises(ProviderError) as caught:
            await make_hand(KVNamespaceProvider(), api).create(declared(KVNamespace, "kv"))
    assert (caught.value.retryable, caught.value.ambiguous) == (True, False)
    assert url.split("/")[2] in (caught.value.hint or "")


async def test_a_time_out_of_a_create_is_ambiguous(
    monkeypatch: pytest.MonkeyPatch, make_hand: Any, declared: Declared
) -> None:
    """A server that takes the request and says nothing may have carried it out."""
    import httpx

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with connected(monkeypatch, f"http://127.0.0.1:{port}/client/v4") as api:
            api.sdk.timeout = httpx.Timeout(5, read=0.05)
            with pytest.raises(ProviderError, match="did not answer in time") as caught:
                await make_hand(KVNamespaceProvider(), api).create(declared(KVNamespace, "kv"))
    assert (caught.value.retryable, caught.value.ambiguous) == (True, True)


async def test_an_answer_without_an_id_is_an_error(
    monkeypatch: pytest.MonkeyPatch, make_hand: Any, declared: Declared
) -> None:
    """A success without what was asked for is not taken for one."""
    error, _ = await failure(monkeypatch, make_hand, declared, lambda _: answer(200, envelope(None)))
    assert isinstance(error, ProviderError)
    assert error.ambiguous


async def test_only_the_token_is_sent(monkeypatch: pytest.MonkeyPatch, make_hand: Any, declared: Declared) -> None:
    """Older credentials that the SDK would find in the environment do not replace it."""
    monkeypatch.setenv("CLOUDFLARE_EMAIL", "me@example.org")
    monkeypatch.setenv("CLOUDFLARE_API_KEY", "old-key")
    monkeypatch.setenv("CLOUDFLARE_API_USER_SERVICE_KEY", "older-key")
    _, seen = await failure(monkeypatch, make_hand, declared, lambda _: answer(500, envelope(None)))
    assert f"authorization: bearer {TOKEN}" in seen[0].lower()
    assert "x-auth" not in seen[0].lower()


async def test_this_machine_is_not_reached_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, make_hand: Any, declared: Declared
) -> None:
    """A proxy of the environment is left out for a Cloudflare on a loopback address."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    _, seen = await failure(monkeypatch, make_hand, declared, lambda _: answer(500, envelope(None)))
    assert seen[0].startswith("POST /client/v4/")


def accounts(*names: str) -> Answer:
    """Answer the list of accounts, all on the first page."""

    def reply(head: str) -> bytes:
        first = "page=2" not in head.splitlines()[0]
        listed = [{"id": f"{number:032x}", "name": name} for number, name in enumerate(names)]
        return answer(200, envelope(listed if first else []))

    return reply


async def test_the_only_account_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without CLOUDFLARE_ACCOUNT_ID the one account of the token is taken, and is the target."""
    monkeypatch.delenv("CLOUDFLARE_ACCOUNT_ID")
    async with serving(accounts("mine")) as (url, _), connected(monkeypatch, url) as api:
        assert api.account_id == "0" * 32
        assert api.target == f"cloudflare-local:{'0' * 32}"


@pytest.mark.parametrize(("names", "said"), [(("one", "two"), "2 accounts: .*one.*two"), ((), "can see no account")])
async def test_which_account_is_meant_must_be_clear(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], said: str
) -> None:
    """Several accounts are listed, none is an error; both say what to set."""
    monkeypatch.delenv("CLOUDFLARE_ACCOUNT_ID")
    async with serving(accounts(*names)) as (url, _):
        monkeypatch.setenv("CLOUDFLARE_BASE_URL", url)
        with pytest.raises(ConfigurationError, match=said) as caught:
            await connect()
    assert "CLOUDFLARE_ACCOUNT_ID" in (caught.value.hint or "")


async def test_a_worker_answers_below_the_accounts_subdomain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the API does not say an address, it is the one of workers.dev; the subdomain is asked for once."""
    async with (
        serving(lambda _: answer(200, envelope({"subdomain": "mine"}))) as (url, seen),
        connected(monkeypatch, url) as api,
    ):
        assert await address(api, "notes", True, {}) == "https://notes.mine.workers.dev"
        assert await address(api, "notes", True, None) == "https://notes.mine.workers.dev"
        assert await address(api, "notes", False, None) is None
    assert len(seen) == 1


@pytest.mark.parametrize(
    "reply",
    [answer(404, envelope(None, (10007, "no subdomain"))), answer(200, envelope({"subdomain": ""}))],
)
async def test_an_account_without_a_subdomain_is_told_so(monkeypatch: pytest.MonkeyPatch, reply: bytes) -> None:
    """Where there is none, the error says how to go on."""
    async with serving(lambda _: reply) as (url, _), connected(monkeypatch, url) as api:
        with pytest.raises(AlchemyError) as caught:
            await api.workers_subdomain()
    assert "workers_dev=False" in (caught.value.hint or "")
