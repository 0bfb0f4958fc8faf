"""Which kinds have a counterpart, and how the inputs and outputs of each are called and meant here.

Names are in snake_case already. What is not mentioned keeps its name; what this package's kind does not have is left
out, and said.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from alchemy.importing.decoding import Reference
from alchemy.resource import Resource, make_detached
from alchemy.secret import Secret
from alchemy.state import Json, JsonObject, is_array, is_object


class Unlike(Exception):
    """A record of a known kind has no counterpart all the same; says why. It is kept aside."""


@dataclass(slots=True, kw_only=True)
class Draft:
    """One resource on its way from a source's words to ours.

    Attributes:
        inputs, outputs: by name; a kind's function moves, adds and removes.
        root: where relative paths start.
        data: what the provider keeps in the record.
        retain: the object stays when the resource leaves the program.
        left_out: inputs that have no counterpart.
        notes: sentences for people.
    """

    id: str
    root: Path
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    data: JsonObject = field(default_factory=dict[str, Json])
    retain: bool = False
    left_out: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])

    def rename(self, **names: str) -> None:
        """Give inputs the names they have here: `src="source"`."""
        for theirs, ours in names.items():
            if theirs in self.inputs:
                self.inputs.setdefault(ours, self.inputs.pop(theirs))

    def call(self, **names: str) -> None:
        """Give outputs the names they have here."""
        for theirs, ours in names.items():
            if theirs in self.outputs:
                self.outputs.setdefault(ours, self.outputs[theirs])

    def absolute(self, path: object) -> str:
        """Give the absolute form of a path of the source."""
        if not isinstance(path, str) or not path:
            raise Unlike("it has no path")
        return posixpath.normpath(posixpath.join(self.root.as_posix(), path))


def classes() -> Mapping[str, tuple[type[Resource], Callable[[Draft], None]]]:
    """Give every kind that can be imported, with its class here and what translates it."""
    from alchemy.cloudflare import D1Database, KVNamespace, R2Bucket, Worker
    from alchemy.fs import CopyFile, File, Folder
    from alchemy.os import Exec
    from alchemy.random import RandomString

    return {
        "fs::File": (File, _file),
        "fs::Folder": (Folder, _folder),
        "fs::CopyFile": (CopyFile, _copy),
        "os::Exec": (Exec, _exec),
        "random::String": (RandomString, _random),
        "cloudflare::D1Database": (D1Database, _d1),
        "cloudflare::KVNamespace": (KVNamespace, _kv),
        "cloudflare::R2Bucket": (R2Bucket, _r2),
        "cloudflare::Worker": (Worker, _worker),
    }


# On this machine


def _file(draft: Draft) -> None:
    path = draft.inputs.setdefault("path", draft.outputs.get("path") or draft.id)
    content = draft.inputs.setdefault("content", draft.outputs.get("content"))
    draft.outputs.setdefault("absolute_path", draft.absolute(path))
    plain = _plain(content)
    if isinstance(plain, str):
        plain = plain.encode("utf-8", "surrogatepass")
    if not isinstance(plain, bytes):
        raise Unlike("its content is not known")
    draft.outputs["size"] = len(plain)
    draft.outputs["sha256"] = None if isinstance(content, Secret) else hashlib.sha256(plain).hexdigest()


def _folder(draft: Draft) -> None:
    path = draft.inputs.setdefault("path", draft.outputs.get("path") or draft.id)
    draft.inputs.pop("recursive", None)  # folders above it are always made
    draft.outputs.setdefault("absolute_path", draft.absolute(path))


def _copy(draft: Draft) -> None:
    draft.rename(src="source", dest="destination")
    draft.inputs.pop("overwrite", None)
    draft.outputs.setdefault("absolute_path", draft.absolute(draft.inputs.get("destination")))


def _exec(draft: Draft) -> None:
    command, memoize = draft.inputs.get("command"), draft.inputs.pop("memoize", None)
    if isinstance(command, str):
        draft.inputs["command"] = ["sh", "-c", command]  # there it was a line for a shell
        draft.notes.append("a command is a list here: what was a line for a shell is run by sh -c")
    if is_object(memoize):
        draft.inputs.setdefault("inputs", memoize.get("patterns") or [])
    draft.inputs.pop("inherit_stdio", None)
    env: Json = draft.inputs.get("env")
    draft.inputs["env"] = {name: text for name, text in env.items() if text is not None} if is_object(env) else {}


def _random(draft: Draft) -> None:
    value = draft.outputs.get("value")
    value = Secret(value) if isinstance(value, str) else value
    text = _plain(value)
    if not isinstance(text, str) or not text:
        raise Unlike("its value is not known")
    draft.outputs["value"] = value
    # There a length counts random bytes, here characters.
    draft.inputs["length"] = len(text)
    if (draft.inputs.get("encoding") or draft.outputs.get("encoding")) == "base64":
        draft.inputs["encoding"] = "base64url"
        draft.notes.append(
            f"base64 is base64url here, and the value stays: length={draft.inputs['length']}, encoding='base64url'"
        )


# Cloudflare


def _d1(draft: Draft) -> None:
    draft.call(id="database_id", name="database_name")
    _need(draft, "database_id", "database_name")
    if draft.inputs.get("jurisdiction") == "default":
        draft.inputs["jurisdiction"] = None
    replication: Json = draft.inputs.get("read_replication")
    if is_object(replication):
        draft.inputs["read_replication"] = replication.get("mode")
    if draft.inputs.get("migrations_table") == "d1_migrations":
        del draft.inputs["migrations_table"]
    files: Json = draft.inputs.pop("migrations_files", None)
    listed = files if is_array(files) else []
    hashes: JsonObject = {str(file.get("id")): file.get("hash") for file in listed if is_object(file)}
    draft.data["migrations"] = {name: text for name, text in hashes.items() if isinstance(text, str)}


def _kv(draft: Draft) -> None:
    draft.call(title="namespace_title")
    _need(draft, "namespace_id", "namespace_title")


def _r2(draft: Draft) -> None:
    draft.rename(location_hint="location", empty="empty_on_delete")
    draft.call(name="bucket_name")
    _need(draft, "bucket_name")
    location = draft.inputs.get("location")
    if isinstance(location, str):
        draft.inputs["location"] = location.lower()
    if not draft.inputs.get("jurisdiction"):
        draft.inputs["jurisdiction"] = draft.outputs.get("jurisdiction") or "default"


def _worker(draft: Draft) -> None:
    draft.rename(url="workers_dev")
    draft.call(name="script_name")
    _need(draft, "script_name")
    url = draft.outputs.get("url")
    draft.outputs["url"] = url if isinstance(url, str) else None
    draft.outputs.setdefault("etag", "")
    entry, cwd = draft.inputs.get("entrypoint"), draft.inputs.pop("cwd", None) or draft.outputs.get("cwd")
    if isinstance(entry, str) and isinstance(cwd, str):
        draft.inputs["entrypoint"] = posixpath.normpath(posixpath.join(cwd, entry))
    observability: Json = draft.inputs.get("observability")
    if not isinstance(observability, bool):  # there it is on unless it is switched off
        draft.inputs["observability"] = not is_object(observability) or observability.get("enabled") is not False
    if draft.inputs.get("compatibility_date") is None and isinstance(draft.outputs.get("compatibility_date"), str):
        draft.data["compatibility_date"] = draft.outputs["compatibility_date"]
    draft.inputs["bundle"] = _bundle(draft)
    for name in ("format", "no_bundle", "source_map", "project_root"):
        draft.inputs.pop(name, None)
    _bind(draft)
    draft.notes.append("it is uploaded once more by the next deploy: what it was made of is not in its record")


def _bundle(draft: Draft) -> str:
    given = draft.inputs.get("bundle")
    if given in ("modules", "esbuild"):
        return str(given)
    entry = draft.inputs.get("entrypoint")
    typed = isinstance(entry, str) and entry.endswith((".ts", ".tsx", ".mts", ".jsx"))
    return "esbuild" if typed and not draft.inputs.get("no_bundle") else "modules"


def _bind(draft: Draft) -> None:
    bindings: dict[str, Any] = {}
    given: JsonObject = {}
    for name in ("env", "bindings"):
        values: Json = draft.inputs.pop(name, None)
        given |= values if is_object(values) else {}
    for name, value in given.items():
        if isinstance(value, Reference):
            bound = refer(value)
            if bound is None:
                draft.left_out.append(f"bindings.{name}")
            else:
                bindings[name] = bound
        elif is_object(value) and "type" in value:
            if value["type"] == "json" and "json" in value:
                bindings[name] = value["json"]
            else:
                draft.left_out.append(f"bindings.{name}")
        elif value is not None:
            bindings[name] = value
    draft.inputs["bindings"] = bindings


_REFERRED = {
    "cloudflare::D1Database": {"id": "database_id", "name": "database_name"},
    "cloudflare::KVNamespace": {"title": "namespace_title"},
    "cloudflare::R2Bucket": {"name": "bucket_name"},
    "cloudflare::Worker": {"name": "script_name"},
}


def refer(reference: Reference) -> Resource | None:
    """Give the resource that a reference stands for; `None` when a Worker cannot be bound to one of its kind here."""
    names = _REFERRED.get(reference.kind)
    if names is None:
        return None
    cls, _ = classes()[reference.kind]
    known = {names.get(name, name): value for name, value in reference.output.items()}
    kept = cls._spec.reference or ()
    values = {name: known[name] for name in kept if name in known}
    return make_detached(cls, id=reference.id.rpartition("/")[2], fqn=reference.fqn, values=values)


def _plain(value: Any) -> Any:
    return cast("Secret[Any]", value).reveal() if isinstance(value, Secret) else value


def _need(draft: Draft, *names: str) -> None:
    for name in names:
        if not isinstance(draft.outputs.get(name), str) or not draft.outputs[name]:
            raise Unlike(f"it has no {name}: it was never made at Cloudflare")


def is_allowed(cls: type[Resource], name: str, value: object) -> bool:
    """Say whether an input or output of a class can have a value."""
    known = {**cls._spec.inputs, **cls._spec.outputs}[name]
    return known.check is None or known.check(value)


def named(resource: Resource) -> str | None:
    """Give what a resource's object is called at Cloudflare, by its outputs."""
    names = _REFERRED.get(resource._kind or "", {})
    for ours in ("database_name", "namespace_title", "bucket_name", "script_name"):
        if ours in names.values():
            return str(resource.__dict__[ours])
    return None
