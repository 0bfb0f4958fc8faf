"""What must be true, as checks: of objects and records, of an order, of a store after a crash, of secrets.

Each raises an `AssertionError` that says what is wrong. `docs/guarantees.md` says what they stand for, and which tests
use them.
"""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from alchemy.state import Generation, Record, Status, encode
from alchemy.testing.cloud import Cloud, CloudObject
from alchemy.testing.store import FaultyStore, History


def resources(records: Mapping[str, Record]) -> dict[str, Record]:
    """Give the records of resources among all."""
    return {fqn: record for fqn, record in records.items() if not record.is_scope}


def check_owned(cloud: Cloud, records: Mapping[str, Record], *, ledger: Mapping[str, Record] | None = None) -> None:
    """Check, at any instant and after any crash, that every object made for a resource is named by exactly one record.

    An intent names its object by the name that it will have; one of a kind without names by being there at all: then
    the next run stops and asks.

    Args:
        ledger: what a reset has forgotten, by FQN; it remembers too.
    """
    known = resources(records)
    for made in cloud.ours:
        naming = {fqn: record for fqn, record in known.items() if _is_named(made, fqn, record)}
        owners = [fqn for fqn, record in naming.items() if not record.verify]
        assert len(owners) <= 1, f"{made} has several owners: {owners}"
        remembered = naming or any(_is_named(made, fqn, record) for fqn, record in (ledger or {}).items())
        assert remembered, f"nobody knows of {made}: {_told(known)}"


def check_converged(cloud: Cloud, records: Mapping[str, Record], *, ledger: Mapping[str, Record] | None = None) -> None:
    """Check, after a run that succeeded, that records and objects say the same.

    Every record is stable and without old generations, its object is there, and no object is there twice or without a
    record. Objects that were left on purpose (`retain`) must have been taken out of the cloud before.

    Args:
        ledger: what a reset has forgotten and no program declares: its objects may be there.
    """
    known = resources(records)
    owners: Counter[str] = Counter()
    for fqn, record in known.items():
        assert record.is_stable, f"{fqn} is {record.status}"
        assert not record.generations, f"{fqn} has old generations: {record.generations}"
        if record.provider:
            owners[record.output["object_id"]] += 1
    entries = {fqn: record for fqn, record in (ledger or {}).items() if fqn not in known}
    left = {m.id for m in cloud.ours for fqn, record in entries.items() if _is_named(m, fqn, record)}
    ours = {made.id for made in cloud.ours} - (left - set(owners))
    assert set(owners) == ours, (
        f"without an object: {set(owners) - ours}; without a record: {[cloud.objects[id] for id in ours - set(owners)]}"
    )
    assert all(count == 1 for count in owners.values()), f"owned twice: {owners}"


def check_destroyed(cloud: Cloud, records: Mapping[str, Record]) -> None:
    """Check that a destroy has left nothing: no object, no record, not even a scope's."""
    assert not cloud.ours, f"left in the cloud: {cloud.ours}"
    assert not records, f"left in the store: {_told(records)}"


def check_order(cloud: Cloud, *, ledger: Mapping[str, Record] | None = None) -> None:
    """Check that nothing was deleted while an object that was made from it was still there.

    Except where the program chose a name and the object had to make room for its successor of the same name.

    Args:
        ledger: what a reset has forgotten: it holds nothing back.
    """
    entries = (ledger or {}).items()
    for misplaced in cloud.misplaced:
        by = [made for made in misplaced.by if not any(_is_named(made, fqn, record) for fqn, record in entries)]
        assert not by or misplaced.gone.props.get("name") is not None, f"deleted before what needs it: {misplaced}"


def check_idle(cloud: Cloud, store: FaultyStore) -> None:
    """Check that a run over an unchanged program did nothing: no provider call, no record, journal or backup write.

    Both are to be fresh: `cloud.forget()`, and a store that saw this run alone. The lease and the run's log do not
    count.
    """
    assert not cloud.calls, f"called: {cloud.ops()}"
    assert not store.writes, f"written: {store.writes}"
    changing = ("store.fold", "store.save_backup", "store.drop_backups", "store.clear_scope")
    assert not [call for call in store.faults.calls if call.startswith(changing)], store.faults.calls


def check_prefix(history: History, found: Mapping[str, Record], backups: Iterable[str] | None = None) -> None:
    """Check what is found of a unit after a crash: an exact prefix of its commits, with all that were acknowledged.

    Args:
        backups: the unit's; each that was made before the last commit that is found must be among them.
    """
    records = {fqn: encode(record) for fqn, record in found.items()}
    least = history.acknowledged
    states = [history.after(count) for count in range(least, len(history.commits) + 1)]
    assert records in states, (
        f"{sorted(records)} is the state after none of the commits {least} to {len(history.commits)}: "
        f"{[(sorted(c.written), c.dropped, c.acknowledged) for c in history.commits]}"
    )
    if backups is not None:
        made = {commit.backup for commit in history.commits[: least + states.index(records)] if commit.backup}
        assert made <= set(backups), f"without a backup that was made before: {made - set(backups)}"


def check_serial(unit: str, *stores: FaultyStore) -> None:
    """Check that, of several processes that wrote one unit, none wrote after one with a newer lease had."""
    commits = sorted(
        (commit for store in stores for commit in store.histories.get(unit, History()).commits),
        key=lambda commit: commit.number,
    )
    newest = 0
    for commit in commits:
        if not commit.acknowledged or commit.refused:
            continue
        assert commit.token >= newest, f"{unit}: written under {commit.token} after {newest}: {commit}"
        newest = commit.token


def check_silent(cloud: Cloud, process: str, *, since: int) -> None:
    """Check that a process made no call after so many calls of all: one that has lost its lease calls nobody."""
    late = [call for call in cloud.calls[since:] if call.process == process]
    assert not late, f"{process} called after it had lost its lease: {[str(call) for call in late]}"


def check_no_secrets(secrets: Iterable[str], *places: Path | str | bytes) -> None:
    """Check that no secret is to be found: as it is, or in base64, hexadecimal, a URL's or JSON's form.

    Args:
        places: files, folders (searched whole: contents and names), and texts such as an output or a traceback.
    """
    forms = [(secret, form) for secret in secrets for form in _forms(secret)]
    for where, content in _contents(places):
        for secret, form in forms:
            assert form not in content, f"the secret {secret[:2]}… is in clear in {where}"


def files(folder: Path, *, without: Iterable[str] = ("logs", "locks")) -> dict[str, bytes]:
    """Give the content of every file below a folder by its path, to compare before and after.

    Args:
        without: names of folders that do not count.
    """
    hidden = set(without)
    found = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {str(name): path.read_bytes() for name, path in sorted(found.items()) if not hidden.intersection(name.parts)}


def _generations(record: Record) -> list[Record | Generation]:
    return [record, *record.generations]


def _is_named(made: CloudObject, fqn: str, record: Record) -> bool:
    return any(_names(of, made, fqn) for of in _generations(record))


def _names(of: Record | Generation, made: CloudObject, fqn: str) -> bool:
    """Say whether a record names an object, so that the next run will find it."""
    if of.output.get("object_id") == made.id:
        return True
    if of.kind != made.kind:
        return False
    if made.name and of.physical_name == made.name:
        return True
    is_unsure = of.status is Status.CREATING and "object_id" not in of.output
    return is_unsure and not made.name and made.fqn == fqn


def _told(records: Mapping[str, Record]) -> list[str]:
    return [f"{fqn}: {record.status} {record.physical_name} {record.output}" for fqn, record in records.items()]


def _forms(secret: str) -> Iterator[bytes]:
    raw = secret.encode()
    yield raw
    yield raw.hex().encode()
    yield urllib.parse.quote(secret, safe="").encode()
    yield json.dumps(secret)[1:-1].encode()
    for shift in range(3):  # whatever stands before it moves the letters that it becomes
        encoded = base64.b64encode(b"\0" * shift + raw)
        inner = encoded[-(-shift * 4 // 3) if shift else 0 : len(encoded) - 4]
        if len(inner) >= 8:
            yield inner
            yield inner.replace(b"+", b"-").replace(b"/", b"_")


def _contents(places: Iterable[Path | str | bytes]) -> Iterator[tuple[str, bytes]]:
    for place in places:
        if isinstance(place, Path):
            for path in [place, *place.rglob("*")] if place.is_dir() else [place]:
                yield f"the name of {path}", path.name.encode()
                if path.is_file():
                    yield str(path), path.read_bytes()
        else:
            text = place.encode() if isinstance(place, str) else place
            yield f"the text {text[:40]!r}…", text
