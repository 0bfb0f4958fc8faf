"""Take back record files that were edited by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from alchemy.errors import ConfigurationError, StateError
from alchemy.history import decode_backup
from alchemy.owner import owner_of
from alchemy.ports import StateStore
from alchemy.state import Json, JsonObject, Record, is_object, to_json
from alchemy.stores import FileStore
from alchemy.stores._sealed import plain

_OURS = ("rev", "fence", "updated_at")


@dataclass(frozen=True, slots=True)
class Change:
    """One value that an edit changes.

    Attributes:
        key: where it is in the record: `props.path`.
        old, new: JSON; `None` for what is not there.
    """

    key: str
    old: Json
    new: Json


@dataclass(frozen=True, slots=True)
class Accepted:
    """A record that was taken back.

    Attributes:
        path: its file.
        is_gone: whether the file is gone, and with it the record.
        compared_with: what it was compared with; `None` when no earlier version is known.
        changes: what differs from that.
    """

    path: Path
    fqn: str
    is_gone: bool
    compared_with: str | None
    changes: Sequence[Change]


async def accept(
    store: StateStore, paths: Sequence[Path], *, timeout: float, force: bool = False, dry_run: bool = False
) -> list[Accepted]:
    """Take back files of records as they are now, those of a stage in one commit.

    Args:
        paths: what was edited, or removed.
        timeout: seconds to wait for another holder of the stage.
        force: also when the record was changed, since the file was written, by a run that was cut short.
        dry_run: check, say what would change, and change nothing.

    Raises:
        ConfigurationError: the store has no files to edit.
        StateError: an edit cannot be taken, or something else is wrong too; nothing was changed in that stage.
        LockedError: somebody is at work on it.
    """
    store = plain(store)  # files are edited as they are stored
    if not isinstance(store, FileStore):
        raise ConfigurationError(f"{store.url} has no files to edit", hint="this is for state in a folder")
    by_unit: dict[str, list[Path]] = {}
    for path in paths:
        by_unit.setdefault(await store.unit_at(path), []).append(path)
    accepted: list[Accepted] = []
    for unit, files in by_unit.items():
        earlier = await _earlier(store, unit)
        lease = await store.acquire(unit, owner=owner_of("accept"), timeout=timeout)
        try:
            for edit in await store.accept(lease, files, force=force, dry_run=dry_run):
                known = ("the log of commits", edit.newer) if edit.newer else earlier.get(edit.fqn, (None, None))
                accepted.append(_accepted(edit.path, edit.fqn, edit.record, *known))
        finally:
            await store.release(lease)
    return accepted


async def _earlier(store: StateStore, unit: str) -> Mapping[str, tuple[str, Record]]:
    """Give the newest backup's records, each with the backup's name; a damaged one is passed over."""
    for name in reversed(await store.backups(unit)):
        try:
            backup = decode_backup(await store.read_backup(unit, name), where=name)
        except StateError:
            continue
        return {fqn: (f"the backup {name}", record) for fqn, record in backup.records.items()}
    return {}


def _accepted(path: str, fqn: str, record: Record | None, known_from: str | None, known: Record | None) -> Accepted:
    changes: list[Change] = []
    if known is not None and record is not None:
        old, new = to_json(known), to_json(record)
        changes = [change for change in _differences(old, new, "") if change.key not in _OURS]
    return Accepted(Path(path), fqn, record is None, known_from, changes)


def _differences(old: JsonObject, new: JsonObject, above: str) -> Iterator[Change]:
    for key in {**old, **new}:
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if is_object(before) and is_object(after) and "@secret" not in {**before, **after}:
            yield from _differences(before, after, f"{above}{key}.")
        else:
            yield Change(f"{above}{key}", before, after)
