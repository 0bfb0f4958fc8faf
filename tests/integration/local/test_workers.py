"""Worker scripts through the official SDK, and what they answer over HTTP."""

from __future__ import annotations

import os
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import cloudflare
import httpx
import pytest
from cloudflare import AsyncCloudflare
from cloudflare.types.workers import ScriptListResponse

from alchemy.local import NEWEST_COMPATIBILITY_DATE, LocalCloudflare

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]

Deploy = Callable[..., Awaitable[str]]

HELLO = "export default { fetch: () => new Response('hello') }"
ALL = """
import { shout } from "./lib/shout.js";
import text from "./text.txt";
import data from "./data.bin";
import config from "./config.json";
import module from "./add.wasm";
export default {
  async fetch(request, env) {
    await env.DB.exec("CREATE TABLE IF NOT EXISTS t (a TEXT)");
    await env.DB.batch([env.DB.prepare("INSERT INTO t VALUES (?)").bind("row")]);
    await env.KV.put("key", "value", { metadata: { m: 1 } });
    await env.R2.put("object", "content");
    const { exports } = await WebAssembly.instantiate(module);
    return Response.json({
      rows: (await env.DB.prepare("SELECT a FROM t").all()).results,
      kv: await env.KV.getWithMetadata("key"),
      r2: await (await env.R2.get("object")).text(),
      other: await (await env.OTHER.fetch("http://other/")).text(),
      text: env.TEXT, json: env.JSON, secret: env.SECRET,
      modules: [shout("hi"), text, data.byteLength, config.a, exports.add(2, 3)],
    });
  },
};
"""
ADD_WASM = bytes.fromhex("0061736d0100000001070160027f7f017f030201000707010361646400000a09010700200020016a0b")


async def test_a_worker_has_all_its_bindings_and_modules(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """D1, KV, R2, service, text, JSON and secret; modules in subfolders, text, data, JSON and WebAssembly."""
    account = cloud.account_id
    database = await client.d1.database.create(account_id=account, name="all")
    namespace = await client.kv.namespaces.create(account_id=account, title="all")
    assert namespace is not None
    await client.r2.buckets.create(account_id=account, name="all")
    await deploy(client, cloud, "other", HELLO)
    url = await deploy(
        client,
        cloud,
        "all",
        ALL,
        modules=[
            ("lib/shout.js", b"export const shout = (s) => s.toUpperCase();", "application/javascript+module"),
            ("text.txt", "tëxt".encode(), "text/plain"),
            ("data.bin", b"\x00\xff", "application/octet-stream"),
            ("config.json", b'{"a": 1}', "application/json"),
            ("add.wasm", ADD_WASM, "application/wasm"),
        ],
        bindings=[
            {"type": "d1", "name": "DB", "id": database.uuid},
            {"type": "kv_namespace", "name": "KV", "namespace_id": namespace.id},
            {"type": "r2_bucket", "name": "R2", "bucket_name": "all"},
            {"type": "service", "name": "OTHER", "service": "other"},
            {"type": "plain_text", "name": "TEXT", "text": 'quote " \\ \n\t\x01 ü'},
            {"type": "json", "name": "JSON", "json": {"deep": [1, None, "x"]}},
            {"type": "secret_text", "name": "SECRET", "text": "s3cret"},
        ],
    )
    answer = await http.get(url)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "rows": [{"a": "row"}],
        "kv": {"value": "value", "metadata": {"m": 1}, "cacheStatus": None},
        "r2": "content",
        "other": "hello",
        "text": 'quote " \\ \n\t\x01 ü',
        "json": {"deep": [1, None, "x"]},
        "secret": "s3cret",
        "modules": ["HI", "tëxt", 2, 1, 5],
    }
    # The API sees what the Worker wrote.
    assert database.uuid
    rows = client.d1.database.query(database.uuid, account_id=account, sql="SELECT a FROM t")
    assert [answer.results async for answer in rows] == [[{"a": "row"}]]
    value = await client.kv.namespaces.values.get("key", account_id=account, namespace_id=namespace.id)
    assert await value.read() == b"value"
    content = await client.r2.buckets.objects.get("object", account_id=account, bucket_name="all")
    assert await content.read() == b"content"


async def test_a_worker_is_reached_by_name(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """NAME.localhost on the entry port leads to the Worker, another name to nothing."""
    await deploy(client, cloud, "by-name", "export default { fetch: (r) => new Response(r.url) }")
    entry = f"http://127.0.0.1:{cloud.entry_port}/path?q=1"
    answer = await http.get(entry, headers={"host": f"by-name.localhost:{cloud.entry_port}"})
    assert answer.text == f"http://by-name.localhost:{cloud.entry_port}/path?q=1"
    for host in (f"nobody.localhost:{cloud.entry_port}", "by-name.example", "toString.localhost"):
        assert (await http.get(entry, headers={"host": host})).status_code == 404


async def test_a_worker_is_changed_listed_and_deleted(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """A second upload keeps address, tag and creation time; a deleted Worker answers nowhere, and the API 10007."""
    account = cloud.account_id
    scripts = client.workers.scripts
    url = await deploy(client, cloud, "life", HELLO)
    before = await described(client, cloud, "life")
    assert await deploy(client, cloud, "life", HELLO.replace("hello", "changed")) == url
    after = await described(client, cloud, "life")
    assert (await http.get(url)).text == "changed"
    assert (after.created_on, after.model_extra) == (before.created_on, before.model_extra)
    assert after.etag != before.etag
    assert "changed" in await scripts.get("life", account_id=account)
    await scripts.delete("life", account_id=account)
    with pytest.raises(cloudflare.NotFoundError) as gone:
        await scripts.script_and_version_settings.get("life", account_id=account)
    assert gone.value.errors[0].code == 10007
    with pytest.raises(httpx.ConnectError):
        await http.get(url)


async def described(client: AsyncCloudflare, cloud: LocalCloudflare, name: str) -> ScriptListResponse:
    """Return what the list of scripts says about one."""
    async for each in client.workers.scripts.list(account_id=cloud.account_id):
        if each.id == name:
            return each
    raise LookupError(name)


async def test_an_address_can_be_switched_off(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """A disabled Worker answers 404 on both its addresses and has no local_url, until it is enabled again."""
    account = cloud.account_id
    url = await deploy(client, cloud, "switch", HELLO)
    off = await client.workers.scripts.subdomain.create(
        "switch", account_id=account, enabled=False, previews_enabled=False
    )
    assert (off.enabled, (off.model_extra or {})["local_url"]) == (False, None)
    entry, host = f"http://127.0.0.1:{cloud.entry_port}/", f"switch.localhost:{cloud.entry_port}"
    assert (await http.get(url)).status_code == 404
    assert (await http.get(entry, headers={"host": host})).status_code == 404
    await client.workers.scripts.subdomain.create("switch", account_id=account, enabled=True, previews_enabled=False)
    assert (await http.get(url)).text == "hello"


async def test_secrets_are_set_listed_and_kept(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """A secret set by itself reaches the Worker, is never shown, survives an upload that keeps it, and is deleted."""
    account = cloud.account_id
    secrets = client.workers.scripts.secrets
    source = "export default { fetch: (r, env) => new Response(env.S ?? 'none') }"
    url = await deploy(client, cloud, "secrets", source)
    await secrets.update("secrets", account_id=account, name="S", text="one", type="secret_text")
    assert (await http.get(url)).text == "one"
    await deploy(client, cloud, "secrets", source, keep_bindings=["secret_text"])
    assert (await http.get(url)).text == "one"
    settings = await client.workers.scripts.script_and_version_settings.get("secrets", account_id=account)
    assert "one" not in settings.to_json()
    assert [(each.name, each.type) async for each in secrets.list("secrets", account_id=account)] == [
        ("S", "secret_text")
    ]
    await secrets.delete("S", account_id=account, script_name="secrets")
    assert (await http.get(url)).text == "none"


async def test_no_secret_is_readable_by_others(client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy) -> None:
    """Its value is in files for the owner only, not in workerd's configuration nor on a command line."""
    value = f"never-{uuid.uuid4()}"
    binding = {"type": "secret_text", "name": "S", "text": value}
    await deploy(client, cloud, "hidden", HELLO, bindings=[binding])
    assert cloud.data_dir.stat().st_mode & 0o777 == 0o700
    holding = [path for path in cloud.data_dir.rglob("*") if path.is_file() and value.encode() in path.read_bytes()]
    assert holding
    assert {path.name.partition("-")[0] for path in holding} == {"metadata.sqlite"}
    assert {path.stat().st_mode & 0o077 for path in holding} == {0}
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert value.encode() not in command.read_bytes() or int(command.parent.name) == os.getpid()
        except OSError:  # it ended meanwhile
            continue


async def test_settings_are_shown_and_changed(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """Settings come back as uploaded; a change of bindings inherits those it does not spell out."""
    account = cloud.account_id
    settings = client.workers.scripts.script_and_version_settings
    source = "export default { fetch: (r, env) => Response.json([env.A, env.S]) }"
    url = await deploy(
        client,
        cloud,
        "settings",
        source,
        tags=["x"],
        compatibility_flags=["nodejs_compat"],
        bindings=[
            {"type": "plain_text", "name": "A", "text": "1"},
            {"type": "secret_text", "name": "S", "text": "2"},
        ],
    )
    shown = await settings.get("settings", account_id=account)
    assert (shown.compatibility_date, shown.compatibility_flags, shown.tags) == (
        "2026-07-01",
        ["nodejs_compat"],
        ["x"],
    )
    await settings.edit(
        "settings",
        account_id=account,
        settings={"bindings": [{"type": "plain_text", "name": "A", "text": "3"}, {"type": "inherit", "name": "S"}]},
    )
    assert (await http.get(url)).json() == ["3", "2"]
    assert (await settings.get("settings", account_id=account)).tags == ["x"]


MISSING = [
    ({"type": "d1", "id": "00000000-0000-4000-8000-000000000000"}, 10181),
    ({"type": "kv_namespace", "namespace_id": "0" * 32}, 10041),
    ({"type": "r2_bucket", "bucket_name": "none"}, 10085),
    ({"type": "service", "service": "none"}, 10144),
    ({"type": "inherit"}, 10057),
    ({"type": "queue", "queue_name": "q"}, 10021),
    ({"type": "plain_text"}, 10021),
    ({"type": "secret_text", "text": "x" * 6000}, 10021),
    ({"type": "d1"}, 10021),
]


@pytest.mark.parametrize(("binding", "code"), MISSING)
async def test_a_binding_must_lead_somewhere(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, binding: dict[str, str], code: int
) -> None:
    """What a Worker is bound to must exist and be understood; nothing is uploaded otherwise."""
    with pytest.raises(cloudflare.BadRequestError) as refused:
        await deploy(client, cloud, "unbound", HELLO, bindings=[{"name": "B", **binding}])
    assert refused.value.errors[0].code == code
    names = [each.id async for each in client.workers.scripts.list(account_id=cloud.account_id)]
    assert "unbound" not in names


async def test_a_deleted_resource_is_missed(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """A Worker whose database, namespace or bucket was deleted gets an exception, not a new empty one."""
    account = cloud.account_id
    database = await client.d1.database.create(account_id=account, name="soon-gone")
    namespace = await client.kv.namespaces.create(account_id=account, title="soon-gone")
    assert namespace is not None
    await client.r2.buckets.create(account_id=account, name="soon-gone")
    source = """
        const tell = (promise) => promise.then((value) => `got ${value}`, () => "refused");
        export default { fetch: async (r, env) => Response.json([
          await tell(env.DB.prepare("SELECT 1").first()), await tell(env.KV.get("k")), await tell(env.R2.get("k")),
        ]) }"""
    url = await deploy(
        client,
        cloud,
        "misses",
        source,
        bindings=[
            {"type": "d1", "name": "DB", "id": database.uuid},
            {"type": "kv_namespace", "name": "KV", "namespace_id": namespace.id},
            {"type": "r2_bucket", "name": "R2", "bucket_name": "soon-gone"},
        ],
    )
    assert (await http.get(url)).json() == ["got [object Object]", "got null", "got null"]
    assert database.uuid
    await client.d1.database.delete(database.uuid, account_id=account)
    await client.kv.namespaces.delete(namespace.id, account_id=account)
    await client.r2.buckets.delete("soon-gone", account_id=account)
    assert (await http.get(url)).json() == ["refused", "refused", "refused"]


async def test_a_worker_that_others_need_stays(client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy) -> None:
    """10064 while another Worker is bound to it; `force` takes the binding away too."""
    account = cloud.account_id
    await deploy(client, cloud, "needed", HELLO)
    await deploy(client, cloud, "needing", HELLO, bindings=[{"type": "service", "name": "N", "service": "needed"}])
    with pytest.raises(cloudflare.BadRequestError) as refused:
        await client.workers.scripts.delete("needed", account_id=account)
    assert refused.value.errors[0].code == 10064
    await client.workers.scripts.delete("needed", account_id=account, force=True)
    settings = await client.workers.scripts.script_and_version_settings.get("needing", account_id=account)
    assert settings.bindings == []


BAD = {
    "syntax error": ("export default {", "SyntaxError"),
    "throw at top level": ("throw new Error('no luck')", "no luck"),
    "missing module": ('import "./none.js"; export default {}', "none.js"),
    "endless loop": ("while (true) {}", "CPU"),
    "not a handler": ("export default 5", "default"),
}


@pytest.mark.parametrize(("source", "says"), BAD.values(), ids=BAD.keys())
async def test_a_bad_script_is_refused_and_the_old_one_serves(
    client: AsyncCloudflare,
    cloud: LocalCloudflare,
    deploy: Deploy,
    http: httpx.AsyncClient,
    source: str,
    says: str,
) -> None:
    """10021 with the engine's own words, and nothing has changed."""
    url = await deploy(client, cloud, "good", HELLO)
    with pytest.raises(cloudflare.BadRequestError) as refused:
        await deploy(client, cloud, "good", source)
    assert refused.value.errors[0].code == 10021
    assert says in str(refused.value.errors[0].message)
    assert (await http.get(url)).text == "hello"


@pytest.mark.parametrize(
    "metadata",
    [
        {"compatibility_date": "2099-01-01"},
        {"compatibility_date": "yesterday"},
        {"compatibility_flags": ["no_such_flag"]},
        {"main_module": "other.js"},
    ],
    ids=str,
)
async def test_bad_metadata_is_refused(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, metadata: dict[str, object]
) -> None:
    """A date in the future, an unknown flag, a main module that was not sent, what is not here: 10021."""
    with pytest.raises(cloudflare.BadRequestError) as refused:
        await deploy(client, cloud, "bad-metadata", HELLO, **metadata)
    assert refused.value.errors[0].code == 10021


async def test_the_newest_compatibility_date_is_what_it_says(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """The date that the package names is accepted, the day after is not."""
    url = await deploy(client, cloud, "newest", HELLO, compatibility_date=NEWEST_COMPATIBILITY_DATE)
    assert (await http.get(url)).text == "hello"
    day = int(NEWEST_COMPATIBILITY_DATE[-2:]) + 1
    with pytest.raises(cloudflare.BadRequestError):
        await deploy(client, cloud, "newest", HELLO, compatibility_date=f"{NEWEST_COMPATIBILITY_DATE[:-2]}{day:02}")


@pytest.mark.parametrize("name", ["Upper", "-dash", "with space", "dot.dot"])
async def test_a_bad_name_is_refused(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, name: str
) -> None:
    """10016 for a name that Cloudflare would refuse."""
    with pytest.raises(cloudflare.BadRequestError) as refused:
        await deploy(client, cloud, name, HELLO)
    assert refused.value.errors[0].code == 10016
