"""Reading record files: what lies in the folders of a unit. Changes nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from alchemy.errors import AlchemyError, StateDamaged
from alchemy.names import leaf, parent
from alchemy.state import SCOPE_KINDS, Record, unseal_record
from alchemy.stores._layout import BACKUPS, LOGS, RECORD, RESOURCES, quote, quote_scope, unquote

_CHECKSUM = slice(-20, -4)  # of a sealed file: where `state.seal` puts the checksum's hexadecimal digits
_CHUNK = 1 << 16
_NOT_SCOPES = frozenset({LOGS, BACKUPS})


@dataclass(slots=True)
class Tree:
    """What the record files of a unit hold.

    Attributes:
        records: by FQN, the unit's own included.
        sums: the files' checksums by FQN, without the unit's own.
        scopes: whether a record is a scope's, by FQN.
        paths: the records' files, by FQN, without the unit's own.
        bad: files that cannot be read, with the reason.
        bare: folders where a record should be and none is.
        empty: folders that hold nothing of ours.
        refused: what else kept files from being read; only by a tolerant walk, and the others raise it.
        supposed: the FQNs that files and folders of `bad`, `bare` and `refused` seem to be of.
    """

    records: dict[str, Record] = field(default_factory=dict[str, Record])
    sums: dict[str, bytes] = field(default_factory=dict[str, bytes])
    scopes: dict[str, bool] = field(default_factory=dict[str, bool])
    paths: dict[str, str] = field(default_factory=dict[str, str])
    bad: dict[str, StateDamaged] = field(default_factory=dict[str, StateDamaged])
    bare: list[str] = field(default_factory=list[str])
    empty: list[str] = field(default_factory=list[str])
    refused: dict[str, AlchemyError | OSError] = field(default_factory=dict[str, "AlchemyError | OSError"])
    supposed: dict[str, str | None] = field(default_factory=dict[str, "str | None"])


def read_file(path: str) -> bytes:
    """Read a file whole."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        raw = os.read(fd, _CHUNK)
        if len(raw) < _CHUNK:
            return raw
        parts = [raw]
        while part := os.read(fd, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def checksum_of(sealed: bytes) -> bytes:
    """Give the checksum that stands at the end of a sealed file."""
    return sealed[_CHECKSUM]


class Walk:
    """Goes through the folders of a unit and fills a `Tree`.

    Args:
        tolerant: go on when something cannot be read at all, or not by this version.
    """

    def __init__(self, tree: Tree, *, tolerant: bool = False) -> None:
        self._tree = tree
        self._tolerant = tolerant

    def scope(self, folder: str, chain: str | None) -> None:
        """Read what lies in the folder of a scope or a resource; `chain` is `None` below a name that was cut."""
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            return
        except OSError as error:
            self._refuse(folder, chain, error)
            return
        if not entries:
            self._tree.empty.append(folder)
        for name in sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False)):
            path = f"{folder}/{name}"
            if name == RESOURCES:
                self._resources(path, chain)
            elif name not in _NOT_SCOPES:
                record = self._record(path, chain, name, scope=True)
                self.scope(path, record.fqn if record else _join(chain, unquote(name)))

    def _resources(self, folder: str, chain: str | None) -> None:
        try:
            names = os.listdir(folder)  # noqa: PTH208
        except OSError as error:
            self._refuse(folder, chain, error)
            return
        if not names:
            self._tree.empty.append(folder)
        for name in names:
            path = f"{folder}/{name}"
            record = self._record(path, chain, name, scope=False)
            if path in self._tree.refused:
                continue
            try:
                # A folder has two links and one more for each folder in it (1 where links are not counted):
                # most resources have none in it, and asking is cheaper than listing.
                links = os.stat(path).st_nlink  # noqa: PTH116
            except FileNotFoundError:
                continue  # removed this moment
            except OSError as error:
                self._refuse(path, _join(chain, unquote(name)), error)
                continue
            if links != 2:
                self.scope(path, record.fqn if record else _join(chain, unquote(name)))
            elif record is None:
                file = f"{path}/{RECORD}"
                if file not in self._tree.bad and file not in self._tree.refused:
                    self._tree.bare.append(path)
                    self._tree.supposed[path] = _join(chain, unquote(name))
                self._tree.empty.append(path)

    def _record(self, folder: str, chain: str | None, name: str, *, scope: bool) -> Record | None:
        tree = self._tree
        path = f"{folder}/{RECORD}"
        try:
            raw = read_file(path)
            record = unseal_record(raw, where=path)
            fqn = record.fqn
            if fqn != f"{chain}/{name}" or fqn in tree.records or (record.kind in SCOPE_KINDS) != scope:
                self._check_place(record, path, chain, name, scope=scope)
        except FileNotFoundError:
            return None
        except NotADirectoryError as error:
            damage = StateDamaged(f"{folder} is no folder", path=folder, hint="move the file elsewhere")
            damage.__cause__ = error
            self._refuse(folder, _join(chain, unquote(name)), damage)
            return None
        except StateDamaged as error:
            tree.bad[path] = error
            tree.supposed[path] = _join(chain, unquote(name))
            return None
        except (AlchemyError, OSError) as error:
            self._refuse(path, _join(chain, unquote(name)), error)
            return None
        tree.records[fqn] = record
        tree.sums[fqn] = raw[_CHECKSUM]
        tree.scopes[fqn] = scope
        tree.paths[fqn] = path
        return record

    def _refuse(self, path: str, fqn: str | None, error: AlchemyError | OSError) -> None:
        if not self._tolerant:
            raise error
        self._tree.refused[path] = error
        self._tree.supposed[path] = fqn

    def _check_place(self, record: Record, path: str, chain: str | None, name: str, *, scope: bool) -> None:
        expected = quote_scope(leaf(record.fqn)) if scope else quote(leaf(record.fqn))
        misplaced = expected != name or (chain is not None and parent(record.fqn) != chain) or record.is_scope != scope
        if misplaced or record.fqn in self._tree.records:
            raise StateDamaged(
                f"{path} holds the record of {record.fqn}, which does not belong there",
                path=path,
                hint="it was copied or moved by hand: move it back, or remove the copy",
            )


def _join(chain: str | None, name: str | None) -> str | None:
    return None if chain is None or name is None else f"{chain}/{name}"
