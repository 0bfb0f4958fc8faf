"""Durable Object classes: which Worker has which, and what is stored for them.

A class has a namespace, and the namespace's id is what its data is stored under; so a class keeps its data when it is
renamed, and when another Worker takes it over. All classes have SQLite storage, which is the only one that the local
Cloudflare has. An upload changes them in one of two ways: see `exports` and `migrations`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from starlette.responses import Response

from alchemy.local import _storage
from alchemy.local.control.context import Call, new_id
from alchemy.local.control.envelope import ApiError, success
from alchemy.local.control.paging import number, paged
from alchemy.local.runtime.plane import Workers
from alchemy.local.runtime.worker import Worker

_MOST = 10_000


class Classes:
    """The classes of all Workers, while an upload changes them.

    Bindings follow: Cloudflare resolves one to a namespace when it is uploaded, so that a Worker that is bound to a
    class goes on working when the class is renamed or moves.
    """

    def __init__(self, workers: Workers, name: str) -> None:
        """`name`: the Worker that is uploaded. It may not be there yet."""
        self._workers = dict(workers)
        self._name = name
        self._own = {each: dict(worker.classes) for each, worker in workers.items()}
        self._own.setdefault(name, {})
        self._moved: dict[tuple[str, str], tuple[str, str]] = {}

    @property
    def own(self) -> Mapping[str, str]:
        """The classes of the Worker that is uploaded, with their namespaces' ids."""
        return self._own[self._name]

    def of(self, script: str) -> Mapping[str, str]:
        """Give the classes of another Worker; none when there is no such Worker."""
        return self._own.get(script, {})

    def bound(self, class_name: str) -> list[str]:
        """Name the other Workers that are bound to a class of this one."""
        return [
            other
            for other, worker in self._workers.items()
            if other != self._name and any(_means(each, other, self._name, class_name) for each in worker.bindings)
        ]

    def add(self, class_name: str) -> None:
        """Make a namespace for a class of this Worker."""
        self._own[self._name][class_name] = new_id()

    def remove(self, class_name: str) -> None:
        """Delete the namespace of a class of this Worker; what it stored goes with the change."""
        del self._own[self._name][class_name]

    def move(self, source: tuple[str, str], target: tuple[str, str]) -> None:
        """Give a namespace to another class, or to another Worker: both are `(script, class)`."""
        (script, class_name), (to_script, to_class) = source, target
        self._own[to_script][to_class] = self._own[script].pop(class_name)
        self._moved[source] = target

    def applied(self, uploaded: Worker) -> Workers:
        """Give all Workers with these classes, and `uploaded` as the one that is uploaded."""
        workers = {name: self._followed(worker) for name, worker in self._workers.items() if name != self._name}
        return {**workers, self._name: replace(uploaded, classes=self._own[self._name])}

    def _followed(self, worker: Worker) -> Worker:
        bindings = tuple(self._led(worker.name, binding) for binding in worker.bindings)
        own = self._own[worker.name]
        if bindings == worker.bindings and own == worker.classes:
            return worker
        return replace(worker, bindings=bindings, classes=own)

    def _led(self, script: str, binding: Mapping[str, Any]) -> Mapping[str, Any]:
        if binding["type"] != "durable_object_namespace":
            return binding
        target = self._moved.get((str(binding.get("script_name") or script), str(binding["class_name"])))
        return binding if target is None else {**binding, "script_name": target[0], "class_name": target[1]}


def _means(binding: Mapping[str, Any], of: str, script: str, class_name: str) -> bool:
    return (
        binding["type"] == "durable_object_namespace"
        and str(binding.get("script_name") or of) == script
        and binding["class_name"] == class_name
    )


def refuse_dropped(worker: Worker, missing: Iterable[str]) -> None:
    """Refuse a script that does not export a class which the Worker has.

    Raises:
        ApiError: 10064; names the class.
    """
    for name in sorted(set(missing) & worker.classes.keys()):
        raise ApiError(
            400,
            10064,
            f"New version of script does not export class '{name}' which is depended on by existing Durable Objects. "
            "Delete or rename it with a migration.",
        )


async def list_(call: Call) -> Response:
    """List the namespaces of all Workers."""
    workers = call.context.plane.workers.values()
    found = [_show(worker, name, namespace) for worker in workers for name, namespace in worker.classes.items()]
    return paged(call, found, dict, per_page=20, most=1000)


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
