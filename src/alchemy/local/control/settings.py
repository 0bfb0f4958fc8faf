"""A Worker's settings (bindings, compatibility, tags …) and its secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.responses import Response

from alchemy.local.control import bindings
from alchemy.local.control.context import Call, now
from alchemy.local.control.envelope import ApiError, success
from alchemy.local.control.lifecycle import Changed, changed
from alchemy.local.control.scripts import KEPT_SETTINGS, apply, deploy, existing, only
from alchemy.local.control.shapes import object_or_none
from alchemy.local.control.uploads import read_form, texts
from alchemy.local.runtime.plane import Workers
from alchemy.local.runtime.worker import Worker

_SCRIPT_SETTINGS = ("logpush", "observability", "tags", "tail_consumers")


async def get(call: Call) -> Response:
    """Return bindings, compatibility and the rest; secrets without their values."""
    return success(_show(existing(call)))


async def patch(call: Call) -> Response:
    """Change some of it: a form with the part `settings`. Bindings and `exports`, when given, are given in full."""
    name = existing(call).name
    given, _ = await read_form(call.request, "settings")
    moment = now()

    def build(current: Worker | None) -> Worker:
        worker = current or existing(call)
        made = replace(worker, modified_on=moment, settings=_merged(worker, given, KEPT_SETTINGS))
        if given.get("bindings") is not None:
            keep = texts(given, "keep_bindings")
            made = replace(made, bindings=bindings.resolve(given["bindings"], worker, keep))
        if given.get("compatibility_date"):
            made = replace(made, compatibility_date=str(given["compatibility_date"]))
        if given.get("compatibility_flags") is not None:
            made = replace(made, compatibility_flags=texts(given, "compatibility_flags"))
        return made

    def change(workers: Workers) -> Changed:
        return changed(workers, build(workers.get(name)), given, whole=False)

    return success(_show((await deploy(call.context, name, change)).workers[name]))


async def get_script_settings(call: Call) -> Response:
    """Return what applies to all versions: tags, logs."""
    return success(_show_script_settings(existing(call)))


async def patch_script_settings(call: Call) -> Response:
    """Change some of what applies to all versions."""
    name = existing(call).name
    given = await call.mapping()

    def build(current: Worker | None) -> Worker:
        worker = current or existing(call)
        return replace(worker, settings=_merged(worker, given, _SCRIPT_SETTINGS))

    return success(_show_script_settings((await apply(call.context, name, only(name, build))).workers[name]))


async def list_secrets(call: Call) -> Response:
    """List the names of the secrets."""
    return success([bindings.show(each) for each in existing(call).bindings if each["type"] == "secret_text"])


async def get_secret(call: Call) -> Response:
    """Return the name of one secret."""
    return success(bindings.show(_secret(existing(call), call.path("secret"))))


async def put_secret(call: Call) -> Response:
    """Set one secret."""
    body = await call.mapping()
    name = body.get("name")
    if not isinstance(name, str):
        raise ApiError(400, 10052, "A secret must have a name.")
    await _change_secrets(call, {name: body})
    return success({"name": name, "type": "secret_text"})


async def delete_secret(call: Call) -> Response:
    """Delete one secret."""
    _secret(existing(call), call.path("secret"))
    await _change_secrets(call, {call.path("secret"): None})
    return success(None)


async def patch_secrets(call: Call) -> Response:
    """Set and (with null) delete many secrets at once."""
    given = object_or_none((await call.mapping()).get("secrets"))
    if given is None:
        raise ApiError(400, 10021, "The body must have 'secrets', an object.")
    changed = await _change_secrets(call, given)
    return success([bindings.show(each) for each in changed.bindings if each["type"] == "secret_text"])


async def _change_secrets(call: Call, given: Mapping[str, Any]) -> Worker:
    name = existing(call).name
    new = [{"type": "secret_text", **secret, "name": key} for key, secret in given.items() if secret is not None]

    def build(current: Worker | None) -> Worker:
        worker = current or existing(call)
        kept = [each for each in worker.bindings if each["name"] not in given]
        return replace(worker, bindings=bindings.resolve([*kept, *new], worker, ()), modified_on=now())

    return (await apply(call.context, name, only(name, build))).workers[name]


def _secret(worker: Worker, name: str) -> Mapping[str, Any]:
    for binding in worker.bindings:
        if binding["type"] == "secret_text" and binding["name"] == name:
            return binding
    raise ApiError(404, 10056, f"Binding '{name}' not found.")


def _merged(worker: Worker, given: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
    return {**worker.settings, **{name: given[name] for name in names if name in given}}


def _show(worker: Worker) -> dict[str, Any]:
    return {
        "bindings": [bindings.show(binding) for binding in worker.bindings],
        "compatibility_date": worker.compatibility_date,
        "compatibility_flags": list(worker.compatibility_flags),
        "logpush": False,
        "tags": [],
        "usage_model": "standard",
        **worker.settings,
    }


def _show_script_settings(worker: Worker) -> dict[str, Any]:
    return {"logpush": False, "tags": [], **{k: v for k, v in worker.settings.items() if k in _SCRIPT_SETTINGS}}
