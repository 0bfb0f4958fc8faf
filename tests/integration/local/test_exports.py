"""Durable Object classes by declaration: what an upload's `exports` do, and what is refused, as Cloudflare says it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import cloudflare
import httpx
import pytest
from cloudflare import AsyncCloudflare

from alchemy.local import LocalCloudflare, local_cloudflare

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]

Deploy = Callable[..., Awaitable[str]]
Exports = dict[str, dict[str, str]]

_COUNTER = """export class NAME extends DurableObject {
  async fetch() {
    const n = 1 + (await this.ctx.storage.get("n") ?? 0);
    await this.ctx.storage.put("n", n);
    return new Response(String(n));
  }
}
"""
_ASKS = 'export default { fetch: (request, env) => env.COUNTER.get(env.COUNTER.idFromName("a")).fetch(request) };'


def script(*names: str) -> str:
    """Give a script that exports these classes."""
    return 'import { DurableObject } from "cloudflare:workers";\n' + "".join(
        [*(_COUNTER.replace("NAME", name) for name in names), _ASKS]
    )


def to(class_name: str, **more: str) -> dict[str, Any]:
    """Give the metadata's bindings: one to a class."""
    return {"bindings": [{"type": "durable_object_namespace", "name": "COUNTER", "class_name": class_name, **more}]}


def live(*names: str) -> Exports:
    """Give entries of classes that are to be there."""
    return {name: {"type": "durable-object", "storage": "sqlite"} for name in names}


def entry(name: str, state: str, **more: str) -> Exports:
    """Give the entry of a class that is to become something else."""
    return {name: {"type": "durable-object", "state": state, **more}}


def from_(source: str) -> dict[str, str]:
    """Give what an entry has that waits for a class of `source`."""
    return {"storage": "sqlite", "transfer_from": source}


async def namespaces(client: AsyncCloudflare, info: LocalCloudflare, script: str) -> dict[str, str]:
    """Give the ids of a script's namespaces by class."""
    found = client.durable_objects.namespaces.list(account_id=info.account_id)
    return {each.class_: each.id async for each in found if each.script == script and each.class_ and each.id}


async def test_a_class_is_made_renamed_and_deleted(
    tmp_path: Path, connect: Callable[[LocalCloudflare], AsyncCloudflare], deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """Over restarts: its namespace and its data stay until it is deleted; one made again begins empty."""
    async with local_cloudflare(tmp_path) as info, connect(info) as client:
        url = await deploy(client, info, "lives", script("Room"), **to("Room"), exports=live("Room"))
        assert (await http.get(url)).text == "1"
        before = await namespaces(client, info, "lives")
        gone = entry("Room", "renamed", renamed_to="Lobby")
        url = await deploy(client, info, "lives", script("Lobby"), **to("Lobby"), exports=live("Lobby") | gone)
        assert (await http.get(url)).text == "2"
    async with local_cloudflare(tmp_path) as info, connect(info) as client:
        assert await namespaces(client, info, "lives") == {"Lobby": before["Room"]}
        assert (await http.get(url)).text == "3"
        folder = info.data_dir / "storage" / "do" / before["Room"]
        assert folder.is_dir()
        await deploy(client, info, "lives", script(), exports=entry("Lobby", "deleted"))
        assert await namespaces(client, info, "lives") == {}
        assert not folder.exists()
        url = await deploy(client, info, "lives", script("Lobby"), **to("Lobby"), exports=live("Lobby"))
        assert (await http.get(url)).text == "1"


async def test_a_class_is_handed_over(
    tmp_path: Path, connect: Callable[[LocalCloudflare], AsyncCloudflare], deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """The one that takes it says so first, also over a restart; bindings of third Workers follow without an upload."""
    async with local_cloudflare(tmp_path) as info, connect(info) as client:
        await deploy(client, info, "gives", script("Room"), **to("Room"), exports=live("Room"))
        third = await deploy(client, info, "uses", script(), **to("Room", script_name="gives"))
        assert (await http.get(third)).text == "1"
        before = await namespaces(client, info, "gives")
        waits = entry("Room", "expecting-transfer", **from_("gives"))
        await deploy(client, info, "takes", script("Room"), exports=waits)
        await deploy(client, info, "takes", script("Room"), exports=waits)
        assert (await http.get(third)).text == "2"
    async with local_cloudflare(tmp_path) as info, connect(info) as client:
        settings = client.workers.scripts.script_and_version_settings
        given = entry("Room", "transferred", transferred_to="takes")
        await settings.edit(
            "gives", account_id=info.account_id, settings=cast("Any", {"bindings": [], "exports": given})
        )
        assert await namespaces(client, info, "gives") == {}
        assert await namespaces(client, info, "takes") == before
        url = await deploy(client, info, "takes", script("Room"), **to("Room"), exports=live("Room"))
        assert [(await http.get(each)).text for each in (url, third)] == ["3", "4"]
        await client.workers.scripts.delete("gives", account_id=info.account_id)


async def test_what_happened_is_told(client: AsyncCloudflare, cloud: LocalCloudflare) -> None:
    """The answer to an upload says what was made, renamed, deleted, and which entries have no effect any more."""

    async def put(source: str, exports: Exports) -> dict[str, Any]:
        made = await client.workers.scripts.update(
            "told",
            account_id=cloud.account_id,
            metadata=cast("Any", {"main_module": "index.js", "exports": exports}),
            files=[("index.js", source.encode(), "application/javascript+module")],
        )
        return cast("dict[str, Any]", made.model_dump()["exports_reconciliation"])

    assert (await put(script("A", "B"), live("A", "B")))["created"] == ["A", "B"]
    renamed = live("C") | entry("A", "renamed", renamed_to="C") | entry("B", "deleted")
    told = await put(script("C"), renamed)
    assert (told["renamed"], told["deleted"], told["created"]) == ([{"from": "A", "to": "C"}], ["B"], [])
    again = await put(script("C"), renamed)
    assert (again["renamed"], again["deleted"], sorted(again["removable_entries"])) == ([], [], ["A", "B"])


REFUSED = [
    ("orphaned_provisioned_namespace", script("Room"), {}),
    ("orphaned_provisioned_namespace", script("Room", "Hall"), live("Hall")),
    ("config_export_not_in_code", script(), live("Room")),
    ("config_references_nonexistent_class", script("Room"), live("Room", "Hall")),
    ("tombstone_delete_blocked_by_external_bindings", script(), entry("Room", "deleted")),
    ("invalid_export", script("Room"), live("Room") | {"Hall": {"type": "durable-object"}}),
    ("invalid_export", script("Room"), live("Room") | {"Hall": {"type": "something"}}),
    ("invalid_export", script("Room"), live("Room") | entry("Hall", "sold")),
    ("invalid_export", script("Room"), live("Room") | entry("Hall", "deleted", storage="sqlite")),
    ("invalid_export", script("Room", "Hall"), live("Room") | entry("Hall", "created", storage="legacy-kv")),
    ("invalid_export", script("Hall"), entry("Room", "renamed", renamed_to="Hall")),
    ("invalid_export", script("Room"), live("Room") | entry("Hall", "renamed", renamed_to="Hall")),
    ("transferred_target_missing", script(), entry("Room", "transferred", transferred_to="nobody")),
    ("transferred_pending_not_found", script(), entry("Room", "transferred", transferred_to="bound")),
    (
        "phase_one_transfer_target_class_provisioned",
        script("Room"),
        entry("Room", "expecting-transfer", **from_("bound")),
    ),
    (
        "phase_one_transfer_source_missing",
        script("Room", "Hall"),
        live("Room") | entry("Hall", "expecting-transfer", **from_("nobody")),
    ),
    (
        "phase_one_transfer_source_namespace_missing",
        script("Room", "Hall"),
        live("Room") | entry("Hall", "expecting-transfer", **from_("bound")),
    ),
]


@pytest.mark.parametrize(("scenario", "source", "exports"), REFUSED)
async def test_what_cannot_be_reconciled_is_refused(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, scenario: str, source: str, exports: Exports
) -> None:
    """Code 100402 names the case, and nothing is changed: not the classes, and not what answers."""
    await deploy(client, cloud, "refuses", script("Room"), **to("Room"), exports=live("Room"))
    await deploy(client, cloud, "bound", script(), **to("Room", script_name="refuses"))
    before = await namespaces(client, cloud, "refuses")
    with pytest.raises(cloudflare.BadRequestError) as refused:
        await deploy(client, cloud, "refuses", source, exports=exports)
    (error,) = cast("dict[str, Any]", refused.value.body)["errors"]
    assert error["code"] == 100402
    assert [each["scenario"] for each in error["meta"]["details"]] == [scenario]
    assert await namespaces(client, cloud, "refuses") == before


async def test_a_class_that_is_deleted_may_not_be_in_the_code(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy
) -> None:
    """It would be there again with the next upload."""
    await deploy(client, cloud, "keeps", script("Room"), exports=live("Room"))
    with pytest.raises(cloudflare.BadRequestError) as refused:
        await deploy(client, cloud, "keeps", script("Room"), exports=entry("Room", "deleted"))
    (error,) = cast("dict[str, Any]", refused.value.body)["errors"]
    assert [each["scenario"] for each in error["meta"]["details"]] == ["tombstone_delete_class_still_in_code"]
    assert len(await namespaces(client, cloud, "keeps")) == 1


async def test_all_that_is_wrong_is_told_at_once(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy
) -> None:
    """A rename to a class that is there, and one that nobody declares."""
    await deploy(client, cloud, "wrong", script("A", "B", "C"), exports=live("A", "B", "C"))
    with pytest.raises(cloudflare.BadRequestError) as refused:
        await deploy(client, cloud, "wrong", script("B"), exports=live("B") | entry("A", "renamed", renamed_to="B"))
    (error,) = cast("dict[str, Any]", refused.value.body)["errors"]
    found = {each["scenario"] for each in error["meta"]["details"]}
    assert found == {"orphaned_provisioned_namespace", "tombstone_renamed_to_occupied"}


async def test_the_two_forms_exclude_each_other(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """Migrations may be followed by exports, with the data; not the other way round, and never both at once."""
    new = {"new_tag": "v1", "new_sqlite_classes": ["Room"]}
    url = await deploy(client, cloud, "forms", script("Room"), **to("Room"), migrations=new)
    assert (await http.get(url)).text == "1"
    with pytest.raises(cloudflare.BadRequestError) as refused:
        await deploy(client, cloud, "forms", script("Room"), exports=live("Room"), migrations=new)
    assert refused.value.errors[0].code == 100406
    url = await deploy(client, cloud, "forms", script("Room"), **to("Room"), exports=live("Room"))
    assert (await http.get(url)).text == "2"
    with pytest.raises(cloudflare.BadRequestError) as refused:
        await deploy(client, cloud, "forms", script(), migrations={"deleted_classes": ["Room"]})
    assert refused.value.errors[0].code == 100405


async def test_a_class_that_is_only_expected(client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy) -> None:
    """Nothing can be bound to it; who does not expect it any more does not get it."""
    await deploy(client, cloud, "owns", script("Room"), exports=live("Room"))
    waits = entry("Room", "expecting-transfer", **from_("owns"))
    with pytest.raises(cloudflare.BadRequestError) as refused:
        await deploy(client, cloud, "hopes", script("Room"), **to("Room"), exports=waits)
    assert refused.value.errors[0].code == 10061
    await deploy(client, cloud, "hopes", script("Room"), exports=waits)
    await deploy(client, cloud, "hopes", script(), exports={})
    with pytest.raises(cloudflare.BadRequestError) as refused:
        await deploy(client, cloud, "owns", script(), exports=entry("Room", "transferred", transferred_to="hopes"))
    assert refused.value.errors[0].code == 100402


async def test_code_that_drops_a_class(client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy) -> None:
    """Without exports it is 10064, and a class that others are bound to is not deleted by a migration."""
    new = {"new_tag": "v1", "new_sqlite_classes": ["Room"]}
    await deploy(client, cloud, "drops", script("Room"), migrations=new)
    with pytest.raises(cloudflare.BadRequestError) as refused:
        await deploy(client, cloud, "drops", script())
    assert refused.value.errors[0].code == 10064
    await deploy(client, cloud, "still-bound", script(), **to("Room", script_name="drops"))
    with pytest.raises(cloudflare.BadRequestError) as refused:
        await deploy(client, cloud, "drops", script(), migrations={"deleted_classes": ["Room"]})
    assert refused.value.errors[0].code == 10061


async def test_a_migration_takes_a_class_over(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """In one upload, under another name, with its data."""
    new = {"new_tag": "v1", "new_sqlite_classes": ["Room"]}
    url = await deploy(client, cloud, "loses", script("Room"), **to("Room"), migrations=new)
    assert (await http.get(url)).text == "1"
    before = await namespaces(client, cloud, "loses")
    taken = {"new_tag": "v1", "transferred_classes": [{"from": "Room", "from_script": "loses", "to": "Hall"}]}
    url = await deploy(client, cloud, "gains", script("Hall"), **to("Hall"), migrations=taken)
    assert (await http.get(url)).text == "2"
    assert await namespaces(client, cloud, "gains") == {"Hall": before["Room"]}
    assert await namespaces(client, cloud, "loses") == {}
