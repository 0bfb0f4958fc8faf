"""Taking back record files that a person has edited: what is there, what it was, and whether all the rest is whole.

The edit becomes a commit, and the frame that holds it announces the fold that follows: from the moment it is durable
the state is whole with the edit in it, whatever part of the fold comes to be.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from alchemy.errors import AlchemyError, StateDamaged, StateError
from alchemy.names import is_within
from alchemy.state import Record, decode, encode, from_json, is_object, now
from alchemy.stores._layout import RECORD, RESOURCES, Places, unquote
from alchemy.stores._reading import (
    Manifest,
    Reading,
    Replayed,
    apply_changes,
    check_files,
    check_version,
    link_journals,
    read_head,
    replay,
)
from alchemy.stores._tree import Tree, Walk, read_file

_OWN_KEYS = ("min_reader", "min_writer")
_CHECKSUM_LENGTH = 16


@dataclass(slots=True)
class Edited:
    """A record file as a person left it.

    Attributes:
        fqn: of the record; of the one that was there when the file is gone.
        record: what the file says; `None` when it is gone.
        stated: the checksum that stands in it; of what was there before, unless that was edited too.
        manifest: what a unit's own file says of the other files.
        newer: what the log of commits says of the record, when it has changed since the file was written.
        is_dropped: whether the log says that it was dropped.
    """

    path: str
    fqn: str
    record: Record | None
    stated: bytes | None
    manifest: Manifest | None
    newer: Record | None = None
    is_dropped: bool = False


def read_edited(path: str, folder: str, unit: str) -> Edited:
    """Read a file that was edited.

    Raises:
        StateDamaged: it is not JSON (says in which line and column), or not a record.
        StateTooNew: only a newer version can read it.
    """
    try:
        raw = read_file(path)
    except FileNotFoundError:
        if path == f"{folder}/{RECORD}":
            raise
        return Edited(path, _name_of(path, folder, unit), None, None, None)
    body = _parsed(raw, path)
    stated = body.pop("checksum", None)
    sum_ = stated.encode() if isinstance(stated, str) and len(stated) == _CHECKSUM_LENGTH else None
    manifest: Manifest | None = None
    if path == f"{folder}/{RECORD}":
        for key in _OWN_KEYS:
            check_version(body, key, path, unit)
            body.pop(key, None)
        given = body.pop("manifest", None)
        try:
            manifest = msgspec.convert(given, Manifest)
        except msgspec.ValidationError as error:
            raise StateDamaged(
                f"{path} has no manifest: {error}", path=path, hint="put `manifest` back as it was"
            ) from error
    try:
        record = from_json(body, where=path)
    except StateDamaged as error:
        raise StateDamaged(error.message, path=path, hint="correct the file, then accept it again") from error
    if not is_within(record.fqn, unit):
        raise _misplaced(path, record)
    return Edited(path, record.fqn, record, sum_, manifest)


def take_back(folder: str, unit: str, edits: Sequence[Edited], *, force: bool) -> Reading:
    """Read a unit with edited files in it, as if they were commits. Changes nothing.

    Args:
        force: take an edit though the record was changed, or dropped, since the file was written.

    Raises:
        StateDamaged: something else is wrong; names it.
        StateError: an edit is of a record that has changed since.
    """
    by_path = {edit.path: edit for edit in edits}
    tree = Tree()
    manifest = _head(folder, unit, tree, by_path)
    Walk(tree).scope(folder, unit)
    journals, linked = link_journals(folder, manifest)
    replayed = replay(linked, folder)
    for edit in edits:
        tree.bad.pop(edit.path, None)
        _forget(tree, edit.fqn)
        if edit.fqn in replayed.changes:
            raw = replayed.changes[edit.fqn]
            edit.newer = decode(raw, where=folder) if raw is not None else None
            edit.is_dropped = raw is None
            if not force:
                raise _changed_since(edit)
    for error in tree.bad.values():
        raise StateDamaged(error.message, path=error.path, hint="accept all edited files together, in one command")
    _check_rest(replayed, tree, manifest, folder, unit, edits)
    records = apply_changes(tree.records, replayed.changes, folder)
    for edit in edits:
        records.pop(edit.fqn, None)
        if edit.record is not None:
            records[edit.fqn] = edit.record
        if edit.record is not None and edit.fqn != unit:
            tree.paths[edit.fqn] = edit.path
            tree.scopes[edit.fqn] = edit.record.is_scope
            tree.sums[edit.fqn] = b""  # so that the file is written whatever stands in it
    places = Places(unit, {fqn: record.is_scope for fqn, record in records.items()})
    for edit in edits:
        below = places.folder(edit.fqn)
        if edit.record is not None and edit.path != (f"{folder}/{below}/{RECORD}" if below else f"{folder}/{RECORD}"):
            raise _misplaced(edit.path, edit.record)
    return Reading(
        records=records,
        tree=tree,
        changes=replayed.changes,
        chain=linked,
        journals=journals,
        interrupted=True,
        notices=[],
    )


def sealed_again(edit: Edited, *, token: int) -> bytes | None:
    """Give an edit as the commit that it becomes: written now, under a token."""
    record = edit.record
    if record is None:
        return None
    record.rev = max(record.rev, edit.newer.rev if edit.newer else 0) + 1
    record.fence = token
    record.updated_at = now()
    return encode(record)


def _name_of(path: str, folder: str, unit: str) -> str:
    """Give the FQN of the record that belongs in a file."""
    *names, file = path.removeprefix(f"{folder}/").split("/")
    parts = [unquote(name) for name in names if name != RESOURCES]
    if file != RECORD or not parts or None in parts:
        raise StateError(f"{path} is not where a record belongs", hint="name a file called state.json in the stage")
    return "/".join([unit, *(part for part in parts if part is not None)])


def _parsed(raw: bytes, path: str) -> dict[str, object]:
    try:
        data = msgspec.json.decode(raw)
    except (ValueError, RecursionError) as error:
        raise StateDamaged(
            f"{path}{_position(raw)} is not JSON: {error}", path=path, hint="correct it there, then accept it again"
        ) from error
    if not is_object(data):
        raise StateDamaged(f"{path} holds no object", path=path, hint="a record begins with { and ends with }")
    return data


def _position(raw: bytes) -> str:
    """Say where the first mistake is: `:LINE:COLUMN`, as editors understand it."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        good = raw[: error.start].decode()
        return f":{good.count(chr(10)) + 1}:{len(good) - good.rfind(chr(10))}"
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return f":{error.lineno}:{error.colno}"
    except RecursionError:
        pass
    return ""


def _head(folder: str, unit: str, tree: Tree, edits: dict[str, Edited]) -> Manifest | None:
    own = edits.get(f"{folder}/{RECORD}")
    if own is not None:
        return own.manifest
    manifest, record = read_head(folder, unit) or (None, None)
    if record is not None:
        tree.records[unit] = record
        tree.scopes[unit] = record.is_scope
    return manifest


def _forget(tree: Tree, fqn: str) -> None:
    for kept in (tree.records, tree.sums, tree.scopes, tree.paths):
        kept.pop(fqn, None)


def _check_rest(
    replayed: Replayed, tree: Tree, manifest: Manifest | None, folder: str, unit: str, edits: Sequence[Edited]
) -> None:
    """Check that all other files are what was written.

    The checksums that still stand in edited files prove it. Where one is gone, the number of files has to be right.
    """
    rest = dict(tree.sums)
    edited = [edit for edit in edits if edit.fqn != unit]
    stated = {edit.fqn: edit.stated for edit in edited if edit.stated is not None}
    damage: StateDamaged | None = None
    for came in _subsets(list(stated)):
        tree.sums = {**rest, **{fqn: checksum for fqn, checksum in stated.items() if fqn not in came}}
        try:
            check_files(replayed, tree, manifest, folder, unit)
        except StateDamaged as error:
            damage = damage or error
        else:
            break
    else:
        least, wanted = _counts(replayed, rest, manifest or Manifest(), unit)
        is_proven_wrong = len(stated) == len(edited)
        if damage is not None and (is_proven_wrong or not least <= wanted <= least + len(edited)):
            raise damage
    tree.sums = rest


def _subsets(names: list[str]) -> Iterator[set[str]]:
    """Give which of the edited files may have come by hand to those that were written: none, each, all."""
    yield set()
    for name in names:
        yield {name}
    if len(names) > 1:
        yield set(names)


def _counts(replayed: Replayed, sums: Mapping[str, bytes], manifest: Manifest, unit: str) -> tuple[int, int]:
    """Give how many files there are without the edited ones, and how many there have to be."""
    there = {*replayed.gone, *sums}
    if replayed.begun is None:
        return len(there), manifest.count
    fold, changes = replayed.begun
    for fqn, raw in changes.items():
        if fqn == unit or raw is None:
            there.discard(fqn)
        else:
            there.add(fqn)
    return len(there), fold.count


def _misplaced(path: str, record: Record) -> StateDamaged:
    return StateDamaged(
        f"{path} holds the record of {record.fqn} ({record.kind}), which does not belong there",
        path=path,
        hint="put `fqn`, `id` and `kind` back as they were, or move the file to where it belongs",
    )


def _changed_since(edit: Edited) -> AlchemyError:
    what = "dropped" if edit.is_dropped else f"changed (to revision {edit.newer.rev})" if edit.newer else "changed"
    return StateError(
        f"{edit.path} is out of date: the record of {edit.fqn} was {what} by a run that was cut short",
        hint="put the file back as it was and run again; or take the edit instead of that change: --force",
    )
