"""What is wrong with the folder of one unit. Changes nothing, and raises for no damage."""

from __future__ import annotations

import os
from collections.abc import Mapping

from alchemy.errors import AlchemyError, StateDamaged
from alchemy.ports import Problem
from alchemy.soundness import check_backups, check_records
from alchemy.state import Record, decode
from alchemy.stores._folding import RESERVE, TORN
from alchemy.stores._journal import Chain, Scan, chain, scan
from alchemy.stores._layout import ASIDE, BACKUPS, LOGS, RECORD, Places
from alchemy.stores._reading import Manifest, Replayed, check_files, list_journals, read_head, replay
from alchemy.stores._tree import Tree, Walk, read_file

REMOVE = "it is left from a run that was cut short and counts for nothing: remove it"
LOOK = "check its rights and its disk"


class Inspection:
    """Looks through a unit's folder. To be used once, under the guard.

    Args:
        live: whether somebody is at work on it this moment: what is half done is no problem then.
    """

    def __init__(self, folder: str, unit: str, *, live: bool) -> None:
        self._folder = folder
        self._unit = unit
        self._live = live
        self._found: list[Problem] = []
        self._tree = Tree()

    def run(self) -> list[Problem]:
        """Give what was found."""
        manifest, readable = self._head()
        # The files before the journals, see `read_unit`.
        Walk(self._tree, tolerant=True).scope(self._folder, self._unit)
        replayed = self._journals(manifest or Manifest()) if readable else None
        if replayed is None:
            self._files(self._tree.bad)
        else:
            self._manifest(manifest, replayed)
            self._records(replayed.changes)
        for path, error in self._tree.refused.items():
            self._tell(error, path, self._tree.supposed.get(path))
        self._backups()
        if not self._live:
            self._leftovers(self._folder)
        return self._found

    def _head(self) -> tuple[Manifest | None, bool]:
        path = f"{self._folder}/{RECORD}"
        try:
            head = read_head(self._folder, self._unit)
        except (AlchemyError, OSError) as error:
            self._tell(error, path, self._unit)
            return None, False
        if head is None:
            return None, True
        manifest, record = head
        if record is not None:
            self._tree.records[self._unit] = record
            self._tree.scopes[self._unit] = record.is_scope
        return manifest, True

    def _journals(self, folded: Manifest) -> Replayed | None:
        """Put the journals together; `None` when they cannot be."""
        path = self._folder
        try:
            scans: list[Scan] = []
            for token, name in list_journals(self._folder):
                path = f"{self._folder}/{name}"
                scans.append(scan(path, token, read_file(path)))
            linked = chain(scans, n=folded.commit, head=folded.sum)
            if not self._live:
                self._torn(linked)
            return replay(linked, self._folder)
        except (AlchemyError, OSError) as error:
            self._tell(error, path, None)
            return None

    def _torn(self, linked: Chain) -> None:
        for torn in linked.torn:
            self._add(
                torn.path,
                f"its last commit was cut short, {torn.size - torn.good} bytes of it are there",
                "nothing is lost, it was never confirmed; the next run sets it aside",
            )

    def _manifest(self, manifest: Manifest | None, replayed: Replayed) -> None:
        """Compare the files with what is known of them."""
        tree = self._tree
        bad = dict(tree.bad)
        tree.bad.clear()  # or the first of them would be all that is told
        try:
            check_files(replayed, tree, manifest, self._folder, self._unit)
        except StateDamaged as error:
            known = {f"{path}/{RECORD}": path for path in tree.bare} if replayed.begun is None else {}
            lost = (manifest or Manifest()).count - len({**replayed.gone, **tree.sums})
            explained = len(bad) + len(known) + len(tree.refused)
            if not explained or lost != explained or replayed.begun is not None:
                self._tell(error, self._folder, None)
                known = {}
            self._files(bad)
            for path, folder in known.items():
                self._add(path, "it is missing", self._restore(), tree.supposed.get(folder))
        else:
            if replayed.begun is None:  # else they are what an interrupted fold has left, and the next one removes
                self._files(bad)

    def _files(self, bad: Mapping[str, StateDamaged]) -> None:
        for path, error in bad.items():
            self._tell(error, path, self._tree.supposed.get(path))

    def _records(self, changes: Mapping[str, bytes | None]) -> None:
        tree = self._tree
        records = dict(tree.records)
        for fqn, raw in changes.items():
            records.pop(fqn, None)
            if raw is not None:
                try:
                    records[fqn] = decode(raw, where=f"{self._folder}: the commit of {fqn}")
                except AlchemyError as error:
                    self._tell(error, self._folder, fqn)
                    tree.supposed[fqn] = fqn
        unreadable = {fqn for fqn in tree.supposed.values() if fqn is not None}
        self._found += check_records(records, self._unit, place=self._place_of(records), unreadable=unreadable)

    def _place_of(self, records: Mapping[str, Record]) -> _PlaceOf:
        scopes = {fqn: record.is_scope for fqn, record in records.items()}
        return _PlaceOf(self._folder, Places(self._unit, scopes))

    def _backups(self) -> None:
        folder = f"{self._folder}/{BACKUPS}"
        for name in _names(folder):
            path = f"{folder}/{name}"
            if name.endswith(ASIDE):
                continue
            try:
                raw = read_file(path)
            except OSError as error:
                self._tell(error, path, None)
            else:
                self._found += check_backups({path: raw}, self._unit)

    def _leftovers(self, folder: str) -> None:
        top = folder == self._folder
        try:
            with os.scandir(folder) as entries:
                found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        except OSError:
            return  # it was told already
        if not found and not {folder, f"{folder}/{RECORD}"} & {problem.where for problem in self._found}:
            self._add(folder, "it is an empty folder", REMOVE)
        journals = top and bool(list_journals(folder))
        for name, is_folder in found:
            path = f"{folder}/{name}"
            if is_folder:
                if not (top and name == LOGS):
                    self._leftovers(path)
            elif name.endswith(ASIDE):
                self._add(path, "it was being written and was never finished", REMOVE)
            elif top and name.startswith(TORN):
                self._add(
                    path, "it holds a commit that was cut short and never confirmed", "look into it, then remove it"
                )
            elif top and name == RESERVE and not journals:
                self._add(path, "it keeps room on the disk for a run that is over", REMOVE)

    def _restore(self) -> str:
        names = [name for name in _names(f"{self._folder}/{BACKUPS}") if not name.endswith(ASIDE)]
        gone = "if its resource is gone, say so with `alchemy state accept FILE`"
        if names:
            return f"put it back, or restore: `alchemy scope restore {self._unit} --backup {max(names)}`; {gone}"
        return f"put it back; {gone}; there is no backup"

    def _tell(self, error: AlchemyError | OSError, path: str, fqn: str | None) -> None:
        if isinstance(error, OSError):
            self._add(str(error.filename or path), f"it cannot be read: {error.strerror or error}", LOOK, fqn)
            return
        where = str(getattr(error, "path", None) or path)
        self._add(where, error.message, error.hint or self._restore(), fqn)

    def _add(self, where: str, what: str, remedy: str, fqn: str | None = None) -> None:
        self._found.append(Problem(where=where, what=what, remedy=remedy, fqn=fqn))


class _PlaceOf:
    """Gives the file of a record, also of one that is in the journal only."""

    def __init__(self, folder: str, places: Places) -> None:
        self._folder = folder
        self._places = places

    def __call__(self, fqn: str) -> str:
        below = self._places.folder(fqn)
        return f"{self._folder}/{below}/{RECORD}" if below else f"{self._folder}/{RECORD}"


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []
