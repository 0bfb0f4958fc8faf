"""Where state is kept: who may say it, what is relative to what, and what is refused in CI."""

from __future__ import annotations

import shutil
from contextvars import ContextVar
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine.world import Cloud, Thing, deploy, things

from alchemy import alchemy, config
from alchemy.config import Launch, check_lasting, resolve
from alchemy.errors import ConfigurationError
from alchemy.opening import destroy_unit
from alchemy.ports import StateStore
from alchemy.state_manager import StateManager
from alchemy.stores import FileStore, MemoryStore, is_there, open_store, store_of
from alchemy.stores._memory import Memory
from alchemy.upkeep.stores import Stores

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, cloud: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # A default, not a value: a loop that another test's fixture keeps running has a context of its own.
    launch = ContextVar("alchemy_launch", default=Launch(root=tmp_path))  # noqa: B039 - it is frozen
    monkeypatch.setattr(config, "launch", launch)


def says(tmp_path: Path, table: str = "", **given: Any) -> None:
    """Let the project's table, and the command line, say something."""
    (tmp_path / "pyproject.toml").write_text(f"[tool.alchemy]\n{table}\n")
    config.launch.set(Launch(root=tmp_path, options=given))


def test_the_stronger_of_folder_and_store_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--state-dir x` means that folder whatever store the project has; said in one place, the store counts."""
    says(tmp_path, "state_store = 'memory:x'\nstate_dir = 'a'")
    assert (resolve({}).state_store, resolve({}).state_dir) == ("memory:x", "a")
    says(tmp_path, "state_store = 'memory:x'", state_dir="b")
    assert (resolve({}).state_store, resolve({}).state_dir) == (None, "b")
    monkeypatch.setenv("ALCHEMY_STATE_STORE", "memory:y")
    says(tmp_path, "state_dir = 'a'")
    assert resolve({}).state_store == "memory:y"
    assert resolve({"state_dir": "c"}).state_store is None
    assert resolve({"state_dir": "c", "state_store": Path("d")}).state_store == "d"


def test_what_is_no_store_is_refused() -> None:
    """Named by its type."""
    with pytest.raises(ConfigurationError, match="'state_store' must be a state store or its URL, not int"):
        resolve({"state_store": 5})


@pytest.mark.parametrize(
    ("place", "url"),
    [
        ("kept", "file://{}/kept"),
        ("file:kept", "file://{}/kept"),
        ("file:my%20state", "file://{}/my state"),
        ("file:///srv/kept", "file:///srv/kept"),
        ("/srv/kept", "file:///srv/kept"),
    ],
)
def test_relative_places_lie_in_the_project(tmp_path: Path, place: str, url: str) -> None:
    """Wherever the process has gone meanwhile."""
    root = tmp_path / "project"
    assert open_store(place, root=root).url == url.format(root)
    assert store_of(resolve({"state_store": place}), root).url == url.format(root)
    assert store_of(resolve({"state_dir": "kept"}), root).url == f"file://{root}/kept"


def test_a_state_manager_finds_the_projects_store(tmp_path: Path) -> None:
    """The same place as a deploy does."""
    says(tmp_path, "state_store = 'file:kept'")
    assert StateManager().store.url == f"file://{tmp_path}/kept"
    assert StateManager("other").store.url == f"file://{tmp_path}/other"


# --- CI


@pytest.fixture
def ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this be CI."""
    monkeypatch.setenv("CI", "true")


async def test_state_that_would_not_last_is_refused_in_ci(ci: None, tmp_path: Path) -> None:
    """Before anything is made, saying why and what to set; destroying is refused too."""
    with pytest.raises(ConfigurationError, match=r"CI=true.*thrown away.*create everything again") as refused:
        async with alchemy("app", stage="dev"):
            pass
    for way in ("[tool.alchemy]", "--state-store", "ALCHEMY_STATE_STORE", "ALCHEMY_CI_STATE_STORE_CHECK=false"):
        assert way in str(refused.value.hint)
    with pytest.raises(ConfigurationError, match="thrown away"):
        await destroy_unit("app/dev")
    assert not (tmp_path / ".alchemy").exists()


@pytest.mark.parametrize(
    "said",
    [{"state_dir": ".alchemy"}, {"state_store": "file:.alchemy"}, {"ci_state_store_check": False}, {"local": True}],
)
async def test_a_word_is_enough_in_ci(ci: None, said: dict[str, Any]) -> None:
    """A folder that somebody names is what they want; what is made on this machine goes with it."""
    async with alchemy("app", stage="dev", **said):
        Thing("a")


async def test_tests_keep_their_state_where_they_like(ci: None) -> None:
    """A test destroys what it has made before it ends."""
    async with alchemy.test("one", app="app"):
        Thing("a")


@pytest.mark.parametrize("value", ["", "0", "false", " No "])
def test_ci_may_be_denied(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Some shells set the variable to say that it is not."""
    monkeypatch.setenv("CI", value)
    check_lasting(resolve({}))


def test_the_environment_switches_the_check_off(ci: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those do who keep the folder between runs."""
    with pytest.raises(ConfigurationError):
        check_lasting(resolve({}))
    monkeypatch.setenv("ALCHEMY_CI_STATE_STORE_CHECK", "false")
    check_lasting(resolve({}))


# --- what a record says of a scope's own store


class Guarded(MemoryStore):
    """A third party's store, whose URL may hold a password."""

    places: dict[str, Memory] = {}

    def __init__(self, url: str) -> None:
        self._name = url.partition("://")[2].rpartition("@")[2]
        super().__init__(self.places.setdefault(self._name, Memory()))

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        return f"guarded://{self._name}"


async def test_a_record_names_a_store_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the store is found by that name when everything is destroyed."""
    point = EntryPoint("guarded", f"{__name__}:Guarded", "alchemy.state_stores")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [point])
    store = MemoryStore()

    async def program(_app: Any) -> None:
        async with alchemy.run("inner", state_store="guarded://me:hunter2@db/x"):
            Thing("a")

    await deploy(program, store)
    record = (await store.all("app/dev"))["app/dev/inner"]
    assert record.props["state_store"] == "guarded://db/x"
    await destroy_unit("app/dev", state_store=store)
    assert Guarded.places["db/x"].records("") == {}


async def test_a_record_keeps_a_relative_place_as_it_is(tmp_path: Path) -> None:
    """A project that is moved as a whole finds it again."""
    store: StateStore = MemoryStore()

    async def program(_app: Any) -> None:
        async with alchemy.run("inner", state_store="file:inner"):
            Thing("a")

    await deploy(program, store)
    assert (await store.all("app/dev"))["app/dev/inner"].props["state_store"] == "file:inner"
    assert (tmp_path / "inner").is_dir()
    await deploy(program, store)
    await deploy(things(), store)
    assert not list((tmp_path / "inner").rglob("resources"))


@pytest.mark.parametrize("place", ["file:inner", "inner/state", "sqlite:kept/inner.db"])
async def test_a_relative_place_is_looked_for_in_its_project(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Wherever a command runs, and though there is something of that name where it does; also after the project was
    moved, and after the outer store was copied elsewhere.
    """
    project, elsewhere, moved = (tmp_path / name for name in ("project", "elsewhere", "moved"))
    for folder in (project, elsewhere):
        (folder / "kept").mkdir(parents=True)

    async def found(root: Path, outer: Path) -> list[str]:
        store = FileStore(outer)
        stores = Stores(store)
        monkeypatch.chdir(root)
        contents = await stores.contents("app/dev")
        await stores.close()
        await store.deinit()
        return [*contents.records, *map(str, contents.unreadable.values())]

    async def program(_app: Any) -> None:
        async with alchemy.run("inner", state_store=place):
            Thing("a")

    for root, more in ((project, program), (elsewhere, things())):
        config.launch.set(Launch(root=root))
        await deploy(more, FileStore(root / ".alchemy"))
    monkeypatch.chdir(elsewhere)
    other = open_store(place, root=elsewhere)
    await other.init()
    await other.deinit()
    everything = ["app/dev", "app/dev/inner", "app/dev/inner/a"]
    assert await found(elsewhere, project / ".alchemy") == everything
    project.rename(moved)
    assert await found(elsewhere, moved / ".alchemy") == everything
    shutil.copytree(moved / ".alchemy", tmp_path / "copied/far/.alchemy")
    assert await found(moved, tmp_path / "copied/far/.alchemy") == everything
    config.launch.set(Launch(root=elsewhere))
    await destroy_unit("app/dev", state_store=FileStore(moved / ".alchemy"))
    assert cloud.objects == {}


def test_a_file_of_sqlite_lies_in_the_project_too(tmp_path: Path) -> None:
    """As a folder does; and it is known not to be there before it is."""
    store = open_store("sqlite:kept.db", root=tmp_path)
    assert store.url == f"sqlite://{tmp_path}/kept.db"
    assert not is_there(store.url)
