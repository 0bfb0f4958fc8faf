"""What the holder of a unit knows of its files, and what each change makes of it. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from alchemy.state import SCOPE_KINDS, encode, from_json, unseal
from alchemy.stores._commits import Cleared, Dropped, Written
from alchemy.stores._folding import Plan, plan_fold
from alchemy.stores._index import Index
from alchemy.stores._journal import Journal, delete_payload, set_payload
from alchemy.stores._layout import RECORD, Places
from alchemy.stores._reading import Reading
from alchemy.stores._tree import read_file


class Contents:
    """The files of a unit as they were read, and the changes since.

    Attributes:
        sums, paths: of the record files that are there, without those that a `Remover` has been given.
        strays: files in places where nothing belongs.
        empty: folders that a predecessor, stopped in the middle, may have left empty.
        freed: those with a file whose record is dropped.
        own: the unit's own record.
        changes: by FQN what the files do not hold yet; `None` for a dropped record.
        journal: where they are written.
        journals: the files of all journals there were.
    """

    def __init__(self, folder: str, unit: str, reading: Reading, journal: Journal) -> None:
        tree = reading.tree
        own = reading.records.get(unit)
        self._folder = folder
        self._unit = unit
        self._scopes = tree.scopes
        self._index = Index({fqn: record.kind in SCOPE_KINDS for fqn, record in reading.records.items()})
        self.sums = tree.sums
        self.paths = tree.paths
        self.strays = list(tree.bad)
        self.empty = tree.empty if reading.interrupted else []
        self.freed = {fqn for fqn, raw in reading.changes.items() if raw is None and fqn in tree.paths}
        self.own = encode(own) if own is not None else None
        self.changes = reading.changes
        self.journal = journal
        self.journals = reading.journals

    def note(self, change: Written | Dropped | Cleared) -> bytes:
        """Take a change into account, and give it as the journal has it."""
        match change:
            case Written(records, dropped):
                return self._write(records, dropped)
            case Dropped(fqns):
                self._forget(fqns)
                return delete_payload(fqns)
            case Cleared(chain, records):
                return self._write(records, tuple(self._index.within(chain)))

    def accept(self, fqn: str, raw: bytes | None) -> None:
        """Count a record that was read as it is, or as gone, as changed."""
        self.changes[fqn] = raw
        if fqn == self._unit:
            self.own = raw

    def give_up(self, gone: Sequence[str]) -> list[str]:
        """Count the files of dropped records as not there; give their paths."""
        paths = [self.paths.pop(fqn) for fqn in gone]
        for fqn in gone:
            del self.sums[fqn]
        self.freed.clear()
        return paths

    def take_along(self) -> list[bytes]:
        """Count records as changed that have to move because one above them became, or ceased to be, a resource."""
        moved: list[bytes] = []
        places = Places(self._unit, self._index.scopes)
        for fqn in list(self.changes):
            if self._scopes.get(fqn, True) == self._index.scopes.get(fqn, True):
                continue
            for below in self._index.within(fqn):
                if below in self.changes:
                    continue
                path = self.paths[below]
                if path != f"{self._folder}/{places.folder(below)}/{RECORD}":
                    raw = encode(from_json(unseal(read_file(path), where=path), where=path))
                    self.changes[below] = raw
                    moved.append(raw)
        return moved

    def plan(self) -> Plan:
        """Work out what a fold has to do."""
        return plan_fold(
            self._folder,
            self._unit,
            changes=self.changes,
            sums=self.sums,
            paths=self.paths,
            scopes=self._index.scopes,
            strays=self.strays,
            folders=self.empty,
        )

    def _write(self, records: Sequence[tuple[str, bytes, bool]], dropped: Sequence[str]) -> bytes:
        self._forget(dropped)
        for fqn, raw, scope in records:
            self.changes[fqn] = raw
            self._index.add(fqn, scope=scope)
            self.freed.discard(fqn)
            if fqn == self._unit:
                self.own = raw
        return set_payload([raw for _, raw, _ in records], dropped)

    def _forget(self, fqns: Sequence[str]) -> None:
        for fqn in fqns:
            self.changes[fqn] = None
            self._index.drop(fqn)
            if fqn in self.paths:
                self.freed.add(fqn)
            if fqn == self._unit:
                self.own = None
