"""Asking a local Cloudflare about its Durable Objects from another process, and letting them go."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from alchemy.local._datadir import DEFAULT_DATA_DIR
from alchemy.local._errors import LocalCloudflareError
from alchemy.local._lifecycle import status
from alchemy.local._object_storage import StoredObject
from alchemy.local._storage import id_from_name

if TYPE_CHECKING:
    import httpx

_HEXADECIMAL = re.compile(r"[0-9a-f]+")
_SECONDS = 120.0
"""An eviction takes up to 30 seconds, and a restart may have to wait for its turn."""


@dataclass(frozen=True)
class ObjectClass:
    """A Durable Object class of a Worker.

    Attributes:
        script: the Worker that has it.
        name: of the class.
        namespace: the id that its objects are stored under.
        objects: those that were ever constructed, by name and then by id.
    """

    script: str
    name: str
    namespace: str
    objects: tuple[StoredObject, ...]

    def find(self, *, name: str | None = None, object_id: str | None = None) -> StoredObject | None:
        """Give the object of this name, known or not, or with this id; `None` when it was never constructed."""
        wanted = object_id if name is None else id_from_name(self.namespace, name)
        return next((each for each in self.objects if each.id == wanted), None)


async def object_classes(data_dir: Path = DEFAULT_DATA_DIR) -> list[ObjectClass]:
    """List the Durable Object classes and what is stored for each, by script and then by name.

    Raises:
        LocalCloudflareError: it is not running, or does not answer.
    """
    answer = await _ask(data_dir, "GET", "")
    classes = [
        ObjectClass(
            script=each["script"],
            name=each["class"],
            namespace=each["namespace"],
            objects=tuple(StoredObject(**one) for one in each["objects"]),
        )
        for each in answer["classes"]
    ]
    return sorted(classes, key=lambda each: (each.script, each.name))


async def evict_object(data_dir: Path, namespace: str, object_id: str, *, seconds: int = 30) -> bool:
    """Let an object go from memory and return whether it was there; what it has stored stays.

    It goes when its requests have been answered, so none is cut; hibernating WebSockets stay connected. The next
    request constructs it anew.

    Args:
        namespace: of its class.
        object_id: 64 hexadecimal digits.
        seconds: from 1 to 30; how long it may take to finish what it is doing.

    Raises:
        LocalCloudflareError: something held it for longer: a request, a WebSocket that does not hibernate, a timer. Or
            there is no such namespace or object, or it is not running.
    """
    answer = await _ask(data_dir, "POST", f"{_path(namespace, object_id)}/evict?seconds={seconds}")
    return bool(answer["evicted"])


async def evict_all_objects(data_dir: Path) -> None:
    """Let all objects go, whatever they are doing, by starting workerd anew. What takes over 5 seconds is cut.

    Raises:
        LocalCloudflareError: it is not running, or does not come up again.
    """
    await _ask(data_dir, "POST", "/evict")


async def delete_object(data_dir: Path, namespace: str, object_id: str) -> int:
    """Delete what an object has stored, its alarm included, and return how many bytes that were.

    workerd is started anew for it, as by `evict_all_objects`. Safe to repeat. The next request finds the object empty.

    Raises:
        LocalCloudflareError: it is not running, or the object is not one of the namespace.
    """
    return int((await _ask(data_dir, "DELETE", _path(namespace, object_id)))["size"])


def _path(*ids: str) -> str:
    for each in ids:
        if not _HEXADECIMAL.fullmatch(each):
            raise LocalCloudflareError(f"{each!r} is no id of a Durable Object or a namespace: it is not hexadecimal")
    return "".join(f"/{each}" for each in ids)


async def _ask(data_dir: Path, method: str, path: str) -> dict[str, Any]:
    import httpx

    info = (await status(data_dir)).info
    if info is None:
        raise LocalCloudflareError("the local Cloudflare is not running", hint="alchemy local start")
    url = info.base_url.replace("/client/v4", f"/_alchemy/objects{path}")
    headers = {"authorization": f"Bearer {info.api_token}"}
    try:
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=_SECONDS) as client:
            answer = await client.request(method, url, headers=headers)
    except httpx.HTTPError as error:
        raise LocalCloudflareError(
            f"the local Cloudflare did not answer: {type(error).__name__}", hint="alchemy local status"
        ) from error
    if answer.status_code == 409:
        raise LocalCloudflareError(_said(answer), hint="end it, or let all objects go: alchemy local evict --all --now")
    if answer.status_code != 200:
        raise LocalCloudflareError(_said(answer))
    return cast("dict[str, Any]", answer.json())


def _said(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["errors"][0]["message"])
    except (ValueError, LookupError, TypeError):
        return f"the local Cloudflare answered with status {answer.status_code}"
