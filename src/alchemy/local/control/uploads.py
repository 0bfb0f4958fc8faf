"""Reading an uploaded script: a form with one part `metadata` and one part for each module.

Source: https://developers.cloudflare.com/workers/configuration/multipart-upload-metadata/
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from alchemy.local.control.envelope import ApiError
from alchemy.local.control.shapes import object_or_none, strings_or_none
from alchemy.local.runtime.wiring import IGNORED_MODULE_TYPES, MODULE_TYPES
from alchemy.local.runtime.worker import Module

_LARGEST_FIELD = 10 * 1024 * 1024
_LARGEST_SCRIPT = 64 * 1024 * 1024
_MOST_PARTS = 10_000
_ENDINGS = {
    ".js": "application/javascript+module",
    ".mjs": "application/javascript+module",
    ".cjs": "application/javascript",
    ".json": "application/json",
    ".txt": "text/plain",
    ".wasm": "application/wasm",
}


async def read_form(request: Request, field: str) -> tuple[Mapping[str, Any], list[Module]]:
    """Return the JSON of the part `field` and the modules of the other parts. A module is named by its file name.

    Raises:
        ApiError: not such a form, or a module of a kind that is not known (10021), or too much of it (10027).
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise ApiError(
            400,
            10021,
            "The local Cloudflare takes scripts as modules only: send multipart/form-data with a part 'metadata' "
            "that names the 'main_module'.",
        )
    async with request.form(max_files=_MOST_PARTS, max_fields=_MOST_PARTS, max_part_size=_LARGEST_FIELD) as form:
        return await _metadata(form, field), await _modules(form, field)


def texts(metadata: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return a list of the metadata; empty when it is left out.

    Raises:
        ApiError: 10021; it is not one of strings.
    """
    found = strings_or_none(metadata.get(key) or [])
    if found is None:
        raise ApiError(400, 10021, f"The '{key}' must be an array of strings.")
    return tuple(found)


async def _metadata(form: FormData, field: str) -> Mapping[str, Any]:
    part = form.get(field)
    if part is None:
        return {}
    text = await part.read() if isinstance(part, UploadFile) else part
    try:
        metadata = object_or_none(json.loads(text))
    except ValueError as error:
        raise ApiError(400, 10021, f"The part '{field}' is not valid JSON: {error}") from error
    if metadata is None:
        raise ApiError(400, 10021, f"The part '{field}' must be a JSON object.")
    return metadata


async def _modules(form: FormData, field: str) -> list[Module]:
    modules: dict[str, Module] = {}
    total = 0
    for key, part in form.multi_items():
        if key == field or not isinstance(part, UploadFile):
            continue
        name = part.filename or key
        if name in modules:
            raise ApiError(400, 10021, f"Two modules are named '{name}'.")
        content = await part.read()
        total += len(content)
        if total > _LARGEST_SCRIPT:
            raise ApiError(413, 10027, f"Your Worker exceeded the size limit of {_LARGEST_SCRIPT} bytes.")
        modules[name] = Module(name, _type(name, part.content_type), content)
    return list(modules.values())


def _type(name: str, declared: str | None) -> str:
    kind = (declared or "").partition(";")[0].strip().lower()
    if kind in MODULE_TYPES or kind in IGNORED_MODULE_TYPES:
        return kind
    if not kind or kind == "application/octet-stream":
        ending = name[name.rfind(".") :] if "." in name else ""
        return _ENDINGS.get(ending, "application/octet-stream")
    known = ", ".join(sorted(MODULE_TYPES))
    raise ApiError(400, 10021, f"Module '{name}' has the type {kind!r}. The local Cloudflare knows: {known}.")


def ordered(modules: Sequence[Module], main: object) -> tuple[Module, ...]:
    """Return the modules with the main one first.

    Raises:
        ApiError: 10021; there is no such module, or it is not an ECMAScript module.
    """
    if not isinstance(main, str) or not main:
        raise ApiError(400, 10021, "The metadata must name the 'main_module'.")
    first = [module for module in modules if module.name == main]
    if not first:
        raise ApiError(400, 10021, f'No such module "{main}": the main_module is not among the uploaded files.')
    if not first[0].type.endswith("+module"):
        raise ApiError(400, 10021, f"The main module '{main}' must be of type application/javascript+module.")
    _check_text(modules)
    return (*first, *(module for module in modules if module.name != main))


def _check_text(modules: Sequence[Module]) -> None:
    for module in modules:
        if module.type in ("application/octet-stream", "application/wasm"):
            continue
        try:
            module.content.decode()
        except UnicodeDecodeError:
            message = f"Module '{module.name}' of type {module.type} is not valid UTF-8."
            raise ApiError(400, 10021, message) from None


def digest(modules: Sequence[Module]) -> str:
    """Return a digest of names, types and contents."""
    total = hashlib.sha256()
    for module in modules:
        for part in (module.name.encode(), module.type.encode(), module.content):
            total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()
