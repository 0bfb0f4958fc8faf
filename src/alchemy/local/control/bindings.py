"""What a Worker may be bound to, and whether it is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from alchemy.local.control.envelope import ApiError
from alchemy.local.control.shapes import array_or_none, object_or_none
from alchemy.local.runtime.wiring import binding_target
from alchemy.local.runtime.worker import Resources, Worker

Binding = Mapping[str, Any]

SUPPORTED = (
    "plain_text",
    "json",
    "secret_text",
    "kv_namespace",
    "r2_bucket",
    "d1",
    "service",
    "durable_object_namespace",
)

_LARGEST_TEXT = 5 * 1024
_MISSING = {
    "kv_namespace": (10041, "KV namespace '{}' not found."),
    "r2_bucket": (10085, "R2 bucket '{}' not found."),
    "d1": (10181, "D1 database '{}' not found."),
    "service": (10144, "Could not resolve a service binding: target Worker '{}' not found."),
}


def resolve(given: object, current: Worker | None, keep: Iterable[str]) -> tuple[Binding, ...]:
    """Return the bindings that an upload means.

    Args:
        given: the upload's `bindings`.
        current: what is there; `inherit` and a secret without a value take it from here.
        keep: the upload's `keep_bindings`, types whose bindings stay although the upload leaves them out.

    Raises:
        ApiError: a binding cannot be understood; 10052 without a name, 10057 when there is nothing to inherit.
    """
    before = {str(binding["name"]): binding for binding in (current.bindings if current else ())}
    resolved: dict[str, Binding] = {}
    wanted = array_or_none(given if given is not None else [])
    if wanted is None:
        raise ApiError(400, 10021, "The 'bindings' must be an array.")
    for position, each in enumerate(wanted):
        binding = object_or_none(each) or {}
        name = binding.get("name")
        if not isinstance(name, str) or not name:
            raise ApiError(400, 10052, f"Binding at index {position} must have a name.")
        if name in resolved:
            raise ApiError(400, 10021, f"Binding name '{name}' already in use. Please use a different name.")
        resolved[name] = _resolved(name, binding, before)
    kept = set(keep)
    for name, binding in before.items():
        if binding["type"] in kept and name not in resolved:
            resolved[name] = binding
    return tuple(resolved.values())


def _resolved(name: str, binding: Mapping[str, Any], before: Mapping[str, Binding]) -> Binding:
    kind = binding.get("type")
    if kind == "inherit" or (kind == "secret_text" and binding.get("text") is None):
        source = before.get(str(binding.get("old_name") or name))
        if source is None:
            raise ApiError(400, 10057, f"Binding '{name}' cannot be inherited: the Worker has none of that name.")
        return {**source, "name": name}
    if kind not in SUPPORTED:
        raise ApiError(
            400,
            10021,
            f"Binding '{name}' is of type {kind!r}, which the local Cloudflare does not have. "
            f"It has: {', '.join(SUPPORTED)}.",
        )
    _check_value(name, binding)
    return dict(binding)


def _check_value(name: str, binding: Binding) -> None:
    match binding["type"]:
        case "plain_text" | "secret_text":
            _check_text(name, binding)
        case "json":
            if "json" not in binding:
                raise ApiError(400, 10021, f"Binding '{name}' needs 'json'.")
            json.dumps(binding["json"])
        case _:
            if not binding_target(binding):
                raise ApiError(400, 10021, f"Binding '{name}' of type {binding['type']!r} does not say what it binds.")


def _check_text(name: str, binding: Binding) -> None:
    text = binding.get("text")
    if not isinstance(text, str):
        raise ApiError(400, 10021, f"Binding '{name}' needs 'text', a string.")
    if len(text.encode()) > _LARGEST_TEXT:
        raise ApiError(400, 10021, f"Binding '{name}' is larger than {_LARGEST_TEXT} bytes.")
    if "\0" in text and binding["type"] == "secret_text":  # it reaches workerd in an environment variable
        raise ApiError(400, 10021, f"Binding '{name}' holds a NUL character, which a local secret cannot.")


def check_targets(worker: Worker, targets: Resources, workers: Mapping[str, Worker]) -> None:
    """Check that everything a Worker is bound to exists.

    Raises:
        ApiError: the first that does not, with the code of its kind.
    """
    present: Mapping[str, Callable[[str], bool]] = {
        "kv_namespace": lambda name: name in targets.namespaces,
        "r2_bucket": lambda name: name in targets.buckets,
        "d1": lambda name: name in targets.databases,
        "service": lambda name: name in workers or name == worker.name,
    }
    for binding in worker.bindings:
        kind = str(binding["type"])
        target = binding_target(binding)
        if kind == "durable_object_namespace":
            _check_class(binding, worker, workers)
        if kind in present and not present[kind](target):
            code, message = _MISSING[kind]
            raise ApiError(400, code, message.format(target))


def _check_class(binding: Binding, worker: Worker, workers: Mapping[str, Worker]) -> None:
    name = str(binding.get("script_name") or worker.name)
    holder = worker if name == worker.name else workers.get(name)
    if holder is None:
        raise ApiError(400, 10061, f"Cannot create binding '{binding['name']}': there is no Worker '{name}'.")
    if binding_target(binding) not in holder.classes:
        raise ApiError(
            400,
            10061,
            f"Cannot create binding for class '{binding_target(binding)}' because it is not currently configured to "
            f"implement Durable Objects in '{name}'. Did you forget to apply a 'new_sqlite_classes' migration to it?",
        )


def show(binding: Binding) -> dict[str, Any]:
    """Return a binding as the API shows it: a secret without its value."""
    shown = dict(binding)
    if shown["type"] == "secret_text":
        shown.pop("text", None)
    return shown
