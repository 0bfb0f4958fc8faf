"""What type checkers see of the Cloudflare resources. Checked by mypy and pyright, never run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, assert_type

from alchemy.cloudflare import Binding, D1Database, DurableObjectNamespace, KVNamespace, R2Bucket, Worker
from alchemy.secret import Secret


async def constructors_and_awaited_types() -> None:
    """A constructor takes the id by position and the inputs by name; awaiting gives the resource with its outputs."""
    db = D1Database("db", migrations_dir="migrations", read_replication="auto")
    assert_type(db, D1Database)
    assert_type(await db, D1Database)
    assert_type((await db).database_id, str)
    kv = await KVNamespace("kv", title="notes")
    assert_type(kv.namespace_id, str)
    bucket = await R2Bucket("files", location="weur", storage_class="InfrequentAccess", empty_on_delete=True)
    assert_type(bucket.bucket_name, str)
    assert_type(bucket.jurisdiction, Literal["default", "eu", "us", "fedramp", "fedramp-high"])
    api = await Worker("api", entrypoint=Path("src/worker.js"), bindings={"DB": db, "KV": kv, "FILES": bucket})
    assert_type(api.url, str | None)
    assert_type(api.script_name, str)
    rooms = await DurableObjectNamespace("rooms", class_name="Room", script_name=api)
    assert_type(rooms.script, str | None)
    DurableObjectNamespace("halls", class_name="Hall", script_name="api", empty_on_delete=True)


def variables_pass_as_bindings(db: D1Database, other: Worker) -> None:
    """A variable of a narrower type than `Mapping[str, Binding]` is taken as it is."""
    databases: dict[str, D1Database] = {"DB": db}
    Worker("a", script="", bindings=databases)
    services: dict[str, Worker] = {"OTHER": other}
    Worker("b", script="", bindings=services)
    objects: dict[str, DurableObjectNamespace] = {"ROOM": DurableObjectNamespace("rooms", class_name="Room")}
    Worker("objects", script="", bindings=objects)
    texts: dict[str, str] = {"GREETING": "hello"}
    Worker("c", script="", bindings=texts)
    secrets: dict[str, Secret[str]] = {"KEY": Secret("s")}
    Worker("d", script="", bindings=secrets)
    mixed: dict[str, Binding] = {**databases, **services, **texts, **secrets, "LIMITS": {"notes": [1, 2.5, None]}}
    Worker("e", script="", bindings=mixed)


def mistakes_are_seen(db: D1Database) -> None:
    """What a constructor refuses at run time, type checkers refuse before."""
    D1Database()  # type: ignore[call-arg]
    D1Database("db", "notes")  # type: ignore
    D1Database("db", nam="notes")  # type: ignore[call-arg]
    D1Database("db", database_id="u")  # type: ignore[call-arg]
    DurableObjectNamespace("rooms")  # type: ignore[call-arg]
    DurableObjectNamespace("rooms", class_name="Room", script_name=db)  # type: ignore[arg-type]
    R2Bucket("files", location="mars")  # type: ignore[arg-type]
    Worker("api", entrypoint="worker.js", bindings={"DB": None})  # type: ignore[dict-item]
    Worker("api", entrypoint="worker.js", bindings={"CONFIG": {"db": db}})  # type: ignore[dict-item]
    Worker("api", entrypoint="worker.js", bindings={"KEY": Secret(1)})  # type: ignore[arg-type]
    Worker("api", entrypoint="worker.js", bundle="webpack")  # type: ignore[arg-type]
