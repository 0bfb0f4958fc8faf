"""Worker scripts: upload, show, delete. Source: https://developers.cloudflare.com/api/resources/workers/

A script is tried out in a workerd of its own before it replaces anything, and answered with 10021 when it does not
start; what was running goes on running.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from starlette.responses import Response

from alchemy.local.control import bindings
from alchemy.local.control.context import Call, Context, new_id, now
from alchemy.local.control.envelope import ApiError, success
from alchemy.local.control.lifecycle import Changed, changed
from alchemy.local.control.uploads import digest, ordered, read_form, texts
from alchemy.local.runtime.plane import Workers
from alchemy.local.runtime.preflight import ScriptRefused, preflight
from alchemy.local.runtime.wiring import binding_target
from alchemy.local.runtime.worker import Module, Worker

_NAME = re.compile(r"[a-z0-9_][a-z0-9_-]{0,254}")
_DATE_WITHOUT_ONE = "2021-11-02"
KEPT_SETTINGS = (
    "annotations",
    "limits",
    "logpush",
    "observability",
    "placement",
    "tags",
    "tail_consumers",
    "usage_model",
)
_REFUSED = ("assets", "containers")

Build = Callable[[Worker | None], Worker]
Change = Callable[[Workers], Changed]


async def put(call: Call) -> Response:
    """Upload a script and serve it."""
    name = _name(call)
    metadata, modules = await read_form(call.request, "metadata")
    _refuse_unsupported(metadata)
    uploaded = ordered(modules, metadata.get("main_module"))
    moment, tag = now(), new_id()

    def build(current: Worker | None) -> Worker:
        base = current or Worker(name, tag, "", (), (), "", created_on=moment)
        return replace(
            base,
            etag=digest(uploaded),
            modules=uploaded,
            bindings=bindings.resolve(metadata.get("bindings"), current, texts(metadata, "keep_bindings")),
            compatibility_date=str(metadata.get("compatibility_date") or _DATE_WITHOUT_ONE),
            compatibility_flags=texts(metadata, "compatibility_flags"),
            settings={key: metadata[key] for key in KEPT_SETTINGS if metadata.get(key) is not None},
            modified_on=moment,
        )

    def change(workers: Workers) -> Changed:
        return changed(workers, build(workers.get(name)), metadata, whole=True)

    done = await deploy(call.context, name, change)
    summary = {"exports_reconciliation": done.summary} if done.summary else {}
    return success({**show(done.workers[name]), **summary})


async def put_content(call: Call) -> Response:
    """Replace the modules and leave everything else."""
    name = existing(call).name
    metadata, modules = await read_form(call.request, "metadata")
    uploaded = ordered(modules, metadata.get("main_module"))
    moment = now()

    def build(current: Worker | None) -> Worker:
        worker = _present(name, current)
        return replace(worker, etag=digest(uploaded), modules=uploaded, modified_on=moment)

    return success(show((await deploy(call.context, name, only(name, build))).workers[name]))


def only(name: str, build: Build) -> Change:
    """Give the change that makes one Worker what `build` says, and leaves its classes and all others as they are."""
    return lambda workers: changed(workers, build(workers.get(name)), {}, whole=False)


async def deploy(context: Context, name: str, change: Change) -> Changed:
    """Try out and serve what `change` makes of the Workers as they are, and return it.

    `change` is called twice: to try it out, and when its turn has come, for another request may have changed it.

    Raises:
        ApiError: 10021 when it does not start; another code when something it is bound to is not there.
    """
    tried = change(context.plane.workers)
    bindings.check_targets(tried.workers[name], await context.metadata.targets(), tried.workers)
    try:
        async with context.plane.trials:
            tried.judge(await preflight(tried.workers[name], context.plane.toolchain, probes=tried.probes))
        return await apply(context, name, change)
    except ScriptRefused as refused:
        raise ApiError(400, 10021, str(refused)) from refused


async def apply(context: Context, name: str, change: Change) -> Changed:
    """Serve what `change` makes of the Workers, without trying it out; for changes that cannot break it."""
    done: list[Changed] = []

    async def edit(workers: Workers) -> Workers:
        made = change(workers)
        bindings.check_targets(made.workers[name], await context.metadata.targets(), made.workers)
        done.append(made)
        return made.workers

    after = await context.plane.change(edit)
    return replace(done[-1], workers=after)


async def list_(call: Call) -> Response:
    """List all scripts."""
    return success([show(worker) for worker in call.context.plane.workers.values()])


async def get(call: Call) -> Response:
    """Return the modules, as a form like the one they were uploaded with."""
    worker = existing(call)
    boundary = f"----{secrets.token_hex(16)}"
    parts = [_part(boundary, module) for module in worker.modules]
    return Response(
        b"".join(parts) + f"--{boundary}--\r\n".encode(),
        headers={"etag": f'"{worker.etag}"', "cf-entrypoint": worker.modules[0].name},
        media_type=f"multipart/form-data; boundary={boundary}",
    )


def _part(boundary: str, module: Module) -> bytes:
    name = module.name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
    return f"{head}Content-Type: {module.type}\r\n\r\n".encode() + module.content + b"\r\n"


async def delete(call: Call) -> Response:
    """Delete a Worker. While others are bound to it only with `force=true`, which takes those bindings away."""
    name = existing(call).name
    force = call.query("force") == "true"

    async def edit(workers: Workers) -> Workers:
        _present(name, workers.get(name))
        left = {other: worker for other, worker in workers.items() if other != name}
        bound = [other for other, worker in left.items() if any(_binds(each, name) for each in worker.bindings)]
        if bound and not force:
            raise ApiError(400, 10064, f"Cannot delete '{name}': {', '.join(bound)} is bound to it.")
        for other in bound:
            kept = tuple(each for each in left[other].bindings if not _binds(each, name))
            left[other] = replace(left[other], bindings=kept)
        return left

    await call.context.plane.change(edit)
    return success({"id": name})


def _binds(binding: Mapping[str, Any], name: str) -> bool:
    if binding["type"] == "durable_object_namespace":
        return binding.get("script_name") == name
    return binding["type"] == "service" and binding_target(binding) == name


def existing(call: Call) -> Worker:
    """Return the Worker that the path names.

    Raises:
        ApiError: 10007; there is none.
    """
    name = call.path("script")
    return _present(name, call.context.plane.workers.get(name))


def _present(name: str, worker: Worker | None) -> Worker:
    if worker is None:
        raise ApiError(404, 10007, f"This Worker does not exist on your account: {name}")
    return worker


def _name(call: Call) -> str:
    name = call.path("script")
    if not _NAME.fullmatch(name):
        raise ApiError(
            400,
            10016,
            f"Invalid Worker name {name!r}: it must be lower case, start with a letter, digit or '_', and hold only "
            "letters, digits, '_' and '-'.",
        )
    return name


def _refuse_unsupported(metadata: Mapping[str, Any]) -> None:
    for key in _REFUSED:
        if metadata.get(key):
            raise ApiError(400, 10021, f"The metadata has '{key}', which the local Cloudflare does not have.")


def show(worker: Worker) -> dict[str, Any]:
    """Return a Worker as the API shows it."""
    return {
        "id": worker.name,
        "tag": worker.tag,
        "etag": worker.etag,
        "has_assets": False,
        "has_modules": True,
        "created_on": worker.created_on,
        "modified_on": worker.modified_on,
        "compatibility_date": worker.compatibility_date,
        "compatibility_flags": list(worker.compatibility_flags),
        "usage_model": "standard",
        **({"migration_tag": worker.migration_tag} if worker.migration_tag else {}),
        **worker.settings,
    }
