"""Where workerd's simulators keep what they store, so that a deleted resource's data can be deleted with it.

```
storage/d1/miniflare-D1DatabaseObject/<object id>.sqlite     also kv and r2
storage/kv/<namespace id>/blobs/…                            values; the same for r2 with the bucket's id
storage/do/<namespace id>/<object id>.sqlite                 Durable Objects of Workers: see `_object_storage`
storage/do/<namespace id>/<object id>.1.sqlite               a facet of one; which they are is in <object id>.facets
storage/names/<namespace id>/<object id>                     what such an object is called
```

The object id is workerd's: HMAC-SHA256 of the name under SHA-256 of the unique key, cut to 16 bytes, and then 16
bytes of the HMAC of these.
"""

from __future__ import annotations

import hashlib
import hmac
import shutil
from collections.abc import Iterable
from pathlib import Path

from alchemy.local.runtime.wiring import unique_key

KINDS = ("d1", "kv", "r2")
OBJECTS, NAMES = "do", "names"


def prepare(storage: Path) -> None:
    """Make the folders that workerd expects to find."""
    for kind in (*KINDS, OBJECTS, NAMES):
        (storage / kind).mkdir(parents=True, exist_ok=True, mode=0o700)


def object_id(kind: str, name: str) -> str:
    """Return the name of the storage file of one database, namespace or bucket, without its ending."""
    return id_from_name(unique_key(kind), name)


def id_from_name(namespace: str, name: str) -> str:
    """Return the id of the Durable Object of that name, as `idFromName` does; `namespace` is the unique key."""
    return _signed(namespace, hmac.digest(_key(namespace), name.encode(), "sha256")[:16])


def is_object_id(namespace: str, text: str) -> bool:
    """Say whether `idFromString` would take this: an id made in another namespace is none."""
    try:
        return text == _signed(namespace, bytes.fromhex(text)[:16])
    except ValueError:
        return False


def _signed(namespace: str, base: bytes) -> str:
    return (base + hmac.digest(_key(namespace), base, "sha256")[:16]).hex()


def _key(namespace: str) -> bytes:
    return hashlib.sha256(namespace.encode()).digest()


def delete(storage: Path, kind: str, name: str) -> None:
    """Delete the data of one resource; that nothing is there is success. Blocks.

    A Worker that still has it open keeps what it has open until the next reload, and nothing reaches the disk again.
    """
    delete_files(storage / kind / unique_key(kind), object_id(kind, name))
    shutil.rmtree(storage / kind / name, ignore_errors=True)


def sweep(storage: Path, kind: str, names: Iterable[str]) -> None:
    """Delete the data of everything but `names`: what a process that was killed did not come to. Blocks.

    workerd must not be running.
    """
    kept = set(names)
    objects = {object_id(kind, name) for name in kept}
    folder = storage / kind / unique_key(kind)
    for file in folder.glob("*.sqlite"):
        if file.stem not in objects and file.stem != "metadata":
            delete_files(folder, file.stem)
    for values in (storage / kind).iterdir():
        if values.name not in kept and values != folder:
            shutil.rmtree(values, ignore_errors=True)


def objects(storage: Path, namespace: str) -> list[str]:
    """List the ids of the Durable Objects of a namespace that have stored something. Blocks."""
    files = (storage / OBJECTS / namespace).glob("*.sqlite")
    return sorted(file.stem for file in files if file.stem != "metadata" and "." not in file.stem)


def delete_namespace(storage: Path, namespace: str) -> None:
    """Delete the data of all Durable Objects of a namespace that no Worker has any more. Blocks."""
    for kind in (OBJECTS, NAMES):
        shutil.rmtree(storage / kind / namespace, ignore_errors=True)


def sweep_namespaces(storage: Path, namespaces: Iterable[str]) -> None:
    """Delete the data of all namespaces but these: what a process that was killed did not come to. Blocks."""
    kept = set(namespaces)
    folders = [*(storage / OBJECTS).iterdir(), *(storage / NAMES).iterdir()]
    for name in {folder.name for folder in folders} - kept:
        delete_namespace(storage, name)


def delete_files(folder: Path, stem: str) -> None:
    """Delete an object's database file and its journal; that nothing is there is success. Blocks."""
    for ending in (".sqlite", ".sqlite-wal", ".sqlite-shm"):
        (folder / f"{stem}{ending}").unlink(missing_ok=True)
