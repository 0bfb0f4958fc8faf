"""Workers, against the local Cloudflare: what is declared is what answers over HTTP."""

from __future__ import annotations

import traceback
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from alchemy.clients.cloudflare import Cloudflare
from alchemy.cloudflare import D1Database, KVNamespace, R2Bucket
from alchemy.cloudflare.d1_database import D1DatabaseProvider
from alchemy.cloudflare.kv_namespace import KVNamespaceProvider
from alchemy.cloudflare.r2_bucket import R2BucketProvider
from alchemy.cloudflare.worker import COMPATIBILITY_DATE, Worker, WorkerProvider
from alchemy.errors import DeclarationError, ProviderError
from alchemy.secret import Secret

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]

Hand = Any
Declared = Callable[..., Any]

SAYS_ENV = """export default { fetch(request, env) {
  const shown = Object.fromEntries(Object.entries(env).filter(([, value]) => typeof value !== "function"));
  return Response.json(shown);
} }"""


def says(text: str) -> str:
    """Give a script that answers with a text."""
    return f"export default {{ fetch() {{ return new Response({text!r}) }} }}"


@pytest.fixture
def worker(hand: Callable[..., Hand]) -> Hand:
    """What calls the provider's handlers, with a name of its own for each test."""
    return hand(WorkerProvider(), f"worker-{uuid.uuid4().hex[:12]}")


async def test_a_worker_lives(worker: Hand, declared: Declared, http: httpx.AsyncClient) -> None:
    """Not found, created and answering, found and read as declared, changed, deleted, gone."""
    want = declared(Worker, "api", script=says("one"), bindings={"GREETING": "hello"})
    assert await worker.find(want) is None
    have = await worker.create(want)
    assert have.script_name == worker.name
    assert (await http.get(have.url)).text == "one"
    seen = await worker.read(have)
    assert (seen.url, seen.etag, seen.bindings) == (have.url, have.etag, {"GREETING": "hello"})
    changed = await worker.update(declared(Worker, "api", script=says("two")), have)
    assert (changed.url, changed.etag == have.etag) == (have.url, False)
    assert (await http.get(changed.url)).text == "two"
    assert (await worker.read(changed)).bindings == {}
    await worker.delete(changed)
    assert await worker.read(changed) is None
    await worker.delete(changed)


async def test_values_reach_the_code(worker: Hand, declared: Declared, http: httpx.AsyncClient) -> None:
    """Texts, numbers, truths, JSON and secrets are in `env` as what they are; the API never shows the secret."""
    values = {"TEXT": "t", "WHOLE": 3, "PART": 0.5, "YES": True, "JSON": {"a": [1, None, "x"]}, "LIST": [1, 2]}
    want = declared(Worker, "api", script=SAYS_ENV, bindings={**values, "KEY": Secret("s3cr3t")})
    have = await worker.create(want)
    assert (await http.get(have.url)).json() == {**values, "KEY": "s3cr3t"}
    seen = await worker.read(have)
    assert seen.bindings == want.bindings
    assert "s3cr3t" not in repr(seen)


async def test_resources_reach_the_code(
    worker: Hand, hand: Callable[..., Hand], declared: Declared, http: httpx.AsyncClient
) -> None:
    """D1, KV, R2 and another Worker are used by the code that is bound to them."""
    name = worker.name
    database = await hand(D1DatabaseProvider(), f"{name}-db").create(declared(D1Database, "db"))
    store = await hand(KVNamespaceProvider(), f"{name}-kv").create(declared(KVNamespace, "kv"))
    bucket = await hand(R2BucketProvider(), f"{name}-r2").create(declared(R2Bucket, "r2"))
    other = await hand(WorkerProvider(), f"{name}-other").create(declared(Worker, "other", script=says("other")))
    script = """export default { async fetch(request, { DB, KV, R2, OTHER }) {
      await KV.put("k", "from kv");
      await R2.put("o", "from r2");
      const { one } = await DB.prepare("SELECT 1 AS one").first();
      const other = await (await OTHER.fetch("http://other/")).text();
      return Response.json([one, await KV.get("k"), await (await R2.get("o")).text(), other]);
    } }"""
    bindings = {"DB": database, "KV": store, "R2": bucket, "OTHER": other}
    have = await worker.create(declared(Worker, "api", script=script, bindings=bindings))
    assert (await http.get(have.url)).json() == [1, "from kv", "from r2", "other"]
    assert (await worker.read(have)).bindings == bindings


async def test_drift_is_seen(worker: Hand, declared: Declared, api: Cloudflare) -> None:
    """What somebody else changed is read as it is; what they left alone as it was declared."""
    bindings = {"KEPT": "k", "CHANGED": "c", "GONE": 1}
    have = await worker.create(declared(Worker, "api", script=SAYS_ENV, bindings=bindings))
    found = [
        {"name": "KEPT", "type": "plain_text", "text": "k"},
        {"name": "CHANGED", "type": "plain_text", "text": "d"},
        {"name": "NEW", "type": "plain_text", "text": "n"},
    ]
    await api.sdk.workers.scripts.script_and_version_settings.edit(
        worker.name,
        account_id=api.account_id,
        settings=cast("Any", {"bindings": found}),
    )
    seen = await worker.read(have)
    assert seen.bindings == {
        "KEPT": "k",
        "CHANGED": {"type": "plain_text", "text": "d"},
        "NEW": {"type": "plain_text", "text": "n"},
    }


async def test_files_are_uploaded_as_modules(
    worker: Hand, declared: Declared, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    """Imports of JavaScript, JSON, text and bytes mean the same at Cloudflare, also above the entrypoint's folder."""
    (tmp_path / "src" / "lib").mkdir(parents=True)
    (tmp_path / "shared").mkdir()
    (tmp_path / "src" / "lib" / "words.js").write_text('export { default as page } from "./page.html";')
    (tmp_path / "src" / "lib" / "page.html").write_text("<h1>hi</h1>")
    (tmp_path / "src" / "data.bin").write_bytes(bytes([1, 2, 255]))
    (tmp_path / "shared" / "config.json").write_text('{"a": 1}')
    (tmp_path / "shared" / "late.mjs").write_text('export const late = "late";')
    entry = tmp_path / "src" / "worker.js"
    entry.write_text("""
        import { page } from "./lib/words.js";
        import config from "../shared/config.json";
        import data from "./data.bin";
        import { DurableObject } from "cloudflare:workers";
        export default { async fetch() {
          const { late } = await import("../shared/late.mjs");
          return Response.json([page, config, [...new Uint8Array(data)], late, typeof DurableObject]);
        } };
    """)
    have = await worker.create(declared(Worker, "api", entrypoint=str(entry)))
    assert (await http.get(have.url)).json() == ["<h1>hi</h1>", {"a": 1}, [1, 2, 255], "late", "function"]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("export default { fetch( }", "SyntaxError"),
        ("throw new Error('at start'); export default {}", "at start"),
        ('import "node:fs"; export default {}', "node:fs"),
    ],
)
async def test_a_bad_script_changes_nothing(
    worker: Hand, declared: Declared, http: httpx.AsyncClient, script: str, said: str
) -> None:
    """A script that does not start is refused with 10021 and V8's message; what ran goes on running."""
    with pytest.raises(ProviderError, match=said) as caught:
        await worker.create(declared(Worker, "api", script=script))
    assert (caught.value.code, caught.value.retryable, caught.value.ambiguous) == (10021, False, False)
    assert worker.checkpoints == []
    assert await worker.find(declared(Worker, "api", script=script)) is None
    have = await worker.create(declared(Worker, "api", script=says("good")))
    with pytest.raises(ProviderError):
        await worker.update(declared(Worker, "api", script=script), have)
    assert (await http.get(have.url)).text == "good"


async def test_a_missing_module_is_found_before_the_upload(worker: Hand, declared: Declared, tmp_path: Path) -> None:
    """An import of nothing is an error that names the importer, and nothing is uploaded."""
    (tmp_path / "worker.js").write_text('import "./nothing.js";')
    want = declared(Worker, "api", entrypoint=str(tmp_path / "worker.js"))
    with pytest.raises(DeclarationError, match=r"worker\.js, line 1"):
        await worker.create(want)
    assert await worker.find(want) is None


async def test_a_binding_that_json_cannot_hold_is_named(worker: Hand, declared: Declared) -> None:
    """A secret inside a mapping is refused by the name of its binding, without its value."""
    want = declared(Worker, "api", script=SAYS_ENV, bindings={"CONFIG": {"key": Secret("s3cr3t")}})
    with pytest.raises(DeclarationError, match="'CONFIG'") as caught:
        await worker.create(want)
    assert "s3cr3t" not in str(caught.value)


async def test_no_secret_is_in_the_frames_of_an_error(worker: Hand, declared: Declared) -> None:
    """What a traceback with locals would show of a refused upload does not hold the secret."""
    want = declared(Worker, "api", script="export default {", bindings={"KEY": Secret("s3cr3t")})
    with pytest.raises(ProviderError) as caught:
        await worker.create(want)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]  # the first is this test's
    assert len(frames) > 3
    assert not [frame for frame in frames if "s3cr3t" in repr(frame.f_locals)]
    assert caught.value.__suppress_context__


async def test_workers_dev_can_be_left_out(worker: Hand, declared: Declared, http: httpx.AsyncClient) -> None:
    """Without it there is no url and the Worker does not answer; with it again, it does."""
    have = await worker.create(declared(Worker, "api", script=says("here")))
    hidden = await worker.update(declared(Worker, "api", script=says("here"), workers_dev=False), have)
    assert hidden.url is None
    assert (await worker.read(hidden)).workers_dev is False
    assert (await http.get(have.url)).status_code == 404
    shown = await worker.update(declared(Worker, "api", script=says("here")), hidden)
    assert (await http.get(shown.url)).text == "here"


async def test_a_worker_keeps_the_date_it_was_created_with(
    worker: Hand, declared: Declared, api: Cloudflare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer default of this package does not change a Worker that exists; a declared date does."""

    async def date() -> str | None:
        settings = api.sdk.workers.scripts.script_and_version_settings
        return (await settings.get(worker.name, account_id=api.account_id)).compatibility_date

    have = await worker.create(declared(Worker, "api", script=says("1")))
    assert await date() == COMPATIBILITY_DATE
    monkeypatch.setattr("alchemy.cloudflare.worker.COMPATIBILITY_DATE", "2026-08-01")
    await worker.update(declared(Worker, "api", script=says("2")), have)
    assert await date() == COMPATIBILITY_DATE
    await worker.update(declared(Worker, "api", script=says("2"), compatibility_date="2026-08-02"), have)
    assert await date() == "2026-08-02"


async def test_a_worker_that_others_need_is_not_deleted(
    worker: Hand, hand: Callable[..., Hand], declared: Declared
) -> None:
    """While another Worker is bound to it, deleting it is refused with the reason; afterwards it goes."""
    have = await worker.create(declared(Worker, "api", script=says("api")))
    front = hand(WorkerProvider(), f"{worker.name}-front")
    bound = await front.create(declared(Worker, "front", script=says("front"), bindings={"API": have}))
    with pytest.raises(ProviderError, match="front"):
        await worker.delete(have)
    await front.delete(bound)
    await worker.delete(have)
    assert await worker.read(have) is None
