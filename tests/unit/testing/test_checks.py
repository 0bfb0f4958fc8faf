"""Every check finds what it is there to find: none of them could pass over anything."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from alchemy.state import STAGE_KIND, Record, Status, encode
from alchemy.stores import MemoryStore
from alchemy.testing.checks import (
    check_converged,
    check_destroyed,
    check_idle,
    check_no_secrets,
    check_order,
    check_owned,
    check_prefix,
    check_serial,
    check_silent,
    files,
)
from alchemy.testing.cloud import Call, Cloud
from alchemy.testing.store import Commit, FaultyStore, History

UNIT = "app/dev"


def a_record(id: str, **given: Any) -> Record:
    """Give the record of a thing."""
    fqn = f"{UNIT}/{id}"
    return Record(kind="testing::Thing", id=id, fqn=fqn, **{"provider": "m:P", "status": Status.CREATED, **given})


@pytest.fixture
def cloud() -> Cloud:
    """Give a cloud with one object, `id-1`, called `a-1`."""
    cloud = Cloud()
    cloud.make("a-1", "testing::Thing", {}, f"{UNIT}/a")
    return cloud


OWNED = a_record("a", output={"object_id": "id-1"})
INTENDED = a_record("a", status=Status.CREATING, physical_name="a-1")


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "nobody knows"),
        ([a_record("a", status=Status.CREATING, physical_name="a-2")], "nobody knows"),
        ([a_record("b", status=Status.CREATING)], "nobody knows"),
        ([OWNED, a_record("b", output={"object_id": "id-1"})], "several owners"),
        ([OWNED], ""),
        ([a_record("a", verify=True, output={"object_id": "id-1"})], ""),
        ([OWNED, a_record("b", verify=True, output={"object_id": "id-1"})], ""),
        ([INTENDED], ""),
    ],
)
def test_owned(cloud: Cloud, records: list[Record], message: str) -> None:
    """An object that nobody knows of, or two."""
    by_fqn = {record.fqn: record for record in records}
    if not message:
        check_owned(cloud, by_fqn)
        return
    with pytest.raises(AssertionError, match=message):
        check_owned(cloud, by_fqn)


def test_a_ledger_owns_too(cloud: Cloud) -> None:
    """What was forgotten by a reset is not lost."""
    check_owned(cloud, {}, ledger={INTENDED.fqn: INTENDED})


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (a_record("a", status=Status.UPDATING, output={"object_id": "id-1"}), "is updating"),
        (a_record("a", output={"object_id": "id-2"}), "without an object: {'id-2'}"),
        (a_record("a", provider=""), "without a record"),
    ],
)
def test_converged(cloud: Cloud, record: Record, message: str) -> None:
    """A record half-way, one without its object, an object without its record."""
    check_converged(cloud, {OWNED.fqn: OWNED})
    with pytest.raises(AssertionError, match=message):
        check_converged(cloud, {record.fqn: record})


def test_destroyed(cloud: Cloud) -> None:
    """An object, or a scope's record."""
    with pytest.raises(AssertionError, match="left in the cloud"):
        check_destroyed(cloud, {})
    cloud.objects.clear()
    check_destroyed(cloud, {})
    with pytest.raises(AssertionError, match="left in the store"):
        check_destroyed(cloud, {UNIT: Record(kind=STAGE_KIND, id="dev", fqn=UNIT)})


def test_order(cloud: Cloud) -> None:
    """Something was deleted before what was made from it."""
    cloud.make("b-1", "testing::Thing", {"needs": "id-1"}, f"{UNIT}/b")
    check_order(cloud)
    cloud.remove("id-1")
    with pytest.raises(AssertionError, match="before what needs it"):
        check_order(cloud)
    check_order(cloud, ledger={f"{UNIT}/b": a_record("b", physical_name="b-1")})


def test_idle(cloud: Cloud) -> None:
    """A call, or a write."""
    store = FaultyStore(MemoryStore())
    check_idle(cloud, store)
    store.faults.calls.append("store.fold app/dev")
    with pytest.raises(AssertionError, match="fold"):
        check_idle(cloud, store)
    store.writes.append("created app/dev/a")
    with pytest.raises(AssertionError, match="written"):
        check_idle(cloud, store)
    cloud.calls.append(Call("find", f"{UNIT}/a", ""))
    with pytest.raises(AssertionError, match="called"):
        check_idle(cloud, store)


def test_prefix() -> None:
    """Of three commits the second is acknowledged: two or three may be there, in order, and nothing else."""
    records = {id: a_record(id) for id in "abc"}
    raw = {record.fqn: encode(record) for record in records.values()}
    commits = [Commit(UNIT, 1, {fqn: content}) for fqn, content in raw.items()]
    commits[1].acknowledged = True
    history = History({}, commits)
    for found in ("ab", "abc"):
        check_prefix(history, {f"{UNIT}/{id}": records[id] for id in found})
    for found in ("", "a", "ac", "bc"):
        with pytest.raises(AssertionError, match="none of the commits"):
            check_prefix(history, {f"{UNIT}/{id}": records[id] for id in found})
    commits.append(Commit(UNIT, 1, {}, cleared=UNIT, acknowledged=True))
    check_prefix(history, {})


def test_serial() -> None:
    """A write under an old lease after one under a new lease."""
    stores = [FaultyStore(MemoryStore()) for _ in range(2)]
    for store, token in zip(stores, (2, 1), strict=True):
        store.histories[UNIT] = History({}, [Commit(UNIT, token, {}, acknowledged=True)])
    with pytest.raises(AssertionError, match="written under 1 after 2"):
        check_serial(UNIT, *stores)
    stores[1].histories[UNIT].commits[0].refused = True
    check_serial(UNIT, *stores)


def test_silent(cloud: Cloud) -> None:
    """A call after the lease was lost."""
    cloud.calls.append(Call("create", f"{UNIT}/a", "", "first"))
    check_silent(cloud, "first", since=1)
    check_silent(cloud, "second", since=0)
    with pytest.raises(AssertionError, match="lost its lease"):
        check_silent(cloud, "first", since=0)


SECRET = 'hunter2+"/ü-longer'


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        SECRET.encode().hex(),
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(b"x" + SECRET.encode() + b"yz").decode(),
        base64.b64encode(b"user:pass:" + SECRET.encode() + b"yz").decode(),
        base64.urlsafe_b64encode(b"xy" + SECRET.encode()).decode(),
        "hunter2%2B%22%2F%C3%BC-longer",
        r"hunter2+\"/\u00fc-longer",
    ],
)
def test_no_secrets(tmp_path: Path, text: str) -> None:
    """In whatever form, in a file however deep, in a name, in a text."""
    (tmp_path / "a/b").mkdir(parents=True)
    check_no_secrets([SECRET], tmp_path, "harmless")
    with pytest.raises(AssertionError, match=r"hu… is in clear in the text"):
        check_no_secrets([SECRET], f"said: {text}.")
    (tmp_path / "a/b/c.json").write_text(f"x{text}y")
    with pytest.raises(AssertionError, match=r"c\.json"):
        check_no_secrets([SECRET], tmp_path)


def test_no_secret_names(tmp_path: Path) -> None:
    """A file's name counts."""
    (tmp_path / "my-hunter2.txt").touch()
    with pytest.raises(AssertionError, match="the name of"):
        check_no_secrets(["hunter2"], tmp_path)


def test_files(tmp_path: Path) -> None:
    """Contents by path; logs and locks do not count."""
    for name in ("a/state.json", "logs/x.ndjson", "locks/x.lock"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert files(tmp_path) == {"a/state.json": b"a/state.json"}
