"""An upload's `migrations`: steps that change a Worker's Durable Object classes, in order, under a tag.

```json
{"old_tag": "v1", "new_tag": "v2", "steps": [{"renamed_classes": [{"from": "Room", "to": "Lobby"}]}]}
```

Source: https://developers.cloudflare.com/durable-objects/reference/durable-object-class-migrations-legacy/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alchemy.local.control.classes import Classes
from alchemy.local.control.envelope import ApiError
from alchemy.local.control.shapes import array_or_none, object_or_none, strings_or_none
from alchemy.local.runtime.worker import Worker

_KNOWN = frozenset(
    {"old_tag", "new_tag", "steps", "new_sqlite_classes", "renamed_classes", "transferred_classes", "deleted_classes"}
)


def migrate(worker: Worker, classes: Classes, given: object) -> str | None:
    """Apply `migrations` to the classes, and give the tag that the Worker has afterwards.

    Raises:
        ApiError: 10079 when the Worker has another tag than the upload expects, 10074 for a step that does not apply,
            10061 when a class is to be deleted that another Worker is bound to.
    """
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
    for step in _steps(migrations):
        _apply(worker.name, classes, step)
    new_tag = migrations.get("new_tag")
    return str(new_tag) if new_tag else worker.migration_tag


def _steps(migrations: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    steps = _entries(migrations, "steps") or [migrations]
    for step in [migrations, *steps]:
        unknown = sorted(name for name in step.keys() - _KNOWN if step[name])
        if unknown:
            raise ApiError(
                400,
                10021,
                f"The migrations have '{unknown[0]}', which the local Cloudflare does not have: new classes are "
                "'new_sqlite_classes'.",
            )
    return steps


def _apply(script: str, classes: Classes, step: Mapping[str, Any]) -> None:
    for name in _names(step, "new_sqlite_classes"):
        if name in classes.own:
            raise ApiError(
                400, 10074, f"Cannot apply new-sqlite-class migration to class '{name}': it has been applied."
            )
        classes.add(name)
    for renamed in _entries(step, "renamed_classes", "from", "to"):
        _move(classes, (script, renamed["from"]), (script, renamed["to"]), "rename")
    for transferred in _entries(step, "transferred_classes", "from", "from_script", "to"):
        source = (transferred["from_script"], transferred["from"])
        _move(classes, source, (script, transferred["to"]), "transfer")
    for name in _names(step, "deleted_classes"):
        _delete(script, classes, name)


def _names(step: Mapping[str, Any], key: str) -> list[str]:
    names = strings_or_none(step.get(key) or [])
    if names is None or "" in names:
        raise ApiError(400, 10021, f"The '{key}' of the migrations must be an array of class names.")
    return names


def _entries(step: Mapping[str, Any], key: str, *texts: str) -> list[Mapping[str, Any]]:
    """Give a list of objects, each of which has these texts."""
    listed = array_or_none(step.get(key) or [])
    found = [each for each in map(object_or_none, listed or []) if each is not None]
    said = all(isinstance(each.get(text), str) and each[text] for each in found for text in texts)
    if listed is None or len(found) < len(listed) or not said:
        having = f" with {', '.join(texts)}" if texts else ""
        raise ApiError(400, 10021, f"The '{key}' of the migrations must be an array of objects{having}.")
    return found


def _move(classes: Classes, source: tuple[str, str], target: tuple[str, str], what: str) -> None:
    script, name = source
    if name not in classes.of(script):
        raise _absent(script, name, what)
    if target[1] in classes.own:
        raise ApiError(400, 10074, f"Cannot {what} class '{name}' to '{target[1]}': there is one of that name.")
    classes.move(source, target)


def _delete(script: str, classes: Classes, name: str) -> None:
    if name not in classes.own:
        raise _absent(script, name, "delete")
    bound = classes.bound(name)
    if bound:
        raise ApiError(
            400,
            10061,
            f"Cannot apply delete-class migration to class '{name}' without also removing the bindings that "
            f"reference it: {', '.join(bound)}.",
        )
    classes.remove(name)


def _absent(script: str, name: str, what: str) -> ApiError:
    return ApiError(
        400, 10074, f"Cannot apply {what}-class migration to class '{name}': the Worker '{script}' has no such class."
    )
