"""What lies on disk for Durable Objects."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from alchemy.local import _object_storage, _storage

NAMESPACE = "0f" * 16


def keep(storage: Path, object_id: str, *, name: str | None = None, journal: int = 0) -> Path:
    """Store something for an object, as workerd does; give its folder."""
    folder = storage / _storage.OBJECTS / NAMESPACE
    names = storage / _storage.NAMES / NAMESPACE
    for each in (folder, names):
        each.mkdir(parents=True, exist_ok=True)
    (folder / f"{object_id}.sqlite").write_bytes(b"x" * 100)
    if journal:
        (folder / f"{object_id}.sqlite-wal").write_bytes(b"x" * journal)
    if name is not None:
        (names / object_id).write_text(name)
    return folder


def test_an_id_belongs_to_its_namespace() -> None:
    """Only what was made for a namespace is an id there."""
    object_id = _storage.id_from_name(NAMESPACE, "a")
    assert _storage.is_object_id(NAMESPACE, object_id)
    for namespace, text in (
        ("other", object_id),
        (NAMESPACE, object_id[:-1]),
        (NAMESPACE, "metadata"),
        (NAMESPACE, ""),
    ):
        assert not _storage.is_object_id(namespace, text)


def test_objects_are_listed_by_name(tmp_path: Path) -> None:
    """Those without a name come last; the journal counts; workerd's own file does not."""
    for object_id, name, journal in (("1", None, 0), ("2", "b", 0), ("3", "a", 20), ("metadata", None, 0)):
        keep(tmp_path, object_id, name=name, journal=journal)
    found = _object_storage.stored(tmp_path, NAMESPACE)
    assert [(each.name, each.size, each.in_memory) for each in found] == [
        ("a", 120, False),
        ("b", 100, False),
        (None, 100, False),
    ]
    assert _object_storage.stored(tmp_path, "none") == []


def test_facets_are_part_of_their_object(tmp_path: Path) -> None:
    """What they store counts and goes with it; they are no objects, and the index that is only shared is nothing."""
    folder = keep(tmp_path, "1", journal=20)
    for ending in ("facets", "1.sqlite", "1.sqlite-wal", "1.sqlite-shm"):
        (folder / f"1.{ending}").write_bytes(b"x" * 7)
    other = keep(tmp_path, "11") / "11.sqlite"
    assert [(each.id, each.size) for each in _object_storage.stored(tmp_path, NAMESPACE)] == [("1", 141), ("11", 100)]
    assert _object_storage.remove(tmp_path, NAMESPACE, "1") == 141
    assert list(folder.iterdir()) == [other]


def test_an_object_that_is_open_is_in_memory(tmp_path: Path) -> None:
    """Asking does not take the lock that another process has on the file, nor wait for it."""
    folder = keep(tmp_path, "1")
    (folder / "1.sqlite").write_bytes(b"")
    assert not _object_storage.is_in_memory(tmp_path, NAMESPACE, "1")
    with holding(folder / "1.sqlite"):
        assert _object_storage.is_in_memory(tmp_path, NAMESPACE, "1")
    assert not _object_storage.is_in_memory(tmp_path, NAMESPACE, "1")


@contextlib.contextmanager
def holding(file: Path) -> Iterator[None]:
    """Have another process open a database, as workerd does."""
    program = (
        "import sqlite3, sys; database = sqlite3.connect(sys.argv[1]); "
        "database.execute('PRAGMA journal_mode = WAL'); database.execute('SELECT * FROM sqlite_master').fetchall(); "
        "print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield
        process.communicate()


@pytest.mark.parametrize("alarms", ["no file", "no table", "a table"])
def test_removing_takes_all_of_one(tmp_path: Path, alarms: str) -> None:
    """Files, name and alarm of one object go, and nothing of another; a second time there is nothing left."""
    folder = keep(tmp_path, "1", name="a", journal=20)
    keep(tmp_path, "2", name="b")
    if alarms != "no file":
        with contextlib.closing(sqlite3.connect(folder / "metadata.sqlite")) as database:
            if alarms == "a table":
                database.execute("CREATE TABLE _cf_ALARM (actor_id TEXT PRIMARY KEY, scheduled_time INTEGER)")
                database.execute("INSERT INTO _cf_ALARM VALUES ('1', 0), ('2', 0)")
                database.commit()
    assert [_object_storage.remove(tmp_path, NAMESPACE, "1") for _ in range(2)] == [120, 0]
    assert [each.name for each in _object_storage.stored(tmp_path, NAMESPACE)] == ["b"]
    assert [file.name for file in (tmp_path / _storage.NAMES / NAMESPACE).iterdir()] == ["2"]
    if alarms == "a table":
        with contextlib.closing(sqlite3.connect(folder / "metadata.sqlite")) as database:
            assert database.execute("SELECT actor_id FROM _cf_ALARM").fetchall() == [("2",)]
