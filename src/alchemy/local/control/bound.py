"""Workers that are bound to something."""

from __future__ import annotations

from alchemy.local.control.context import Context
from alchemy.local.runtime.wiring import binding_target

_BINDINGS = {"d1": "d1", "kv": "kv_namespace", "r2": "r2_bucket"}


async def rewire(context: Context, kind: str, target: str) -> None:
    """After a resource was deleted: have the Workers that are bound to it fail rather than find it empty."""
    wanted = _BINDINGS[kind]
    for worker in context.plane.workers.values():
        if any(each["type"] == wanted and binding_target(each) == target for each in worker.bindings):
            await context.plane.refresh()
            return
