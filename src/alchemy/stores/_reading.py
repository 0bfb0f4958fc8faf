"""Reading a unit from its folder: the record files, and the journals replayed over them. Changes nothing."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field

import msgspec

from alchemy.errors import StateDamaged, StateTooNew
from alchemy.names import leaf, parent
from alchemy.state import SCOPE_KINDS, VERSION, JsonObject, Record, decode, from_json, seal_encoded, unseal
from alchemy.stores._journal import START, Chain, Fold, chain, commits_of, journal_token, scan
from alchemy.stores._layout import RECORD, RESOURCES, quote, quote_scope, unquote

_CHECKSUM = slice(-20, -4)  # of a sealed file: where `state.seal` puts the checksum's hexadecimal digits
_CHUNK = 1 << 16
_NOT_SCOPES = frozenset({"logs", "backups"})


class Manifest(msgspec.Struct, kw_only=True):
    """What a unit's `state.json` says of the other record files of the unit.

    Attributes:
        count: how many there are.
        hash: of all their checksums, so that a lost, added or exchanged file is noticed.
        commit, sum: number and checksum of the last commit that they hold; journals go on from there.
    """

    count: int = 0
    hash: str = ""
    commit: int = 0
    sum: str = START


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
        manifest: `None` when there is no `state.json` of the unit.
    """

    records: dict[str, Record] = field(default_factory=dict[str, Record])
    sums: dict[str, bytes] = field(default_factory=dict[str, bytes])
    scopes: dict[str, bool] = field(default_factory=dict[str, bool])
    paths: dict[str, str] = field(default_factory=dict[str, str])
    bad: dict[str, StateDamaged] = field(default_factory=dict[str, StateDamaged])
    bare: list[str] = field(default_factory=list[str])
    manifest: Manifest | None = None


@dataclass(slots=True)
class Reading:
    """A unit as its folder has it.

    Attributes:
        records: by FQN, journals included.
        tree: what the record files alone hold.
        changes: what the journals changed since: a record as `state.encode` gives it, or `None` for a dropped one.
        chain: the frames that count, and where the next goes on.
        journals: every journal's file name.
        notices: what was odd, for people.
    """

    records: dict[str, Record]
    tree: Tree
    changes: dict[str, bytes | None]
    chain: Chain
    journals: list[str]
    notices: list[str]


def read_unit(folder: str, unit: str) -> Reading:
    """Read a unit; one that does not exist is empty.

    Raises:
        StateDamaged, StateTooNew: naming the file.
    """
    with _no_collection():
        journals = list_journals(folder)
        scans = [scan(path := f"{folder}/{name}", token, read_file(path)) for token, name in journals]
        tree = Tree()
        head = read_head(folder, unit)
        if head is not None:
            tree.manifest, record = head
            if record is not None:
                tree.records[unit] = record
                tree.scopes[unit] = record.is_scope
        manifest = tree.manifest or Manifest()
        _Walk(tree).scope(folder, unit)
        linked = chain(scans, n=manifest.commit, head=manifest.sum)
        changes = _replay(linked, tree, manifest, folder, unit)
        records = _apply(tree.records, changes, folder)
        notices = [
            f"the last commit in {torn.path} was cut short and does not count (it was never confirmed)"
            for torn in linked.torn
        ]
        return Reading(records, tree, changes, linked, [name for _, name in journals], notices)


def read_head(folder: str, unit: str) -> tuple[Manifest, Record | None] | None:
    """Read a unit's `state.json`: its manifest, and its record if it has one; `None` when there is no such file.

    Raises:
        StateTooNew: the unit may only be read by a newer version.
    """
    path = f"{folder}/{RECORD}"
    try:
        raw = read_file(path)
    except FileNotFoundError:
        return None
    body = unseal(raw, where=path)
    check_version(body, "min_reader", path, unit)
    body.pop("min_reader", None)
    body.pop("min_writer", None)
    try:
        manifest = msgspec.convert(body.pop("manifest", None), Manifest)
    except msgspec.ValidationError as error:
        raise StateDamaged(f"{path} has no manifest", path=path, hint="restore the unit from a backup") from error
    return manifest, from_json(body, where=path) if "fqn" in body else None


def check_version(body: JsonObject, key: str, path: str, unit: str) -> None:
    """Refuse a unit that asks, under `key`, for a newer version than this one."""
    wanted = body.get(key, VERSION)
    if not isinstance(wanted, int) or wanted > VERSION:
        doing = "read" if key == "min_reader" else "changed"
        raise StateTooNew(
            f"{unit} can only be {doing} by a version that knows form {wanted} ({path});"
            f" this one knows up to {VERSION}",
            hint="upgrade alchemy-iac",
        )


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


def list_journals(folder: str) -> list[tuple[int, str]]:
    """List a unit's journals with their tokens, oldest first."""
    try:
        names = os.listdir(folder)  # noqa: PTH208
    except FileNotFoundError:
        return []
    return sorted((token, name) for name in names if (token := journal_token(name)) is not None)


def hash_sums(sums: Iterable[bytes]) -> str:
    """Give the manifest's hash of the files' checksums."""
    return hashlib.blake2b(b"".join(sorted(sums)), digest_size=16).hexdigest()


def checksum_of(sealed: bytes) -> bytes:
    """Give the checksum that stands at the end of a sealed file."""
    return sealed[_CHECKSUM]


class _Walk:
    """Goes through the folders of a unit and fills a `Tree`."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def scope(self, folder: str, chain: str | None) -> None:
        """Read what lies in the folder of a scope or a resource; `chain` is `None` below a name that was cut."""
        try:
            names = [entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return
        for name in sorted(names):
            path = f"{folder}/{name}"
            if name == RESOURCES:
                self._resources(path, chain)
            elif name not in _NOT_SCOPES:
                record = self._record(path, chain, name, scope=True)
                self.scope(path, record.fqn if record else _join(chain, unquote(name)))

    def _resources(self, folder: str, chain: str | None) -> None:
        for name in os.listdir(folder):  # noqa: PTH208
            path = f"{folder}/{name}"
            record = self._record(path, chain, name, scope=False)
            # A folder has two links and one more for each folder in it (1 where links are not counted):
            # most resources have none in it, and asking is cheaper than listing.
            if os.stat(path).st_nlink != 2:  # noqa: PTH116
                self.scope(path, record.fqn if record else _join(chain, unquote(name)))
            elif record is None:
                self._tree.bare.append(path)

    def _record(self, folder: str, chain: str | None, name: str, *, scope: bool) -> Record | None:
        tree = self._tree
        path = f"{folder}/{RECORD}"
        try:
            raw = read_file(path)
            body = unseal(raw, where=path)
            record = from_json(body, where=path)
            fqn = record.fqn
            if fqn != f"{chain}/{name}" or fqn in tree.records or (record.kind in SCOPE_KINDS) != scope:
                self._check_place(record, path, chain, name, scope=scope)
        except FileNotFoundError:
            return None
        except NotADirectoryError as error:
            raise StateDamaged(f"{folder} is no folder", path=folder, hint="move the file elsewhere") from error
        except StateDamaged as error:
            tree.bad[path] = error
            return None
        tree.records[fqn] = record
        tree.sums[fqn] = raw[_CHECKSUM]
        tree.scopes[fqn] = scope
        tree.paths[fqn] = path
        return record

    def _check_place(self, record: Record, path: str, chain: str | None, name: str, *, scope: bool) -> None:
        expected = quote_scope(leaf(record.fqn)) if scope else quote(leaf(record.fqn))
        misplaced = expected != name or (chain is not None and parent(record.fqn) != chain) or record.is_scope != scope
        if misplaced or record.fqn in self._tree.records:
            raise StateDamaged(
                f"{path} holds the record of {record.fqn}, which does not belong there",
                path=path,
                hint="it was copied or moved by hand: move it back, or remove the copy",
            )


def _replay(linked: Chain, tree: Tree, manifest: Manifest, folder: str, unit: str) -> dict[str, bytes | None]:
    """Collect what the journals changed, and check the record files against what is known of them."""
    changes: dict[str, bytes | None] = {}
    begun: tuple[Fold, dict[str, bytes | None]] | None = None
    for frame in linked.frames:
        for commit in commits_of(frame, where=folder):
            for fqn in commit.delete:
                changes[fqn] = None
            for raw in commit.set:
                encoded = bytes(raw)
                changes[peek(encoded).fqn] = encoded
            if commit.fold is not None:
                begun = commit.fold, changes.copy()
    if begun is None:
        _check_folded(manifest, tree, folder, unit)
    else:
        _check_half_folded(*begun, tree, folder, unit)
    return changes


def _check_folded(manifest: Manifest, tree: Tree, folder: str, unit: str) -> None:
    for error in tree.bad.values():
        raise error
    count = len(tree.sums)
    if count == manifest.count and (count == 0 or hash_sums(tree.sums.values()) == manifest.hash):
        return
    path = f"{folder}/{RECORD}"
    if tree.manifest is None:
        raise StateDamaged(
            f"{path} is missing, but {count} records of {unit} are there",
            path=path,
            hint="restore it, or the whole unit, from a backup",
        )
    if tree.bare:
        path = f"{tree.bare[0]}/{RECORD}"
        raise StateDamaged(f"{path} is missing", path=path, hint="restore it, or the whole unit, from a backup")
    what = f"{manifest.count} records were written and {count} are there"
    if count == manifest.count:
        what = "another version of at least one record was put in place of what was written"
    raise StateDamaged(
        f"the records in {folder} are not those that alchemy wrote: {what}{_unknown(tree)}",
        path=folder,
        hint="put back what was removed or changed, or restore the unit from a backup",
    )


def _unknown(tree: Tree) -> str:
    """Name records that others depend on and that are not there: likely the lost ones."""
    known = tree.records
    lost = sorted({dep for record in known.values() for dep in record.deps if dep not in known})
    return f"; others depend on {', '.join(lost[:5])}" if lost else ""


def _check_half_folded(fold: Fold, changes: dict[str, bytes | None], tree: Tree, folder: str, unit: str) -> None:
    """A fold was begun and not finished: the files may hold any part of it, but nothing else.

    A file that was cut short, or lies where its record no longer belongs, does not matter when without it all
    is there that the fold was to leave; the next fold removes it.
    """
    sums = dict(tree.sums)
    for fqn, raw in changes.items():
        if fqn == unit or raw is None:
            sums.pop(fqn, None)
        else:
            sums[fqn] = checksum_of(seal_encoded(raw))
    if len(sums) == fold.count and hash_sums(sums.values()) == fold.hash:
        return
    for error in tree.bad.values():
        raise error
    raise StateDamaged(
        f"the records in {folder} and its journals do not fit together: {fold.count} records were to be there"
        f" and {len(sums)} are{_unknown(tree)}",
        path=folder,
        hint="restore the unit from a backup",
    )


def _apply(records: dict[str, Record], changes: dict[str, bytes | None], folder: str) -> dict[str, Record]:
    for fqn, raw in changes.items():
        if raw is None:
            records.pop(fqn, None)
        else:
            records[fqn] = decode(raw, where=f"{folder} (commit of {fqn})")
    return records


class _Peek(msgspec.Struct):
    fqn: str
    kind: str


peek = msgspec.json.Decoder(_Peek).decode


def _join(chain: str | None, name: str | None) -> str | None:
    return None if chain is None or name is None else f"{chain}/{name}"


@contextlib.contextmanager
def _no_collection() -> Generator[None]:
    """Keep the cyclic collector from going through all records again and again while they are being made."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
