"""One JSON file that holds everything, as programs kept it that wrote their state themselves.

```json
{
  "app": "notes", "stage": "prod",
  "resources": {
    "motto": {"kind": "fs::File", "props": {"path": "motto.txt", "content": "…"}, "output": {"path": "motto.txt"}},
    "site/index": {"type": "fs::File", "props": {"path": "index.html", "content": "…"}},
    "database": {"main": {"kind": "cloudflare::D1Database", "props": {}, "output": {"id": "…", "name": "…"}}}
  }
}
```

The object around `resources` may be left out. A key is an FQN (`notes/prod/motto`), the part of one after the stage,
or an id; keys around resources are scopes. `resources` may be a list too, of resources that say their `fqn` or `id`.
A resource is an object with a text under `kind` or `type`, and any of `id fqn status seq props inputs output outputs
data`; times of creation and change are passed over. Whatever else is there is an error that names the key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from alchemy.errors import ConfigurationError, StateTooNew
from alchemy.importing.found import Found, Source, broken, in_words, object_at, seq_at, status_at
from alchemy.importing.typescript import FOLDER
from alchemy.names import join
from alchemy.state import Json, JsonObject, is_array, is_object

VERSION = 1
_TIMES = frozenset({"createdAt", "updatedAt", "created_at", "updated_at"})
_KEYS = frozenset({"kind", "type", "id", "fqn", "status", "seq", "props", "inputs", "output", "outputs", "data"})
_AROUND = frozenset({"version", "app", "stage", "resources"})
_RESOURCE_ONLY = ("props", "inputs", "output", "outputs")


def read_flat(
    path: Path, content: Json, *, app: str | None, stage: str | None, default_stage: str, folder: Path
) -> Source:
    """Read a flat file's content; see `read_source`."""
    if not is_object(content):
        raise broken(str(path), f"it holds {in_words(content)}, not an object of resources")
    resources: Json = content
    if _is_wrapped(content):
        app = app or _text(content, "app", path)
        stage = stage or _text(content, "stage", path)
        resources = content["resources"]
        _check_version(content, path)
    listed = list(_listed(resources, path) if is_array(resources) else _walk(resources, (), path))
    if not listed:
        raise broken(str(path), "it holds no resource")
    chosen = app or _only_app(listed, path)
    units: dict[str, list[Found]] = {}
    for number, (names, record, where) in enumerate(listed):
        unit, fqn = _place(names, chosen, stage, default_stage)
        units.setdefault(unit, []).append(_found(record, fqn, number, where))
    root = path.absolute().parent.parent if path.absolute().parent.name == FOLDER else folder
    return Source(path=path, form="flat", root=root.absolute(), units=_without_doubles(units))


def _is_wrapped(content: JsonObject) -> bool:
    return content.keys() <= _AROUND and "resources" in content and not _is_resource(content["resources"])


def _is_resource(value: Json) -> bool:
    return is_object(value) and any(isinstance(value.get(key), str) for key in ("kind", "type"))


def _check_version(content: JsonObject, path: Path) -> None:
    version = content.get("version", VERSION)
    if not isinstance(version, int) or isinstance(version, bool):
        raise broken(str(path), f"'version' is {in_words(version)}, not a whole number")
    if version > VERSION:
        raise StateTooNew(f"{path} says version {version}; this version reads {VERSION}", hint="upgrade alchemy-iac")


def _text(content: JsonObject, key: str, path: Path) -> str | None:
    value = content.get(key)
    if value is None or isinstance(value, str):
        return value or None
    raise broken(str(path), f"{key!r} is {in_words(value)}, not a text")


_Listed = tuple[tuple[str, ...], JsonObject, str]


def _walk(value: Json, above: tuple[str, ...], path: Path) -> Iterator[_Listed]:
    where = _where(path, above)
    if not is_object(value):
        raise broken(where, f"it is {in_words(value)}, neither a resource nor a group of resources")
    if not value:
        raise broken(where, "it is empty")
    for key, inner in value.items():
        names = (*above, *key.split("/"))
        inside = _where(path, names)
        if not all(names):
            raise broken(inside, f"the key {key!r} has an empty part")
        if _is_resource(inner):
            yield _named(inner, names, inside), inner, inside
        elif is_object(inner) and any(is_object(inner.get(part)) for part in _RESOURCE_ONLY):
            raise broken(inside, "it has neither 'kind' nor 'type', so that it is not known what it is")
        else:
            yield from _walk(inner, names, path)


def _listed(resources: list[Json], path: Path) -> Iterator[_Listed]:
    for number, record in enumerate(resources):
        where = f"{path}: resources[{number}]"
        if not is_object(record) or not _is_resource(record):
            raise broken(where, "it has neither 'kind' nor 'type', so that it is not known what it is")
        name = record.get("fqn") or record.get("id")
        if not isinstance(name, str) or not all(name.split("/")):
            raise broken(where, "it has neither 'fqn' nor 'id'")
        yield tuple(name.split("/")), record, where


def _named(record: JsonObject, names: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Give the name of a resource: what it says itself must be what its key says."""
    fqn, id = record.get("fqn"), record.get("id")
    if isinstance(fqn, str) and fqn:
        said = tuple(fqn.split("/"))
        if said[-len(names) :] != names:
            raise broken(where, f"it says that it is {fqn}")
        return said
    if id is not None and (not isinstance(id, str) or tuple(id.split("/")) != names[-len(id.split("/")) :]):
        raise broken(where, f"it says that its id is {id!r}")
    return names


def _where(path: Path, names: Sequence[str]) -> str:
    return f"{path}: {'/'.join(names)}" if names else str(path)


def _only_app(listed: Sequence[_Listed], path: Path) -> str:
    """Give the application that every key names as its first part, when all are FQNs."""
    apps = {names[0] if len(names) >= 3 else "" for names, _, _ in listed}
    if len(apps) == 1 and "" not in apps:
        return apps.pop()
    raise ConfigurationError(f"{path} does not say which application it belongs to", hint="say it: --app NAME")


def _place(names: tuple[str, ...], app: str, stage: str | None, default_stage: str) -> tuple[str, str]:
    """Give the stage and the FQN: a key that begins with the application and a stage is an FQN already."""
    if names[0] == app and len(names) >= 3 and stage in (None, names[1]):
        return join(*names[:2]), join(*names)
    unit = join(app, stage or default_stage)
    return unit, join(unit, *names)


def _found(record: JsonObject, fqn: str, number: int, where: str) -> Found:
    unknown = sorted(record.keys() - _KEYS - _TIMES)
    if unknown:
        raise broken(where, f"what {unknown[0]!r} means in a resource is not known")
    if isinstance(record.get("kind"), str) and isinstance(record.get("type"), str) and record["kind"] != record["type"]:
        raise broken(where, "its 'kind' and its 'type' differ")
    return Found(
        where=where,
        fqn=fqn,
        kind=_kind(record),
        id=fqn.rpartition("/")[2],
        status=status_at(record, where),
        seq=seq_at(record, where, number),
        props=_either(record, "props", "inputs", where),
        output=_either(record, "output", "outputs", where),
        data=object_at(record, "data", where),
        raw=record,
    )


def _kind(record: JsonObject) -> str:
    kind = record.get("kind")
    return kind if isinstance(kind, str) else str(record["type"])


def _either(record: JsonObject, one: str, other: str, where: str) -> JsonObject:
    if one in record and other in record:
        raise broken(where, f"it has both {one!r} and {other!r}")
    return object_at(record, one if one in record else other, where)


def _without_doubles(units: dict[str, list[Found]]) -> dict[str, list[Found]]:
    for found in units.values():
        seen: dict[str, str] = {}
        for one in found:
            if one.fqn in seen:
                raise broken(one.where, f"{one.fqn} is there twice, also as {seen[one.fqn]}")
            seen[one.fqn] = one.where
    return units
