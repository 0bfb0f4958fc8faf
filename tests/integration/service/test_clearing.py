"""Clearing a scope on the state service: under a lease, in one commit with what is written; and by `force_update`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.integration.service.clients import TOKEN, Client, Open

from alchemy import alchemy, config
from alchemy.config import Launch
from alchemy.errors import ConfigurationError, LeaseLost, StateError
from alchemy.events import Event, Notice, ResourceFinished
from alchemy.stores import CloudflareStateStore, open_store, service
from alchemy.testing.cloud import Cloud, use
from alchemy.testing.contract import UNIT, a_resource, an_owner
from alchemy.testing.kinds import Thing

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]
ROWS = {f"{UNIT}/{name}": "{}" for name in ("a", "b/c", "b/d", "bc")}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALCHEMY_STATE_TOKEN", TOKEN)
    use(Cloud())


async def test_it_is_one_commit(shared: Client) -> None:
    """What lies in the chain goes and what is given comes; asked again, also late, it changes nothing."""
    unit = "clear/prod"
    lease = await shared.take(unit, "n")
    rows = {fqn.replace(UNIT, unit): row for fqn, row in ROWS.items()}
    await shared("commit", lease, {"number": 1, "clear": None, "drops": [], "puts": rows}, chain=unit)
    clearing = {"number": 2, "clear": f"{unit}/b", "drops": [], "puts": {unit: '{"n":1}', f"{unit}/b/c": '{"n":2}'}}
    for _ in range(2):
        await shared("clearScope", lease, clearing, chain=unit)
        expected = {unit: '{"n":1}', f"{unit}/a": "{}", f"{unit}/b/c": '{"n":2}', f"{unit}/bc": "{}"}
        assert await shared.load(unit) == expected
    await shared("commit", lease, {"number": 3, "clear": None, "drops": [], "puts": {f"{unit}/b/d": "{}"}}, chain=unit)
    await shared("clearScope", lease, clearing, chain=unit)
    assert f"{unit}/b/d" in await shared.load(unit)


async def test_only_under_the_lease_that_is_held(shared: Client) -> None:
    """With one that was lost nothing goes; without one it is Alchemy for TypeScript, and waits for who has one."""
    unit = "stale/prod"
    lease = await shared.take(unit, "n")
    await shared("commit", lease, {"number": 1, "clear": None, "drops": [], "puts": {f"{unit}/a": "{}"}}, chain=unit)
    assert (await shared.refused("clearScope", chain=unit))["status"] == 409
    clearing: dict[str, Any] = {"number": 1, "clear": unit, "drops": [], "puts": {}}
    stale = {**lease, "token": lease["token"] - 1}
    assert (await shared.refused("clearScope", stale, clearing, chain=unit))["code"] == "lease_lost"
    outside = {**clearing, "number": 2, "clear": "stale"}
    assert (await shared.refused("clearScope", lease, outside, chain=unit))["status"] == 400
    assert list(await shared.load(unit)) == [f"{unit}/a"]


async def test_a_store_asks_whether_it_can_be_cleared(shared: Client) -> None:
    """Asking changes nothing, and who has lost the lease hears of that."""
    store = CloudflareStateStore(shared.service.url)
    lease = await store.acquire("ask/prod", owner=an_owner(), timeout=0)
    await store.set(lease, a_resource("ask/prod/a"))
    assert await store.refuses_to_clear(lease, "ask/prod") is None
    assert await store.redeploy() == []
    await store.set(lease, a_resource("ask/prod/b"))
    assert await store.list("ask/prod") == ["a", "b"]
    await store.break_("ask/prod")
    with pytest.raises(LeaseLost):
        await store.refuses_to_clear(lease, "ask/prod")
    await store.deinit()


LEASED = "clearScope = (lease, commit) => (lease ? this.commit(lease, commit) : super.clearScope());"
OLDER = {
    409: service.source().replace(LEASED, ""),  # knows that of Alchemy for TypeScript only
    400: service.source().replace("set|delete|clearScope|", "set|delete|"),
    500: service.source().replace(LEASED, "clearScope() { throw new Error('Unknown method'); }"),
}


async def deploy(store: CloudflareStateStore, *names: str) -> list[Event]:
    """Deploy a stage of things; give what was said."""
    events: list[Event] = []
    token = config.launch.set(Launch(listeners=(events.append,)))
    try:
        async with alchemy("notes", stage="prod", state_store=store):
            for name in names:
                await Thing(name)
    finally:
        config.launch.reset(token)
    return events


@pytest.mark.parametrize("status", OLDER)
async def test_a_service_that_is_too_old(open_service: Open, tmp_path: Path, status: int) -> None:
    """It is a warning with the status, and the run goes on with the state as it is."""
    assert OLDER[status] != service.source()
    version = f"const VERSION = {service.version()};"
    older = OLDER[status].replace(version, f"const VERSION = {service.OLDEST};")
    async with open_service(tmp_path, source=older) as client:
        await deploy(CloudflareStateStore(client.service.url), "a")
        before = await client.load()
        events = await deploy(CloudflareStateStore(client.service.url, force_update=True), "a")
        assert [(event.level, event.message) for event in events if isinstance(event, Notice)] == [
            ("info", f"[CloudflareStateStore] forceUpdate enabled - clearing state for scope {UNIT}"),
            ("warning", f"[CloudflareStateStore] Failed to clear state: {status}"),
        ]
        assert [event.outcome for event in events if isinstance(event, ResourceFinished)] == ["unchanged"]
        assert await client.load() == before


async def test_a_stage_begins_without_state(open_service: Open, tmp_path: Path) -> None:
    """Its records go into the ledger, and come back for what is declared; the backup has them all."""
    async with open_service(tmp_path) as client:
        store = CloudflareStateStore(client.service.url)
        await deploy(store, "a", "b")
        events = await deploy(CloudflareStateStore(client.service.url, force_update=True), "a")
        rows = await client.load()
        assert sorted(rows) == [UNIT, f"{UNIT}/a"]
        assert list(json.loads(rows[UNIT])["output"]["ledger"]) == [f"{UNIT}/b"]
        said = [event.message for event in events if isinstance(event, Notice)]
        (backup,) = await client("names", "backups")
        assert said == [
            f"[CloudflareStateStore] forceUpdate enabled - clearing state for scope {UNIT}",
            "[CloudflareStateStore] State as it was can be brought back: "
            f"alchemy scope restore {UNIT} --backup {backup}",
            "[CloudflareStateStore] State cleared successfully",
        ]
        assert [event.outcome for event in events if isinstance(event, ResourceFinished)] == ["adopted"]


async def test_state_of_alchemy_for_typescript(open_service: Open, tmp_path: Path) -> None:
    """It is an error that names the import, and nothing is cleared."""
    async with open_service(tmp_path) as client:
        state = {"id": "api", "kind": "cloudflare::Worker", "status": "created"}
        await client("set", "api", state)
        with pytest.raises(StateError) as caught:
            await deploy(CloudflareStateStore(client.service.url, force_update=True), "a")
        assert "alchemy state import" in (caught.value.hint or "")
        assert await client("all") == {"api": state}


def test_urls() -> None:
    """A URL can say it; that which the store has itself does not, for it is where the state is."""
    for base in ("cloudflare:", "cloudflare:?script_name=mine", "cloudflare+http://127.0.0.1:8787"):
        for value, force in (("true", True), ("false", False)):
            store = open_store(f"{base}{'&' if '?' in base else '?'}force_update={value}")
            assert isinstance(store, CloudflareStateStore)
            assert (store.force_update, store.url) == (force, base)
        plain = open_store(base)
        assert isinstance(plain, CloudflareStateStore)
        assert not plain.force_update
    with pytest.raises(ConfigurationError, match="force_update='yes'"):
        open_store("cloudflare:?force_update=yes")
    with pytest.raises(ConfigurationError, match="unknown option"):
        open_store("cloudflare+http://127.0.0.1:8787?force=true")
