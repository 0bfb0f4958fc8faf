"""Objects that Alchemy for TypeScript has made at Cloudflare: imported, they are the program's own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from alchemy import alchemy, config
from alchemy.clients.cloudflare import Cloudflare
from alchemy.cloudflare import Binding, D1Database, KVNamespace, R2Bucket, Worker
from alchemy.config import Launch
from alchemy.events import Event, ResourceFinished
from alchemy.importing import Request, read_source, run_import
from alchemy.state import JsonObject
from alchemy.stores import MemoryStore

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]

SHOP = Path(__file__).parents[2] / "unit/importing/fixtures/shop"
PASSWORD = "pässword"
THEIR_TABLE = """
DROP TABLE d1_migrations;
CREATE TABLE d1_migrations (id TEXT PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL);
INSERT INTO d1_migrations VALUES ('00001', '0001_orders.sql', '2026-01-01'), ('00002', '0002_prices.sql', '2026-01-01');
"""


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """Hear every event of every run."""
    heard: list[Event] = []
    launch = Launch(listeners=(heard.append,))
    monkeypatch.setattr(config, "launch", ContextVar("alchemy_launch", default=launch))
    return heard


def outcomes(events: Sequence[Event]) -> dict[str, str]:
    """Give how each resource ended."""
    return {event.fqn: event.outcome for event in events if isinstance(event, ResourceFinished)}


async def deploy(app: str, store: MemoryStore) -> dict[str, str]:
    """Deploy the shop's four; gives their ids."""
    async with alchemy(app, stage="prod", state_store=store, password=PASSWORD):
        orders = await D1Database("orders", name="shop-orders-prod", migrations_dir="migrations")
        cache = await KVNamespace("cache", title="shop-cache-prod")
        photos = R2Bucket("photos", name="shop-photos-prod")
        bindings: dict[str, Binding] = {"ORDERS": orders, "CACHE": cache, "PHOTOS": photos, "STAGE": "prod"}
        bindings["GREETING"] = alchemy.secret("Good morning")
        await Worker("api", entrypoint="worker.js", name="shop-api-prod", bindings=bindings)
    return {"database": orders.database_id, "namespace": cache.namespace_id}


def change(folder: Path, id: str, change: Any) -> None:
    """Change a record of the source."""
    path = folder / f"alchemy-ts/shop/prod/{id}.json"
    record: JsonObject = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


async def test_what_is_there_is_taken_over(
    tmp_path: Path, api: Cloudflare, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is made twice, the secret is sent again as it was, and migrations go on in the table that is there."""
    folder = tmp_path / "shop"
    shutil.copytree(SHOP / "project", folder)
    (folder / "alchemy-ts/shop/prod").mkdir(parents=True)
    for id in ("api", "cache", "orders", "photos"):
        shutil.copy(SHOP / f"alchemy-ts/shop/prod/{id}.json", folder / "alchemy-ts/shop/prod")
    monkeypatch.chdir(folder)
    there = await deploy("before", MemoryStore())
    await api.sdk.d1.database.query(there["database"], account_id=api.account_id, sql=THEIR_TABLE)
    change(folder, "orders", lambda record: record["output"].update(id=there["database"]))
    change(folder, "orders", lambda record: record["props"].update(name="shop-orders-prod"))
    change(folder, "cache", lambda record: record["output"].update(namespaceId=there["namespace"]))
    change(folder, "photos", lambda record: record["output"].update(accountId=api.account_id))
    change(folder, "photos", lambda record: record["props"].pop("delete"))
    (folder / "migrations/0003_notes.sql").write_text("CREATE TABLE notes (id INTEGER PRIMARY KEY);")

    store = MemoryStore()
    source = read_source(folder / "alchemy-ts", app=None, stage=None, default_stage="me", folder=folder)
    request = Request(
        source=source,
        settings=config.resolve({}),
        folder=folder,
        password=PASSWORD,
        source_password=PASSWORD,
    )
    await run_import(store, request)
    events.clear()
    assert await deploy("shop", store) == there
    assert outcomes(events) == {
        "shop/prod/orders": "updated",
        "shop/prod/cache": "unchanged",
        "shop/prod/photos": "unchanged",
        "shop/prod/api": "updated",
    }
    page = await api.sdk.d1.database.query(
        there["database"], account_id=api.account_id, sql="SELECT name FROM d1_migrations ORDER BY name"
    )
    names = [row["name"] for row in page.result[0].results or []]  # type: ignore[index]
    assert names == ["0001_orders.sql", "0002_prices.sql", "0003_notes.sql"]
    events.clear()
    await deploy("shop", store)
    assert set(outcomes(events).values()) == {"unchanged"}
    async with alchemy("shop", stage="prod", state_store=store):
        pass
    assert not [bucket async for bucket in api.sdk.kv.namespaces.list(account_id=api.account_id)]
