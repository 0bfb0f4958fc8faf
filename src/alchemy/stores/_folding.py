"""Folding: the changes of a run's journals go into the record files, and the journals go away.

The order is what keeps every instant safe. First a frame in the journal says what the files will be. Then files
are written and removed, in any order: until the last step the journal has all of it and is replayed over
whatever is there. When they are durable, the unit's `state.json` gets a manifest that names the last commit folded:
from then on the journals no longer count, and they are removed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from alchemy.state import VERSION, seal, seal_encoded
from alchemy.stores._disk import Disk
from alchemy.stores._layout import BACKUPS, LOGS, RECORD, Places
from alchemy.stores._reading import Manifest
from alchemy.stores._removal import remove_records
from alchemy.stores._sweeper import remove_folder
from alchemy.stores._tree import checksum_of

RESERVE = "journal.reserve"
TORN = "journal.torn-"
MANY = 64
"""With more files or folders than this, one `syncfs` replaces an fsync of each."""


@dataclass(slots=True)
class Plan:
    """What a fold has to do.

    Attributes:
        written: file and content; `True` when the file is there already.
        removed: files of dropped or moved records.
        folders: may be empty, or names went from them.
        sums: the checksums of all record files afterwards, by FQN.
    """

    written: list[tuple[str, bytes, bool]]
    removed: list[str]
    folders: set[str]
    sums: dict[str, bytes]


def plan_fold(
    folder: str,
    unit: str,
    *,
    changes: Mapping[str, bytes | None],
    sums: Mapping[str, bytes],
    paths: Mapping[str, str],
    scopes: Mapping[str, bool],
    strays: Iterable[str],
    folders: Iterable[str],
) -> Plan:
    """Work out which files change. Pure.

    Args:
        changes: by FQN, the encoded record or `None`.
        sums, paths: of the files that are there.
        scopes: whether a record is a scope's, after the changes.
        strays: files that an interrupted fold or removal has left in places where nothing belongs.
        folders: those from which names went, or that an interrupted fold or removal has left empty.
    """
    places = Places(unit, scopes)
    left = dict(sums)
    written: list[tuple[str, bytes, bool]] = []
    removed: list[str] = []
    for fqn, raw in changes.items():
        if fqn == unit:
            continue
        old = paths.get(fqn)
        new = f"{folder}/{places.folder(fqn)}/{RECORD}" if raw is not None else None
        if raw is not None and new is not None:
            sealed = seal_encoded(raw)
            checksum = checksum_of(sealed)
            if old != new or left.get(fqn) != checksum:
                written.append((new, sealed, old == new))
            left[fqn] = checksum
        else:
            left.pop(fqn, None)
        if old is not None and old != new:
            removed.append(old)
    kept = {path for path, _, _ in written}
    removed.extend(path for path in strays if path not in kept)
    # A record may have moved to where another one was.
    removed = [path for path in removed if path not in kept] if written else removed
    return Plan(written, removed, set(folders), left)


def carry_out(disk: Disk, folder: str, plan: Plan) -> None:
    """Write and remove the record files; what was done is durable on return."""
    whole = disk.syncs_whole and len(plan.written) > MANY
    touched = _Touched(disk)
    for path, data, there in plan.written:
        if not there:
            touched.make(path.rpartition("/")[0])
            touched.add(path.rpartition("/")[0])
        # Not aside: should it be torn, the journal is read in its stead.
        disk.write_file(path, data, sync=not whole)
    touched.prune(plan.folders | remove_records(disk, plan.removed), top=folder)
    if whole or (disk.syncs_whole and len(touched) > MANY):
        disk.sync_all(folder)
    else:
        touched.sync()


def write_head(disk: Disk, folder: str, unit: str, record: bytes | None, manifest: Manifest) -> None:
    """Write the unit's `state.json`; this is the moment from which the journals no longer count."""
    body: dict[str, object] = {"unit": unit} if record is None else msgspec.json.decode(record)
    body |= {"min_reader": VERSION, "min_writer": VERSION, "manifest": msgspec.to_builtins(manifest)}
    path = f"{folder}/{RECORD}"
    disk.write_file(f"{path}.new", seal(body), sync=True)
    disk.replace(f"{path}.new", path)
    disk.sync_folder(folder)


def remove_unit(disk: Disk, folder: str, journals: Sequence[str]) -> None:
    """Remove an empty unit's own files, then its folder, unless logs or backups are in it."""
    drop_files(disk, folder, journals)
    disk.sync_folder(folder)  # a journal that came back without the manifest would not be understood
    drop_files(disk, folder, [RECORD])
    _remove_empty(disk, folder)
    with contextlib.suppress(FileNotFoundError):
        disk.sync_folder(folder.rpartition("/")[0])


def drop_files(disk: Disk, folder: str, names: Iterable[str]) -> None:
    """Remove files that may be gone already."""
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            disk.unlink(f"{folder}/{name}")


def make_folders(disk: Disk, path: str) -> None:
    """Make a folder and those above it, durably."""
    touched = _Touched(disk)
    touched.make(path)
    touched.sync()


class _Touched:
    """The folders in which names came or went."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._folders: set[str] = set()
        self._there: set[str] = set()

    def __len__(self) -> int:
        return len(self._folders)

    def add(self, folder: str) -> None:
        self._folders.add(folder)

    def make(self, folder: str) -> None:
        if folder in self._there:
            return
        above = folder.rpartition("/")[0]
        try:
            try:
                self._disk.mkdir(folder)
            except FileNotFoundError:
                self.make(above)
                self._disk.mkdir(folder)
            self._folders.add(above)
        except FileExistsError:
            pass  # also when another process was quicker
        self._there.add(folder)

    def prune(self, folders: set[str], *, top: str) -> None:
        """Remove folders that have become empty, and then those above them."""
        while folders:
            above: set[str] = set()
            for folder in folders:
                if folder != top and remove_folder(self._disk, folder):
                    self._folders.discard(folder)
                    above.add(folder.rpartition("/")[0])
                else:
                    self._folders.add(folder)
            folders = above

    def sync(self) -> None:
        for folder in sorted(self._folders, reverse=True):
            with contextlib.suppress(FileNotFoundError):
                self._disk.sync_folder(folder)


def _remove_empty(disk: Disk, folder: str) -> None:
    """Remove what an interrupted fold or a torn journal has left of a unit that is gone, but no log or backup."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False) and entry.name not in (LOGS, BACKUPS):
            _remove_empty(disk, entry.path)
        elif entry.name == f"{RECORD}.new" or entry.name.startswith(TORN):
            disk.unlink(entry.path)
    remove_folder(disk, folder)
