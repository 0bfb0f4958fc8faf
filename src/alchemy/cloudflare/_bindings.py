"""What a Worker is given, as Cloudflare's upload has it.

Source: https://developers.cloudflare.com/workers/configuration/multipart-upload-metadata/
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from alchemy.cloudflare.d1_database import D1Database
from alchemy.cloudflare.durable_object_namespace import DurableObjectNamespace
from alchemy.cloudflare.kv_namespace import KVNamespace
from alchemy.cloudflare.r2_bucket import R2Bucket
from alchemy.errors import DeclarationError
from alchemy.resource import Resource
from alchemy.secret import Secret

if TYPE_CHECKING:
    from alchemy.cloudflare.worker import Binding

Wire = dict[str, Any]


def wire(name: str, value: Binding, script: str) -> Wire:
    """Give one binding of `script` as the upload's metadata has it; a secret in clear.

    Raises:
        DeclarationError: JSON cannot hold the value; names the binding.
    """
    if isinstance(value, Resource):
        return {"name": name, **_resource(name, value, script)}
    if isinstance(value, Secret):
        return {"name": name, "type": "secret_text", "text": value.reveal()}
    if isinstance(value, str):
        return {"name": name, "type": "plain_text", "text": value}
    return {"name": name, "type": "json", "json": _plain(name, value)}


def _resource(name: str, value: Resource, script: str) -> Wire:
    from alchemy.cloudflare.worker import Worker

    if isinstance(value, D1Database):
        # The SDK calls the field `database_id`, the API's documentation and what it answers `id`: both are sent.
        return {"type": "d1", "id": value.database_id, "database_id": value.database_id}
    if isinstance(value, KVNamespace):
        return {"type": "kv_namespace", "namespace_id": value.namespace_id}
    if isinstance(value, R2Bucket):
        where = {} if value.jurisdiction == "default" else {"jurisdiction": value.jurisdiction}
        return {"type": "r2_bucket", "bucket_name": value.bucket_name, **where}
    if isinstance(value, DurableObjectNamespace):
        of = {} if value.script in (None, script) else {"script_name": value.script}
        return {"type": "durable_object_namespace", "class_name": value.class_name, **of}
    if isinstance(value, Worker):
        return {"type": "service", "service": value.script_name}
    raise DeclarationError(f"the binding {name!r} is a {type(value).__name__}, which a Worker cannot be bound to")


def _plain(name: str, value: object) -> Any:
    """Give a value as JSON, with nothing in it that JSON only seems to hold."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise DeclarationError(
            f"the binding {name!r} cannot be written as JSON: {error}",
            hint="a resource or a secret is a binding of its own; it cannot be inside a mapping",
        ) from None


def observed(declared: Mapping[str, Binding], found: Sequence[Mapping[str, Any]], script: str) -> dict[str, Any]:
    """Give the bindings of `script` as Cloudflare has them: as they were declared where they still are so, else in its
    words.

    The value of a secret cannot be read, so that one of the right name counts as declared.
    """
    seen: dict[str, Any] = {}
    for each in found:
        name = str(each.get("name"))
        value = declared.get(name)
        same = value is not None and _is_as_declared(name, value, each, script)
        seen[name] = value if same else {key: item for key, item in each.items() if key != "name"}
    ordered = {name: seen.pop(name) for name in declared if name in seen}
    return {**ordered, **seen}


def _is_as_declared(name: str, value: Binding, found: Mapping[str, Any], script: str) -> bool:
    if isinstance(value, Secret):
        return found.get("type") == "secret_text"  # not revealed: a destroy may have no password to open it with
    return _identity(wire(name, value, script), script) == _identity(found, script)


_TARGETS = {
    "d1": ("id", "database_id"),
    "kv_namespace": ("namespace_id",),
    "r2_bucket": ("bucket_name",),
    "service": ("service",),
    "plain_text": ("text",),
    "json": ("json",),
}


def _identity(binding: Mapping[str, Any], script: str) -> tuple[Any, ...]:
    kind = cast("str", binding.get("type"))
    if kind == "durable_object_namespace":
        return kind, binding.get("class_name"), binding.get("script_name") or script
    values = [binding[key] for key in _TARGETS.get(kind, ()) if binding.get(key) is not None]
    return kind, values[0] if values else None
