"""What the client of the state service makes of answers that are none, and of state that is not its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import Request, urlopen

import pytest
from tests.integration.stores.servers.service import TOKEN, ServiceThread

from alchemy.errors import AlchemyError, ConfigurationError, StateError, StateTooNew
from alchemy.secret import Secret
from alchemy.stores import CloudflareStateStore, open_store
from alchemy.stores._service_client import TokenRefused
from alchemy.stores._service_deploying import until_it_answers
from alchemy.testing.contract import UNIT, a_resource, an_owner

pytestmark = pytest.mark.anyio
Answer = Callable[[int, str, str], str]


@pytest.fixture
def answering() -> Iterator[Answer]:
    """Start a server that answers everything alike: `answering(status, content type, body)` gives its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(status: int, kind: str, body: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body.encode())))
                if 300 <= status < 400:
                    self.send_header("Location", "https://login.example/")
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def refusal(status: int, code: str, error: str) -> tuple[int, str, str]:
    return status, "application/json", json.dumps({"success": False, "status": status, "error": error, "code": code})


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ((302, "text/plain", ""), ConfigurationError, "login"),
        ((200, "text/html; charset=utf-8", "<html>"), ConfigurationError, "login"),
        ((404, "text/plain", "not found"), ConfigurationError, "no state service"),
        ((404, "text/plain; charset=UTF-8", "error code: 1042"), StateError, "wait a minute"),
        ((200, "application/json", "[1]"), ConfigurationError, "no state service"),
        (refusal(401, "unauthorized", "Unauthorized"), ConfigurationError, "ALCHEMY_STATE_TOKEN"),
        (refusal(400, "unknown_method", "version 0 has no method version"), StateError, "older than this library"),
        (refusal(409, "newer_data", "The data has schema 9"), StateTooNew, "newer version of alchemy"),
        (refusal(413, "too_large", "The request has more than 1 bytes"), StateError, "more than 1 bytes"),
        (refusal(500, "internal", "database or disk is full"), StateError, "disk is full"),
        ((503, "text/html", "<html>"), StateError, "503"),
        ((413, "text/html", "<html>"), ConfigurationError, "client_max_body_size"),
        ((429, "text/plain", ""), StateError, "429"),
        (
            (200, "application/json", '{"success": true, "result": {"version": 0}}'),
            StateError,
            "start it again with this",
        ),
    ],
)
async def test_what_is_no_answer_of_the_service(
    answering: Answer, answer: tuple[int, str, str], kind: type[AlchemyError], said: str
) -> None:
    """Each names the address, and what to do; none names the token."""
    address = answering(*answer)
    store = CloudflareStateStore(address, state_token=TOKEN, patience=0.1)
    with pytest.raises(kind) as caught:
        await store.init()
    assert type(caught.value) is (TokenRefused if answer[0] == 401 else kind)
    text = f"{caught.value.message} {caught.value.hint}"
    assert said in text
    assert address in text
    assert caught.value.hint or kind is StateError
    assert TOKEN not in text
    await store.deinit()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, "text/html", "<html>"), "login page"),
        ((503, "text/plain", ""), "503"),
        (refusal(401, "unauthorized", "Unauthorized"), "does not accept the token"),
        ((200, "application/json", '{"success": true, "result": {"version": 1}}'), "has version 1"),
    ],
)
async def test_waiting_for_a_service_ends(answering: Answer, answer: tuple[int, str, str], said: str) -> None:
    """Whoever waits for a service that was uploaded is told in the end what answered instead, or what still does."""
    with pytest.raises(AlchemyError, match=said):
        await until_it_answers(answering(*answer), Secret(TOKEN), seconds=0.3, version=2)


async def test_no_proxy_sees_what_is_meant_for_this_machine(answering: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service on loopback is asked directly, whatever proxy the environment names."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    await until_it_answers(
        answering(200, "application/json", '{"success": true, "result": {"version": 2}}'), Secret(TOKEN), seconds=0
    )


@pytest.mark.parametrize("token", [None, "", "two words", "ü"])
def test_tokens_that_cannot_be(monkeypatch: pytest.MonkeyPatch, token: str | None) -> None:
    """A token that is missing, or cannot be sent, is told when the store is made."""
    monkeypatch.delenv("ALCHEMY_STATE_TOKEN", raising=False)
    with pytest.raises(ConfigurationError, match="ALCHEMY_STATE_TOKEN"):
        CloudflareStateStore("http://127.0.0.1:1", state_token=token)


@pytest.mark.parametrize(
    "url",
    [
        "cloudflare+http:",
        "cloudflare+http://",
        "cloudflare+http://host/path",
        "cloudflare+http://user:hidden@host",
        "cloudflare+http://host?zone=1",
    ],
)
def test_addresses_that_cannot_be(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """An address with anything but host and port is refused, and what might be a password is not shown."""
    monkeypatch.setenv("ALCHEMY_STATE_TOKEN", TOKEN)
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)
    assert "hidden" not in str(caught.value)


def test_the_url_opens_the_same_place_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL has no token in it, and no slash too many."""
    monkeypatch.setenv("ALCHEMY_STATE_TOKEN", TOKEN)
    store = open_store("cloudflare+http://127.0.0.1:8787/")
    assert store.url == "cloudflare+http://127.0.0.1:8787"
    assert open_store(store.url).url == store.url


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceThread]:
    """A service for the tests of this module."""
    server = ServiceThread(tmp_path_factory.mktemp("service"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


def as_typescript(server: ServiceThread, method: str, *params: Any, chain: list[str]) -> None:
    """Send what Alchemy for TypeScript sends."""
    body = {"method": method, "params": params, "context": {"chain": chain}}
    request = Request(f"http://127.0.0.1:{server.port}", json.dumps(body).encode())
    request.add_header("Authorization", f"Bearer {TOKEN}")
    with urlopen(request, timeout=30) as answer:
        assert json.loads(answer.read())["success"]


@pytest.mark.workerd
async def test_rows_of_typescript_are_no_orphans(shared: ServiceThread) -> None:
    """State that Alchemy for TypeScript wrote is an error that names the way to take it over, and stays as it is."""
    shared.wipe()
    as_typescript(shared, "set", "api", {"id": "api", "kind": "k"}, chain=["notes", "prod"])
    store = open_at(shared)
    await store.init()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    for ask in (
        lambda: store.load(UNIT, lease=lease),
        lambda: store.all("notes"),
        lambda: store.get(f"{UNIT}/api"),
        lambda: store.problems(""),
    ):
        with pytest.raises(StateError, match=r"notes/prod/api .*TypeScript.*alchemy state import"):
            await ask()
    await store.release(lease)
    assert await store.list_scopes("notes") == [UNIT]
    await store.deinit()


@pytest.mark.workerd
async def test_a_wrong_token_says_nothing_of_the_right_one(shared: ServiceThread) -> None:
    """A wrong token is told at once, however much patience there is."""
    store = CloudflareStateStore(f"http://127.0.0.1:{shared.port}", state_token="another", patience=60)
    with pytest.raises(ConfigurationError, match="does not accept the token"):
        await store.init()
    await store.deinit()


@pytest.mark.workerd
async def test_large_units_and_blobs(shared: ServiceThread) -> None:
    """A unit, and a backup, that need several requests come back whole."""
    shared.wipe()
    store = open_at(shared)
    await store.init()
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    records = [a_resource(f"{UNIT}/r{number}", props={"text": str(number) * 2_500_000}) for number in range(4)]
    await store.set(lease, *records)
    assert {one.fqn for one in (await store.load(UNIT, lease=lease)).records.values()} == {one.fqn for one in records}
    content = b"".join(number.to_bytes(4, "big") for number in range(2_300_000))
    name = "state-2026-11-21T09-00-00-000Z.json"
    await store.save_backup(lease, name, content)
    assert await store.read_backup(UNIT, name) == content
    await store.append_log(UNIT, "run.ndjson", content)
    await store.append_log(UNIT, "run.ndjson", b"end\n")
    assert await store.read_log(UNIT, "run.ndjson") == content + b"end\n"
    await store.release(lease)
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)  # the whole unit does not fit into the answer
    assert len((await store.load(UNIT, lease=lease)).records) == 4
    await store.deinit()


def open_at(server: ServiceThread) -> CloudflareStateStore:
    return CloudflareStateStore(f"http://127.0.0.1:{server.port}", state_token=TOKEN)
