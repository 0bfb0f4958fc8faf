"""D1: databases and queries. Source: https://developers.cloudflare.com/api/resources/d1/"""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from alchemy.local import _storage
from alchemy.local._metadata import Resource
from alchemy.local.control.bound import rewire
from alchemy.local.control.context import Call, now
from alchemy.local.control.envelope import ApiError, success
from alchemy.local.control.paging import paged
from alchemy.local.control.shapes import array_or_none, object_or_none
from alchemy.local.control.simulators import ask
from alchemy.local.control.sql import statements

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_TABLES = (
    "SELECT count(*) AS n FROM sqlite_master WHERE type = 'table'"
    " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_cf\\_%' ESCAPE '\\'"
)


async def create(call: Call) -> Response:
    """Create a database. 7502 when the account has one of that name."""
    body = await call.mapping()
    name = body.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ApiError(400, 7400, f"Invalid database name {name!r}: letters, digits, '_', '-' and '.', at most 64.")
    kept = {key: body[key] for key in ("jurisdiction", "primary_location_hint", "read_replication") if key in body}
    database = Resource("d1", str(uuid.uuid4()), name, now(), kept)
    if not await call.metadata.add(database):
        raise ApiError(400, 7502, f"Database with name '{name}' already exists")
    return success(_show(database))


async def list_(call: Call) -> Response:
    """List the databases; `name` selects those whose name contains it."""
    part = call.query("name") or ""
    found = [database for database in await call.metadata.resources("d1") if part in database.name]
    return paged(call, found, _show, per_page=100, most=10_000)


async def get(call: Call) -> Response:
    """Return a database with its size and the number of its tables."""
    database = await _database(call)
    (answer,) = await _run(call, database, [{"sql": _TABLES}], "ARRAY_OF_OBJECTS")
    sizes = {"num_tables": answer["results"][0]["n"], "file_size": answer["meta"]["size_after"]}
    return success({**_show(database), **sizes})


async def edit(call: Call) -> Response:
    """Change the replication mode, which is kept and has no effect."""
    database = await _database(call)
    body = await call.mapping()
    replication = body.get("read_replication", database.document.get("read_replication"))
    return success({**_show(database), "read_replication": replication or {"mode": "disabled"}})


async def delete(call: Call) -> Response:
    """Delete a database and what it holds."""
    database = await _database(call)
    await call.metadata.remove("d1", database.id)
    await rewire(call.context, "d1", database.id)
    await asyncio.to_thread(_storage.delete, call.context.plane.data.storage, "d1", database.id)
    return success(None)


async def query(call: Call) -> Response:
    """Run SQL; each row is an object."""
    return await _query(call, "ARRAY_OF_OBJECTS")


async def raw(call: Call) -> Response:
    """Run SQL; rows are arrays and the names of the columns stand beside them."""
    return await _query(call, "ROWS_AND_COLUMNS")


async def _query(call: Call, form: str) -> Response:
    database = await _database(call)
    return success(await _run(call, database, _queries(await call.mapping()), form))


def _queries(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    parts: Sequence[Any] = array_or_none(body.get("batch")) or [body]
    queries: list[Mapping[str, Any]] = []
    for part in parts:
        given = object_or_none(part) or {}
        text, params = given.get("sql"), array_or_none(given.get("params") or [])
        if not isinstance(text, str) or params is None:
            raise ApiError(400, 7400, "The request is malformed: 'sql' must be a string, 'params' an array.")
        single = statements(text)
        if params and len(single) > 1:
            raise ApiError(400, 7500, "A prepared SQL statement must contain only one statement.")
        queries += [{"sql": sql, "params": [_param(value) for value in params]} for sql in single]
    if not queries:
        raise ApiError(400, 7500, "No SQL statements detected.")
    return queries


def _param(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


async def _run(call: Call, database: Resource, queries: Sequence[Mapping[str, Any]], form: str) -> list[dict[str, Any]]:
    answer = await ask(
        call.context,
        "POST",
        "d1",
        database.id,
        "/query",
        params={"resultsFormat": form},
        content=json.dumps(queries).encode(),
    )
    said: object = answer.json() if answer.is_success else None
    if (results := array_or_none(said)) is not None:
        return results
    problem = object_or_none(said)
    raise ApiError(400, 7500, str(problem["error"]) if problem else answer.text)


async def _database(call: Call) -> Resource:
    identity = call.path("database")
    try:
        identity = str(uuid.UUID(identity))
    except ValueError:
        raise ApiError(400, 7400, f"Invalid database id {identity!r}: it must be a UUID.") from None
    if database := await call.metadata.resource("d1", id=identity):
        return database
    raise ApiError(404, 7404, f"The database {identity} could not be found")


def _show(database: Resource) -> dict[str, Any]:
    return {
        "uuid": database.id,
        "name": database.name,
        "created_at": database.created_on,
        "version": "production",
        "jurisdiction": database.document.get("jurisdiction"),
        "read_replication": database.document.get("read_replication", {"mode": "disabled"}),
    }
