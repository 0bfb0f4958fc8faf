"""The file that the control plane writes."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from alchemy.local._errors import LocalCloudflareError
from alchemy.local._metadata import Metadata, Resource
from alchemy.local.runtime.worker import Module, Worker

pytestmark = pytest.mark.anyio

WORKER = Worker(
    name="w",
    tag="t",
    etag="e",
    modules=(Module("b.js", "x", b"\x00\xff"), Module("a.js", "y", b"")),
    bindings=({"type": "json", "name": "J", "json": {"a": [1]}},),
    compatibility_date="2026-07-01",
    compatibility_flags=("f", "e"),
    settings={"tags": ["x"]},
    port=1234,
    enabled=None,
    previews_enabled=True,
    created_on="c",
    modified_on="m",
)


async def test_a_worker_comes_back_as_it_was(tmp_path: Path) -> None:
    """Every field, the order of modules and flags included, also after opening the file again."""
    path = tmp_path / "metadata.sqlite"
    metadata = Metadata(path)
    await metadata.replace_workers({}, {"w": WORKER})
    metadata.close()
    metadata = Metadata(path)
    assert await metadata.workers() == {"w": WORKER}
    changed = replace(WORKER, enabled=False, modules=(Module("c.js", "z", b"c"),))
    await metadata.replace_workers({"w": WORKER}, {"w": changed})
    assert await metadata.workers() == {"w": changed}
    await metadata.replace_workers({"w": changed}, {})
    assert await metadata.workers() == {}
    metadata.close()
    assert path.stat().st_mode & 0o777 == 0o600


async def test_one_of_many_gets_a_name(tmp_path: Path) -> None:
    """Twenty at once want the same name: one has it."""
    metadata = Metadata(tmp_path / "metadata.sqlite")
    adds = (metadata.add(Resource("d1", str(n), "same", "", {})) for n in range(20))
    assert sum(await asyncio.gather(*adds)) == 1
    assert await metadata.add(Resource("kv", "x", "same", "", {}))
    metadata.close()


async def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    """What was written before the failure is not there, and the next transaction works."""
    metadata = Metadata(tmp_path / "metadata.sqlite")
    broken = replace(WORKER, name="x", modules=(Module("m", "t", None),))  # type: ignore[arg-type]
    with pytest.raises(sqlite3.IntegrityError):
        await metadata.replace_workers({}, {"w": WORKER, "x": broken})
    assert await metadata.workers() == {}
    await metadata.replace_workers({}, {"w": WORKER})
    metadata.close()


async def test_another_version_is_refused(tmp_path: Path) -> None:
    """A file of a schema that this version does not know is not touched."""
    path = tmp_path / "metadata.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(LocalCloudflareError, match="schema 99"):
        Metadata(path)
