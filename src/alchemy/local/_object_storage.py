"""What is stored for the Durable Objects of Workers, and which of them are in memory.

workerd opens an object's SQLite file when it constructs the object, and closes it when it lets the object go. While
it is open, SQLite holds a lock on it; so whoever asks the kernel for that lock knows whether the object is in memory,
without waking it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import struct
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from alchemy.local import _storage

_LOCK = "=qqihh" if sys.platform == "darwin" else "=hh4xqqi4x"
"""How the kernel lays out a `struct flock`: on macOS start, length, process, type, whence; on Linux type and whence
first."""


@dataclass(frozen=True)
class StoredObject:
    """What is on disk for one Durable Object.

    Attributes:
        id: 64 hexadecimal digits.
        name: what it was asked for by; `None` when it has no name, or none was ever seen.
        size: of its database and those of its facets, in bytes, with the parts that are still in journals.
        written: when its files were last written, in seconds since the epoch; SQLite also does so when they are closed.
        in_memory: whether it is constructed right now.
    """

    id: str
    name: str | None
    size: int
    written: float
    in_memory: bool


def stored(storage: Path, namespace: str) -> list[StoredObject]:
    """List the objects of a namespace that were ever constructed, by name and then by id. Blocks."""
    files = _files(storage, namespace)
    found = [_look(storage, namespace, each, files.get(each, [])) for each in _storage.objects(storage, namespace)]
    there = [each for each in found if each is not None]
    return sorted(there, key=lambda each: (each.name is None, each.name or "", each.id))


def _look(storage: Path, namespace: str, object_id: str, files: Iterable[Path]) -> StoredObject | None:
    sizes, moments = list[int](), list[float]()
    for file in files:
        if file.name.endswith("-shm"):  # nothing is stored there
            continue
        with contextlib.suppress(FileNotFoundError):
            found = file.stat()
            sizes.append(found.st_size)
            moments.append(found.st_mtime)
    if not sizes:
        return None
    return StoredObject(
        id=object_id,
        name=_name(storage, namespace, object_id),
        size=sum(sizes),
        written=max(moments),
        in_memory=is_in_memory(storage, namespace, object_id),
    )


def _files(storage: Path, namespace: str) -> dict[str, list[Path]]:
    """Give all files of objects by their ids: databases and journals, those of facets too, and the list of facets."""
    found = defaultdict[str, list[Path]](list)
    with contextlib.suppress(FileNotFoundError):
        for file in (storage / _storage.OBJECTS / namespace).iterdir():
            found[file.name.partition(".")[0]].append(file)
    return found


def _name(storage: Path, namespace: str, object_id: str) -> str | None:
    try:
        return (storage / _storage.NAMES / namespace / object_id).read_text("utf-8", "replace")
    except FileNotFoundError:
        return None


def is_in_memory(storage: Path, namespace: str, object_id: str) -> bool:
    """Say whether workerd has the object in memory. Blocks."""
    try:
        database = storage / _storage.OBJECTS / namespace / f"{object_id}.sqlite"
        descriptor = os.open(database, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:  # asked, not taken: an object that is just being constructed must not find its file locked
        answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, _lock(fcntl.F_WRLCK))
    finally:
        os.close(descriptor)
    return _kind(answer) != fcntl.F_UNLCK


def _lock(kind: int) -> bytes:
    """Describe a lock on a whole file."""
    if sys.platform == "darwin":
        return struct.pack(_LOCK, 0, 0, 0, kind, os.SEEK_SET)
    return struct.pack(_LOCK, kind, os.SEEK_SET, 0, 0, 0)


def _kind(lock: bytes) -> int:
    kind: int = struct.unpack(_LOCK, lock)[3 if sys.platform == "darwin" else 0]
    return kind


def remove(storage: Path, namespace: str, object_id: str) -> int:
    """Delete what is stored for one object, alarm and facets included, and return how many bytes that were. Blocks.

    workerd must not be running: it would go on writing to the files of an object that it has in memory.
    """
    files = _files(storage, namespace).get(object_id, [])
    found = _look(storage, namespace, object_id, files)
    for file in [*files, storage / _storage.NAMES / namespace / object_id]:
        file.unlink(missing_ok=True)
    _forget_alarm(storage / _storage.OBJECTS / namespace / "metadata.sqlite", object_id)
    return found.size if found is not None else 0


def _forget_alarm(metadata: Path, object_id: str) -> None:
    # workerd keeps all alarms of a namespace in one table; one that is left over would construct the object again.
    if not metadata.exists():
        return
    with contextlib.closing(sqlite3.connect(metadata, isolation_level=None)) as database:
        if database.execute("SELECT 1 FROM sqlite_master WHERE name = '_cf_ALARM'").fetchone():
            database.execute("DELETE FROM _cf_ALARM WHERE actor_id = ?", (object_id,))
