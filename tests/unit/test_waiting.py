"""Taking a chain for a run: who is waited for, what is said, and which commands help."""

from __future__ import annotations

import fcntl
import os
import shlex
from pathlib import Path

import pytest

from alchemy import config
from alchemy.config import Launch, Settings
from alchemy.errors import LeaseLost, LockedError
from alchemy.events import Event, Notice, Waiting
from alchemy.ports import Lease, StateStore
from alchemy.stores import FileStore, MemoryStore
from alchemy.stores._guards import guard
from alchemy.testing.contract import UNIT, an_owner
from alchemy.waiting import commands, take

pytestmark = pytest.mark.anyio


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder, in which the shell is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))
    return tmp_path


async def taken(store: StateStore, told: list[Event], chain: str = UNIT, **options: object) -> Lease:
    """Take the unit with these options, in the current project."""
    settings = config.resolve(options)
    return await take(store, chain, owner=an_owner(), settings=settings, launch=Launch(), emit=told.append)


async def test_who_is_waited_for(project: Path) -> None:
    """Once told who holds it and until when, the wait ends in an error with the commands that help."""
    store, told = FileStore(project / ".alchemy"), list[Event]()
    held = await store.acquire(f"{UNIT}/database", owner=an_owner("destroy"), timeout=0)
    with pytest.raises(LockedError) as refused:
        await taken(store, told, lock_timeout=0.01)
    (event,) = told
    assert isinstance(event, Waiting)
    assert (event.unit, event.held, event.owner) == (UNIT, f"{UNIT}/database", str(held.owner))
    assert (event.since, event.patience) == (held.since, 0.01)
    assert event.deadline is not None
    assert "waited 0.01 s" in refused.value.message
    assert refused.value.hint is not None
    assert refused.value.hint.endswith(f": alchemy scope locks; alchemy scope unlock {UNIT}/database")
    await store.deinit()


async def test_a_process_that_stands_still_is_waited_for_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was stopped in the middle of a write is named, with what helps; no patience is spent on it a second time."""
    monkeypatch.setitem(vars(guard)["__wrapped__"].__kwdefaults__, "wait", 0.01)
    store, told = FileStore(project / ".alchemy"), list[Event]()
    await store.acquire(UNIT, owner=an_owner("destroy"), timeout=0)
    stopped = os.open(project / ".alchemy/locks" / f"{UNIT}.guard", os.O_RDWR)
    fcntl.flock(stopped, fcntl.LOCK_EX)
    try:
        with pytest.raises(LockedError, match="stopped in the middle") as refused:
            await taken(FileStore(project / ".alchemy"), told, lock_timeout=10_000)
    finally:
        os.close(stopped)
    assert told == []
    assert refused.value.hint is not None
    assert refused.value.hint.startswith("let it go on or end it")
    assert str(os.getpid()) in refused.value.hint
    await store.deinit()


async def test_no_patience(project: Path) -> None:
    """With a timeout of 0 nobody is waited for, and none is said to be."""
    store, told = FileStore(project / ".alchemy"), list[Event]()
    await store.acquire(UNIT, owner=an_owner(), timeout=0)
    with pytest.raises(LockedError) as refused:
        await taken(store, told, lock_timeout=0)
    assert told == []
    assert "waited" not in refused.value.message
    await store.deinit()


async def test_the_environment_says_for_how_long(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In milliseconds."""
    monkeypatch.setenv("ALCHEMY_LOCK_TIMEOUT", "20")
    store, told = MemoryStore(), list[Event]()
    await store.acquire(UNIT, owner=an_owner(), timeout=0)
    with pytest.raises(LockedError, match=r"waited 0\.02 s") as refused:
        await taken(store, told)
    assert refused.value.hint == "wait for that run to end"  # no command reaches this memory


@pytest.mark.parametrize("held", [("notes",), (UNIT,), (f"{UNIT}/a", f"{UNIT}/b")], ids=["above", "itself", "below"])
async def test_without_locking_it_is_taken_from_them(project: Path, held: tuple[str, ...]) -> None:
    """Whoever holds it, or a chain above or below it, is refused from then on; that is told."""
    store, told = FileStore(project / ".alchemy"), list[Event]()
    others = [await store.acquire(chain, owner=an_owner("destroy"), timeout=0) for chain in held]
    lease = await taken(FileStore(project / ".alchemy"), told, enable_locking=False)
    assert lease.unit == UNIT
    assert len(told) == len(held)
    assert all(isinstance(event, Notice) and "was taken from tester@here" in event.message for event in told)
    for other in others:
        with pytest.raises(LeaseLost):
            await store.renew(other)


class Stubborn(MemoryStore):
    """A store whose unit is always held."""

    async def break_(self, chain: str) -> None:
        """Be taken again at once."""


async def test_one_that_always_comes_back(project: Path) -> None:
    """Without locking, too, the attempt ends."""
    store = Stubborn()
    await store.acquire(UNIT, owner=an_owner(), timeout=0)
    with pytest.raises(LockedError):
        await taken(store, [], enable_locking=False, lock_timeout=0.01)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ""),
        ({"state_dir": "my state"}, "--state-dir 'my state'"),
        ({"state_dir": ".alchemy"}, ""),
        ({"state_store": "other:place"}, "--state-store file:///srv/state"),
    ],
)
def test_commands_name_the_place(project: Path, options: dict[str, str], expected: str) -> None:
    """Only where the command line would look elsewhere, and so that a shell takes them."""
    settings = config.resolve(options)
    look, unlock = commands(FileStore("/srv/state"), "my app/prod", settings, Launch(options=options))
    assert look == f"alchemy scope locks {expected}".strip()
    assert unlock == f"alchemy scope unlock 'my app/prod' {expected}".strip()


def test_commands_that_need_no_place(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment or the project's table says, every command finds by itself; a damaged table is no matter."""
    store = FileStore("/srv/state")
    monkeypatch.setenv("ALCHEMY_STATE_STORE", "file:///srv/state")
    assert commands(store, UNIT, config.resolve({}), Launch())[0] == "alchemy scope locks"
    monkeypatch.delenv("ALCHEMY_STATE_STORE")
    (project / "pyproject.toml").write_text('[tool.alchemy]\nstate_dir = "kept"\n')
    settings = config.resolve({})
    assert commands(store, UNIT, settings, Launch())[0] == "alchemy scope locks"
    (project / "pyproject.toml").write_text("[")
    assert commands(store, UNIT, settings, Launch())[0] == "alchemy scope locks --state-dir kept"


def test_a_program_in_another_folder(project: Path) -> None:
    """Whose state is elsewhere than where the shell is: the folder is named in full."""
    launch = Launch(root=project / "my app")
    (project / "my app").mkdir()
    look, _ = commands(FileStore("ignored"), UNIT, Settings(stage="prod"), launch)
    assert shlex.split(look) == ["alchemy", "scope", "locks", "--state-dir", str(project / "my app/.alchemy")]
