"""Reading a unit from its folder: the record files, and the journals replayed over them. Changes nothing."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from alchemy.errors import StateDamaged, StateTooNew
from alchemy.state import VERSION, JsonObject, Record, decode, from_json, seal_encoded, unseal
from alchemy.stores._journal import HINT, START, Chain, Fold, chain, commits_of, journal_token, scan
from alchemy.stores._layout import RECORD
from alchemy.stores._tree import Tree, Walk, checksum_of, read_file


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
class Reading:
    """A unit as its folder has it.

    Attributes:
        records: by FQN, journals included.
        tree: what the record files alone hold.
        changes: what the journals changed since: a record as `state.encode` gives it, or `None` for a dropped one.
        chain: the frames that count, and where the next goes on.
        journals: every journal's file name.
        interrupted: whether somebody has begun to remove or to write record files, and was stopped.
        notices: what was odd, for people.
    """

    records: dict[str, Record]
    tree: Tree
    changes: dict[str, bytes | None]
    chain: Chain
    journals: list[str]
    interrupted: bool
    notices: list[str]


@dataclass(slots=True)
class Replayed:
    """What the journals say, put together.

    Attributes:
        changes: as in `Reading`.
        gone: checksums, by FQN, of record files that may be missing.
        begun: the last fold that was announced, and the changes until then.
    """

    changes: dict[str, bytes | None] = field(default_factory=dict[str, bytes | None])
    gone: dict[str, bytes] = field(default_factory=dict[str, bytes])
    begun: tuple[Fold, dict[str, bytes | None]] | None = None


def read_unit(folder: str, unit: str) -> Reading:
    """Read a unit; one that does not exist is empty.

    Raises:
        StateDamaged, StateTooNew: naming the file.
    """
    with _no_collection():
        tree = Tree()
        manifest, record = read_head(folder, unit) or (None, None)
        if record is not None:
            tree.records[unit] = record
            tree.scopes[unit] = record.is_scope
        Walk(tree).scope(folder, unit)
        # The journals after the files: the holder removes files of what it has dropped while this is being read,
        # and says so in the journal before.
        journals, linked = link_journals(folder, manifest)
        replayed = replay(linked, folder)
        check_files(replayed, tree, manifest, folder, unit)
        records = apply_changes(tree.records, replayed.changes, folder)
        notices = [
            f"the last commit in {torn.path} was cut short and does not count (it was never confirmed)"
            for torn in linked.torn
        ]
        return Reading(
            records=records,
            tree=tree,
            changes=replayed.changes,
            chain=linked,
            journals=journals,
            interrupted=bool(replayed.gone) or replayed.begun is not None,
            notices=notices,
        )


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


def link_journals(folder: str, manifest: Manifest | None) -> tuple[list[str], Chain]:
    """Read a unit's journals: their names, and the frames that go on from what is folded."""
    names = list_journals(folder)
    scans = [scan(path := f"{folder}/{name}", token, read_file(path)) for token, name in names]
    folded = manifest or Manifest()
    return [name for _, name in names], chain(scans, n=folded.commit, head=folded.sum)


def replay(linked: Chain, folder: str) -> Replayed:
    """Collect what the journals say."""
    replayed = Replayed()
    changes = replayed.changes
    for frame in linked.frames:
        for commit in commits_of(frame, where=folder):
            for fqn in commit.delete:
                changes[fqn] = None
            for raw in commit.set:
                encoded = bytes(raw)
                try:
                    changes[peek(encoded).fqn] = encoded
                except msgspec.DecodeError as error:
                    raise StateDamaged(
                        f"commit {frame.n} in {folder} holds no record: {error}", path=folder, hint=HINT
                    ) from error
            for fqn, checksum in commit.gone.items():
                replayed.gone.setdefault(fqn, checksum.encode())
            if commit.fold is not None:
                replayed.begun = commit.fold, changes.copy()
    return replayed


def check_files(replayed: Replayed, tree: Tree, manifest: Manifest | None, folder: str, unit: str) -> None:
    """Check the record files against what is known of them; one that may be missing counts as it was."""
    sums = {**replayed.gone, **tree.sums}
    if replayed.begun is None:
        _check_folded(manifest, sums, tree, folder, unit)
    else:
        _check_half_folded(*replayed.begun, sums, tree, folder, unit)


def _check_folded(manifest: Manifest | None, sums: Mapping[str, bytes], tree: Tree, folder: str, unit: str) -> None:
    for error in tree.bad.values():
        raise error
    count, wanted = len(sums), manifest or Manifest()
    if count == wanted.count and (count == 0 or hash_sums(sums.values()) == wanted.hash):
        return
    path = f"{folder}/{RECORD}"
    if manifest is None:
        raise StateDamaged(
            f"{path} is missing, but {count} records of {unit} are there",
            path=path,
            hint="restore it, or the whole unit, from a backup",
        )
    if tree.bare:
        path = f"{tree.bare[0]}/{RECORD}"
        raise StateDamaged(f"{path} is missing", path=path, hint="restore it, or the whole unit, from a backup")
    what = f"{wanted.count} records were written and {count} are there"
    if count == wanted.count:
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


def _check_half_folded(
    fold: Fold, changes: Mapping[str, bytes | None], sums: dict[str, bytes], tree: Tree, folder: str, unit: str
) -> None:
    """A fold was begun and not finished: the files may hold any part of it, but nothing else.

    A file that was cut short, or lies where its record no longer belongs, does not matter when without it all
    is there that the fold was to leave; the next fold removes it.
    """
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


def apply_changes(records: dict[str, Record], changes: dict[str, bytes | None], folder: str) -> dict[str, Record]:
    """Give the records with the journals' changes in them."""
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
