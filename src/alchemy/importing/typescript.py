"""A folder that Alchemy for TypeScript wrote: one file of JSON a record.

```
.alchemy/notes/prod.json                   the stage, when it keeps data of its own
.alchemy/notes/prod/api.json               a resource; `/` in its id is `:` in the file's name
.alchemy/notes/prod/site.json              a nested scope: kind `alchemy::Scope`, an empty `fqn`
.alchemy/notes/prod/site/index.json        a resource in it
```

A record has `status kind id fqn seq data props output`, and `oldProps` while it is being updated. Above `<app>` there
are folders that hold no state (`logs`, `pids`, `out`, …).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from alchemy.errors import ConfigurationError, StateDamaged, StateTooNew
from alchemy.importing.found import Found, Source, broken, object_at, seq_at, status_at
from alchemy.names import join
from alchemy.state import Json, JsonObject, is_object

FOLDER = ".alchemy"
_KEYS = frozenset({"status", "kind", "id", "fqn", "seq", "data", "props", "oldProps", "output"})
_NO_STATE = frozenset({"logs", "pids", "out", "local", "miniflare", "types"})
_READS = "Alchemy for TypeScript up to 0.94"


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    chain: tuple[str, ...]
    """The folders between the source and the file."""
    record: JsonObject

    @property
    def id(self) -> str:
        return str(self.record["id"])


def read_folder(
    path: Path, *, app: str | None, stage: str | None, folder: Path, load: Callable[[Path], Json]
) -> Source:
    """Read the records of one application; see `read_source`."""
    files = list(_files(path, load))
    if not files:
        raise ConfigurationError(
            f"{path} holds no record of {_READS}", hint="name the folder .alchemy, or an application's folder in it"
        )
    above = _above(path, files)
    units: dict[str, list[Found]] = {}
    for file in files:
        found = _found(file, above)
        parts = found.fqn.split("/")
        if len(parts) < 2:
            raise broken(found.where, f"{found.fqn} lies in no stage")
        units.setdefault(join(*parts[:2]), []).append(found)
    root = path.parent if path.name == FOLDER else folder
    return Source(path=path, form="typescript", root=root.absolute(), units=_chosen(units, app, stage, path))


def _files(path: Path, load: Callable[[Path], Json]) -> Iterator[_File]:
    for file in sorted(path.rglob("*.json")):
        if file.is_dir():
            continue  # a scope of such a name
        chain = file.relative_to(path).parts[:-1]
        elsewhere = bool(chain) and chain[0] in _NO_STATE
        try:
            record = load(file)
        except StateDamaged:
            if elsewhere:
                continue
            raise
        if is_object(record) and _is_record(record):
            _check_form(file, record)
            yield _File(file, chain, record)
        elif not elsewhere:
            raise broken(str(file), f"this is not a record as {_READS} writes it")


def _is_record(record: JsonObject) -> bool:
    return all(isinstance(record.get(key), str) for key in ("kind", "id", "status"))


def _check_form(file: Path, record: JsonObject) -> None:
    unknown = sorted(record.keys() - _KEYS)
    if unknown:
        raise StateTooNew(
            f"{file} has {', '.join(map(repr, unknown))}, which no record of {_READS} has",
            hint="it was written by a newer version, whose state cannot be read; nothing was imported",
        )


def _above(path: Path, files: Sequence[_File]) -> tuple[str, ...]:
    """Find out which chain the folder itself stands for: none, or an application's.

    A resource's record says its FQN, so that what is missing before its folders is that chain. A stage's folder is
    refused: what the stage itself keeps lies beside it.
    """
    for file in files:
        fqn = file.record.get("fqn")
        if not isinstance(fqn, str) or not fqn:
            continue
        end = join(*file.chain, file.id)
        if fqn == end:
            return ()
        if fqn.endswith(f"/{end}"):
            above = tuple(fqn.removesuffix(f"/{end}").split("/"))
            if len(above) > 1:
                raise ConfigurationError(
                    f"{path} is only a part of {above[0]}: {join(*above)}",
                    hint=f"name the folder of {above[0]}, and say the stage: --stage {above[1]}",
                )
            return above
        raise broken(str(file.path), f"it says that it is {fqn}, and lies where {end} should be")
    if path.name == FOLDER:
        return ()
    raise broken(str(path), "no record in it says which application it belongs to")


def _found(file: _File, above: tuple[str, ...]) -> Found:
    where, record = str(file.path), file.record
    fqn = join(*above, *file.chain, file.id)
    said = record.get("fqn")
    if said and said != fqn:
        raise broken(where, f"it says that it is {said}, and lies where {fqn} should be")
    return Found(
        where=where,
        fqn=fqn,
        kind=str(record["kind"]),
        id=file.id,
        status=status_at(record, where),
        seq=seq_at(record, where),
        props=object_at(record, "props", where),
        old_props=object_at(record, "oldProps", where) if "oldProps" in record else None,
        output=object_at(record, "output", where),
        data=object_at(record, "data", where),
        raw=record,
    )


def _chosen(
    units: dict[str, list[Found]], app: str | None, stage: str | None, path: Path
) -> dict[str, Sequence[Found]]:
    """Give the stages that are meant.

    Raises:
        ConfigurationError: they are not there, or there are several applications; lists what there is.
    """
    apps = list(dict.fromkeys(unit.partition("/")[0] for unit in units))
    if app is None and len(apps) > 1:
        raise ConfigurationError(
            f"{path} holds several applications: {', '.join(apps)}", hint="say which one: --app NAME"
        )
    if app is not None and app not in apps:
        raise ConfigurationError(f"{path} holds no application {app!r}", hint=f"it holds {', '.join(apps)}")
    chosen = app or apps[0]
    stages = {unit.partition("/")[2]: found for unit, found in units.items() if unit.startswith(f"{chosen}/")}
    if stage is not None and stage not in stages:
        raise ConfigurationError(
            f"{path} holds no stage {stage!r} of {chosen}", hint=f"it holds {', '.join(sorted(stages))}"
        )
    return {join(chosen, name): found for name, found in sorted(stages.items()) if stage in (None, name)}
