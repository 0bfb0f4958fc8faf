"""Durable Object classes: which a Worker has, how an upload's `migrations` change that, and what is stored for them.

Source: https://developers.cloudflare.com/durable-objects/reference/durable-objects-migrations/

A class has a namespace, and the namespace's id is what its data is stored under; so a class keeps its data when it is
renamed. Classes that are made here have SQLite storage, which is the only one that the local Cloudflare has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from alchemy.local import _storage
from alchemy.local.control.context import Call, new_id
from alchemy.local.control.envelope import ApiError, success
from alchemy.local.control.paging import number, paged
from alchemy.local.control.shapes import array_or_none, object_or_none
from alchemy.local.runtime.worker import Worker

_MOST = 10_000
_KNOWN = frozenset({"old_tag", "new_tag", "steps", "new_sqlite_classes", "renamed_classes", "deleted_classes"})


def migrated(worker: Worker, given: object) -> tuple[Mapping[str, str], str | None]:
    """Give a Worker's classes, with their namespaces' ids, and its tag, as an upload's `migrations` make them.

    Raises:
        ApiError: 10079 when the Worker has another tag than the upload expects, 10074 for a step that does not apply.
    """
    if given is None:
        return worker.classes, worker.migration_tag
    migrations = object_or_none(given)
    if migrations is None:
        raise ApiError(400, 10021, "The 'migrations' must be an object.")
    expected = migrations.get("old_tag")
    if "old_tag" in migrations and expected != worker.migration_tag:
        raise ApiError(
            412,
            10079,
            f"Migration tag precondition failed; got tag '{worker.migration_tag or ''}' when expected tag is "
            f"'{expected or ''}'.",
        )
    classes = dict(worker.classes)
    for step in _steps(migrations):
        _apply(classes, step)
    new_tag = migrations.get("new_tag")
    return classes, str(new_tag) if new_tag else worker.migration_tag


def _steps(migrations: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = array_or_none(migrations.get("steps") or [])
    if listed is None:
        raise ApiError(400, 10021, "The 'steps' of the migrations must be an array.")
    steps = [object_or_none(step) or {} for step in listed] or [migrations]
    for step in [migrations, *steps]:
        unknown = sorted(name for name in step.keys() - _KNOWN if step[name])
        if unknown:
            raise ApiError(
                400,
                10021,
                f"The migrations have '{unknown[0]}', which the local Cloudflare does not have: new classes are "
                "'new_sqlite_classes', and they stay with their Worker.",
            )
    return steps


def _apply(classes: dict[str, str], step: Mapping[str, Any]) -> None:
    for name in step.get("new_sqlite_classes") or ():
        if name in classes:
            raise ApiError(
                400, 10074, f"Cannot apply new-sqlite-class migration to class '{name}': it has been applied."
            )
        classes[str(name)] = new_id()
    for renamed in step.get("renamed_classes") or ():
        old, new = str(renamed.get("from")), str(renamed.get("to"))
        if new in classes:
            raise ApiError(400, 10074, f"Cannot rename class '{old}' to '{new}': there is one of that name.")
        classes[new] = _taken(classes, old, "rename")
    for name in step.get("deleted_classes") or ():
        _taken(classes, str(name), "delete")


def _taken(classes: dict[str, str], name: str, what: str) -> str:
    if name not in classes:
        raise ApiError(
            400, 10074, f"Cannot apply {what}-class migration to class '{name}': the Worker has no such class."
        )
    return classes.pop(name)


async def list_(call: Call) -> Response:
    """List the namespaces of all Workers."""
    workers = call.context.plane.workers.values()
    found = [_show(worker, name, namespace) for worker in workers for name, namespace in worker.classes.items()]
    return paged(call, found, dict, per_page=20, most=100)


async def list_objects(call: Call) -> Response:
    """List the objects of a namespace that have stored something; `cursor` is the last id of the page before.

    Raises:
        ApiError: 10066; there is no such namespace.
    """
    wanted = call.path("namespace")
    if all(wanted not in worker.classes.values() for worker in call.context.plane.workers.values()):
        raise ApiError(404, 10066, f"There is no Durable Object namespace '{wanted}'.")
    limit = number(call, "limit", _MOST, most=_MOST)
    ids = await asyncio.to_thread(_storage.objects, call.context.plane.data.storage, wanted)
    left = [id_ for id_ in ids if id_ > (call.query("cursor") or "")]
    page = left[:limit]
    cursors = {"after": page[-1]} if len(left) > limit else {}
    found = [{"id": id_, "hasStoredData": True} for id_ in page]
    return success(found, result_info={"count": len(page), "cursors": cursors})


def _show(worker: Worker, name: str, namespace: str) -> dict[str, Any]:
    return {
        "id": namespace,
        "name": f"{worker.name}_{name}",
        "script": worker.name,
        "class": name,
        "use_sqlite": True,
    }
