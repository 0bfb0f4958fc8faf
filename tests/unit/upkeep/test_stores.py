"""Following state into the stores that nested scopes have of their own; and what logs tell of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from alchemy import alchemy
from alchemy.errors import ConfigurationError, StateDamaged
from alchemy.events import Notice, RunFinished, RunStarted, from_json, to_json
from alchemy.fs import File
from alchemy.stores import FileStore, MemoryStore
from alchemy.upkeep.locks import break_locks, locks_of
from alchemy.upkeep.runs import events_in, summarize
from alchemy.upkeep.stores import Stores, check_there

pytestmark = pytest.mark.anyio


async def nested(folder: Path, first: FileStore | MemoryStore) -> None:
    """Deploy an application of which one scope has a store of its own."""
    async with alchemy("notes", stage="dev", state_store=first):
        File("top", path=f"{folder}/top.txt", content="x")
        async with alchemy.run("inner", state_store=f"file:{folder}/inner"):
            File("deep", path=f"{folder}/deep.txt", content="x")


@pytest.mark.parametrize("kind", ["file", "memory"])
async def test_contents_follow_nested_stores(tmp_path: Path, kind: str) -> None:
    """Records of every store are found from the first, whichever it is, and where they are kept is told."""
    first = MemoryStore() if kind == "memory" else FileStore(tmp_path / "first")
    await nested(tmp_path, first)
    stores = Stores(first)
    contents = await stores.contents("notes/dev")
    assert list(contents.records) == ["notes/dev", "notes/dev/inner", "notes/dev/inner/deep", "notes/dev/top"]
    assert contents.kept_in == {"notes/dev/inner": f"file://{tmp_path}/inner"}
    assert list(contents.within("notes/dev/inner").records) == ["notes/dev/inner", "notes/dev/inner/deep"]
    await stores.close()
    await first.deinit()


async def test_what_cannot_be_read_elsewhere_hides_nothing_else(tmp_path: Path) -> None:
    """Damage in a nested scope's store is told with the scope; damage in the first is raised."""
    first = FileStore(tmp_path / "first")
    await nested(tmp_path, first)
    (tmp_path / "inner/notes/dev/inner/resources/deep/state.json").write_text("{")
    stores = Stores(first)
    contents = await stores.contents("notes/dev")
    assert list(contents.records) == ["notes/dev", "notes/dev/inner", "notes/dev/top"]
    assert isinstance(contents.unreadable["notes/dev/inner"], StateDamaged)
    assert await locks_of(stores, None) == []
    (tmp_path / "first/notes/dev/resources/top/state.json").write_text("{")
    with pytest.raises(StateDamaged):
        await stores.contents("notes/dev")
    assert await locks_of(stores, None) == []
    await stores.close()
    await first.deinit()


async def test_a_lock_that_changed_hands_is_left_alone(tmp_path: Path) -> None:
    """What is taken away is the lock that was shown, not one that somebody took since."""
    from alchemy.owner import owner_of

    store = FileStore(tmp_path / "first")
    await store.init()
    one = await store.acquire("notes/dev", owner=owner_of("deploy"), timeout=0)
    stores = Stores(store)
    shown = await locks_of(stores, "notes")
    assert [lock.is_live for lock in shown] == [True]
    await store.release(one)
    two = await store.acquire("notes/dev", owner=owner_of("deploy"), timeout=0)
    assert await break_locks(stores, shown) == []
    await store.renew(two)
    assert [lock.lease.token for lock in await break_locks(stores, await locks_of(stores, "notes"))] == [two.token]
    assert await store.locks() == []
    await store.deinit()


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """Looking into a store of files never makes one."""
    with pytest.raises(ConfigurationError, match="there is no state in"):
        check_there(f"file://{tmp_path}/no%20where")
    check_there(f"file://{tmp_path}")
    check_there("memory:")


def test_a_log_tells_its_run() -> None:
    """Beginning and end are found; lines that were cut short, or that a newer version wrote, do not hide them."""
    import msgspec

    started = RunStarted(unit="notes/dev", phase="up", at=1.0)
    ended = RunFinished(unit="notes/dev", phase="up", ok=True, seconds=2.0, counts={"created": 1}, at=3.0)
    lines = [msgspec.json.encode(to_json(event)) for event in (started, Notice(level="info", message="x"), ended)]
    odd = [b'{"type":"from.later","x":1}', b'{"type":"run.finished","seconds":"wrong"}', b"[1]", b'{"type":"run.fi']
    raw = b"\n".join([*lines, *odd])
    run = summarize("a", raw)
    assert (run.started, run.what, run.finished) == (1.0, "deploy", ended)
    assert run.as_json()["counts"] == {"created": 1}
    unfinished = summarize("a", lines[0])
    assert (unfinished.finished, unfinished.as_json()["ok"]) == (None, None)
    assert summarize("a", b"").what == "unknown"
    assert [event is None for _, event in events_in(raw)] == [False, False, False, True, True]
    assert from_json(to_json(ended)) == ended
