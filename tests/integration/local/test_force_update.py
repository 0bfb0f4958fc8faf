"""A D1 database that was deleted and made anew by hand, under another id: what a deploy makes of the state of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
from cloudflare import AsyncCloudflare

from alchemy import Context, alchemy, config
from alchemy.cloudflare import D1Database, KVNamespace, _migrations  # noqa: F401 - at once: not deep in a coroutine
from alchemy.cloudflare.d1_database import D1DatabaseProvider
from alchemy.config import Launch
from alchemy.errors import ProviderError
from alchemy.events import Event, Notice
from alchemy.local import LocalCloudflare, environment
from alchemy.secret import Secret
from alchemy.stores import CloudflareStateStore, service
from alchemy.stores._cloudflare import ServiceBackend
from alchemy.testing.contract import an_owner

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]
TOKEN = "a-token-of-tests"
APP = "filepath"
Hint = Literal["weur", "eeur"]


@pytest.fixture(autouse=True)
def _environment(cloud: LocalCloudflare, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**environment(cloud), "ALCHEMY_STATE_TOKEN": TOKEN}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let deleting, and updating, what is gone be a failure."""

    def failing(verb: str) -> Callable[..., Any]:
        async def handle(self: D1DatabaseProvider, ctx: Context[D1Database], *given: D1Database) -> D1Database | None:
            if await self.read(ctx, given[-1]) is None:
                id = given[-1].database_id
                raise ProviderError(f'Failed to {verb} D1 database "{id}" (404 Not Found)')
            made: D1Database | None = await handlers[verb](self, ctx, *given)
            return made

        return handle

    handlers: dict[str, Any] = {"delete": D1DatabaseProvider.delete, "update": D1DatabaseProvider.update}
    for verb in handlers:
        monkeypatch.setattr(D1DatabaseProvider, verb, failing(verb))


def store(*, force_update: bool = False) -> CloudflareStateStore:
    """Give the store of these tests."""
    return CloudflareStateStore(script_name="state-force", force_update=force_update)


async def deploy(
    stage: str = "prod", *, name: str | None = None, hint: Hint | None = None, there: bool = True, force: bool = False
) -> list[str]:
    """Deploy the application: a scope beside, and one with the database, whose store may be told to begin anew."""
    events: list[Event] = []
    token = config.launch.set(Launch(listeners=(events.append,)))
    try:
        async with alchemy(APP, stage=stage, state_store=store(), retry_delay=0.001):
            async with alchemy.run("filepath-web"):
                await KVNamespace("sessions")
            async with alchemy.run("filepath-db", state_store=store(force_update=force)):
                if there:
                    await D1Database("db", name=name, primary_location_hint=hint)
    finally:
        config.launch.reset(token)
    return [event.message for event in events if isinstance(event, Notice)]


async def rows(stage: str = "prod") -> dict[str, bytes]:
    """Give what is stored of a stage, as it is."""
    backend = ServiceBackend(None, Secret(TOKEN), "state-force")
    await backend.open()
    try:
        return dict(await backend.load(f"{APP}/{stage}"))
    finally:
        await backend.close()


async def database_of(stage: str = "prod") -> str:
    """Give the id that state has."""
    opened = store()
    await opened.init()
    record = await opened.get(f"{APP}/{stage}/filepath-db/db")
    await opened.deinit()
    assert record is not None
    id: str = record.output["database_id"]
    return id


async def by_hand(client: AsyncCloudflare, cloud: LocalCloudflare, id: str) -> str:
    """Delete a database, and make one of the same name; give its id."""
    found = await client.d1.database.get(id, account_id=cloud.account_id)
    await client.d1.database.delete(id, account_id=cloud.account_id)
    made = await client.d1.database.create(account_id=cloud.account_id, name=found.name or "")
    assert made.uuid is not None
    assert made.uuid != id
    return made.uuid


async def databases(client: AsyncCloudflare, cloud: LocalCloudflare) -> list[str | None]:
    """List the ids of those that there are."""
    return [found.uuid async for found in client.d1.database.list(account_id=cloud.account_id)]


@pytest.mark.parametrize("name", ["filepath-db", None])
async def test_a_provider_that_fails_on_what_is_gone(
    client: AsyncCloudflare, cloud: LocalCloudflare, strict: None, name: str | None
) -> None:
    """No deploy gets past it, and with `force_update` one does: that one scope is reset, and no other."""
    prod, dev = ("prod", "dev") if name else ("prod2", "dev2")
    await deploy(dev)
    await deploy(prod, name=name)
    old = await database_of(prod)
    new = await by_hand(client, cloud, old)
    for _ in range(2):
        with pytest.raises(ExceptionGroup, match="could not be destroyed") as caught:
            await deploy(prod, there=False)
        assert f'Failed to delete D1 database "{old}" (404 Not Found)' in str(caught.value.exceptions[0])
    before, beside = await rows(prod), await rows(dev)
    said = await deploy(prod, name=name, force=True)
    scope = f"{APP}/{prod}/filepath-db"
    assert f"[CloudflareStateStore] forceUpdate enabled - clearing state for scope {scope}" in said
    assert "[CloudflareStateStore] the state service state-force was uploaded again" in said
    assert said[-1] == "[CloudflareStateStore] State cleared successfully"
    assert await database_of(prod) == new
    after = await rows(prod)
    changed = {fqn for fqn in after.keys() | before.keys() if after.get(fqn) != before.get(fqn)}
    assert changed == {f"{APP}/{prod}", scope, f"{scope}/db"}
    assert await rows(dev) == beside
    assert await deploy(prod, name=name) == []
    assert old not in await databases(client, cloud)
    await client.d1.database.delete(new, account_id=cloud.account_id)


@pytest.mark.parametrize("change", ["gone from the program", "replaced", "unchanged"])
async def test_our_own(client: AsyncCloudflare, cloud: LocalCloudflare, change: str) -> None:
    """Deleting what is gone on the same account is success: the failure does not occur at all."""
    stage = change.partition(" ")[0]
    await deploy(stage, hint="weur")
    old = await database_of(stage)
    await by_hand(client, cloud, old)
    there = change != "gone from the program"
    hint: Hint = "eeur" if change == "replaced" else "weur"
    await deploy(stage, there=there, hint=hint)
    assert await deploy(stage, there=there, hint=hint) == []
    known = await rows(stage)
    assert (f"{APP}/{stage}/filepath-db/db" in known) is there
    assert old not in await databases(client, cloud)


async def test_a_current_service_is_uploaded_again(client: AsyncCloudflare, cloud: LocalCloudflare) -> None:
    """Also when its tag says that it is current, and with its data; a newer one stays, which is said."""
    opened = CloudflareStateStore(script_name="state-again")
    await opened.init()
    lease = await opened.acquire("notes/prod", owner=an_owner(), timeout=0)
    scripts = client.workers.scripts
    before = await scripts.script_and_version_settings.get("state-again", account_id=cloud.account_id)
    etag = {script.id: script.modified_on async for script in scripts.list(account_id=cloud.account_id)}
    assert await opened.redeploy() == ["the state service state-again was uploaded again"]
    after = await scripts.script_and_version_settings.get("state-again", account_id=cloud.account_id)
    assert after.tags == before.tags
    later = {script.id: script.modified_on async for script in scripts.list(account_id=cloud.account_id)}
    assert later["state-again"] != etag["state-again"]
    assert [held.token for held in await opened.locks()] == [lease.token]
    tags = [f"alchemy-state-service:{service.version() + 1}:0"]
    await scripts.settings.edit("state-again", account_id=cloud.account_id, tags=tags)
    said = await opened.redeploy()
    assert "newer than this library's" in said[0]
    kept = await scripts.script_and_version_settings.get("state-again", account_id=cloud.account_id)
    assert kept.tags == tags
    await opened.release(lease)
    await opened.deinit()
