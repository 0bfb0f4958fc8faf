"""Where the simulators' data is, and deleting it."""

from __future__ import annotations

from pathlib import Path

from alchemy.local import _storage


def test_an_object_is_named_as_workerd_names_it() -> None:
    """The names that a real workerd gave to the objects `db1`, `kv1` and `bid`."""
    assert _storage.object_id("d1", "db1") == "e1c8ec4173c2bffc91a7aa1d85f611b0fd30ceb3bc8d68ccd7c795cbb7db8425"
    assert _storage.object_id("kv", "kv1") == "cc4d2975f1e900b79304a488e1067859be06ebdad1fd6b02ad8165a3feaec6ef"
    assert _storage.object_id("r2", "bid") == "f065d2df6c2167cea666da5b046246c532a98e7d259f2ab16d42bdf73f6d0961"


def fill(storage: Path, name: str) -> list[Path]:
    """Store something under a name as the KV simulator does."""
    _storage.prepare(storage)
    folder = storage / "kv" / "miniflare-KVNamespaceObject"
    folder.mkdir(exist_ok=True)
    files = [folder / f"{_storage.object_id('kv', name)}.sqlite{end}" for end in ("", "-wal", "-shm")]
    files += [storage / "kv" / name / "blobs" / "x", folder / "metadata.sqlite"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return files


def test_deleting_takes_everything_of_one(tmp_path: Path) -> None:
    """Database file, its journal and the values go; those of another and workerd's own stay. Again is fine."""
    gone, kept = fill(tmp_path, "a"), fill(tmp_path, "b")
    _storage.delete(tmp_path, "kv", "a")
    _storage.delete(tmp_path, "kv", "a")
    assert [file.exists() for file in gone] == [False, False, False, False, True]
    assert all(file.exists() for file in kept)


def test_a_sweep_keeps_what_is_named(tmp_path: Path) -> None:
    """Everything but the names given goes."""
    gone, kept = fill(tmp_path, "a"), fill(tmp_path, "b")
    _storage.sweep(tmp_path, "kv", ["b"])
    assert [file.exists() for file in gone] == [False, False, False, False, True]
    assert all(file.exists() for file in kept)
