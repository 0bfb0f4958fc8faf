"""Durable Objects as the command line sees them: what is stored, what is in memory, and letting one go.

Beside Cloudflare's API, which has no such thing, below `/_alchemy`.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from alchemy.local import _object_storage
from alchemy.local._storage import is_object_id
from alchemy.local.control.context import Call, Context, route
from alchemy.local.control.envelope import ApiError, json_response
from alchemy.local.control.paging import number
from alchemy.local.control.simulators import ask

_OBJECTS = "/objects"
_OBJECT = f"{_OBJECTS}/{{namespace}}/{{object}}"
_EVICTED = 200
_LONGEST = 30
"""Seconds after which workerd itself gives up on an eviction."""
_BUSY = "it still has something to do: a request, a WebSocket that does not hibernate, or a timer"


def routes(context: Context) -> tuple[Route, ...]:
    """Return what is served here."""
    return (
        route(context, "GET", _OBJECTS, list_, below="/_alchemy"),
        route(context, "POST", f"{_OBJECTS}/evict", evict_all, below="/_alchemy"),
        route(context, "POST", f"{_OBJECT}/evict", evict, below="/_alchemy"),
        route(context, "DELETE", _OBJECT, delete, below="/_alchemy"),
    )


async def list_(call: Call) -> Response:
    """List the classes of all Workers, and of each the objects that were ever constructed."""
    storage = call.context.plane.data.storage
    classes: list[dict[str, Any]] = []
    for worker in call.context.plane.workers.values():
        for name, namespace in worker.classes.items():
            found = await asyncio.to_thread(_object_storage.stored, storage, namespace)
            classes.append(
                {
                    "script": worker.name,
                    "class": name,
                    "namespace": namespace,
                    "objects": [asdict(each) for each in found],
                }
            )
    return json_response({"classes": classes})


async def evict(call: Call) -> Response:
    """Let one object go from memory, when it has finished what it is doing; `seconds` is how long that may take.

    Raises:
        ApiError: 10066, there is no such namespace or object; 409, it does not go.
    """
    namespace, object_id = _object(call)
    seconds = number(call, "seconds", _LONGEST, most=_LONGEST)
    if not await _is_in_memory(call):
        return json_response({"evicted": False})
    refused: ApiError | None = None
    try:
        answer = await ask(call.context, "POST", "do", namespace, f"/{object_id}", params={"seconds": str(seconds)})
        if answer.status_code != _EVICTED:
            refused = ApiError(409, 10066, _BUSY)
    except ApiError as error:  # workerd went away meanwhile, and with it all that it had in memory
        refused = error
    if refused is not None and await _is_in_memory(call):
        raise refused
    return json_response({"evicted": True})


async def evict_all(call: Call) -> Response:
    """Let all objects go by starting workerd anew, whatever they are doing."""

    def nothing() -> None:
        """All that matters is that workerd was gone."""

    await call.context.plane.restart(nothing)
    return json_response({"evicted": True})


async def delete(call: Call) -> Response:
    """Delete what one object has stored. All objects go from memory, for workerd is started anew.

    Raises:
        ApiError: 10066; there is no such namespace or object.
    """
    namespace, object_id = _object(call)
    size = 0

    def remove() -> None:
        nonlocal size
        size += _object_storage.remove(call.context.plane.data.storage, namespace, object_id)

    await call.context.plane.restart(remove)
    return json_response({"size": size})


async def _is_in_memory(call: Call) -> bool:
    storage = call.context.plane.data.storage
    return await asyncio.to_thread(_object_storage.is_in_memory, storage, *_object(call))


def _object(call: Call) -> tuple[str, str]:
    namespace, object_id = call.path("namespace"), call.path("object")
    known = (each for worker in call.context.plane.workers.values() for each in worker.classes.values())
    if namespace not in known:
        raise ApiError(404, 10066, f"There is no Durable Object namespace '{namespace}'.")
    if not is_object_id(namespace, object_id):
        raise ApiError(404, 10066, f"'{object_id}' is not an id of an object of the namespace '{namespace}'.")
    return namespace, object_id
