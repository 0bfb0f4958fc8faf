"""Which store is opened for a place."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from alchemy import stores
from alchemy.errors import ConfigurationError
from alchemy.stores import CloudflareStateStore, FileStore, MemoryStore, open_store


@pytest.mark.parametrize(
    ("place", "url"),
    [
        ("/srv/state", "file:///srv/state"),
        ("file:///srv/my%20state", "file:///srv/my state"),
        ("file://localhost/srv/state", "file:///srv/state"),
        (Path("/srv/state"), "file:///srv/state"),
        ("memory:shared", "memory:shared"),
    ],
)
def test_known_places(place: str | Path, url: str) -> None:
    """Paths, file URLs and memory are known."""
    store = open_store(place)
    assert isinstance(store, MemoryStore if url == "memory:shared" else FileStore)
    assert store.url == url


def test_each_memory_has_a_place_of_its_own() -> None:
    """No two share a URL, and a URL leads to the one it came from while that is there."""
    one, two = open_store("memory:"), MemoryStore()
    assert one.url != two.url
    again = open_store(two.url)
    assert isinstance(again, MemoryStore)
    assert again.memory is two.memory


@pytest.mark.parametrize("place", [".alchemy", "file:.alchemy", "./.alchemy"])
def test_a_relative_place(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path means the current folder at the time of the call."""
    monkeypatch.chdir(tmp_path)
    store = open_store(place)
    monkeypatch.chdir("/")
    assert store.url == f"file://{tmp_path}/.alchemy"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("shelf://hall", "no state store for shelf"),
        ("file://server/share", "another machine"),
        ("file:", "no folder"),
        ("", "empty"),
        ("sqlite", "write 'sqlite:state.db'; a folder of that name is './sqlite'"),
        ("postgresql", "write 'postgresql://…'"),
    ],
)
def test_unknown_places(place: str, said: str) -> None:
    """What cannot be opened is an error that says why, and what there is."""
    with pytest.raises(ConfigurationError, match=said) as refused:
        open_store(place)
    assert refused.value.hint
    if "no state store" in said:
        assert {"file:", "memory:", "sqlite:"} <= {*refused.value.hint.replace(",", " ").replace(";", " ").split()}


@pytest.mark.parametrize("place", ["postgres://ann:hunter2@[::1/db", "redis://ann:hunter2@\u2100host/0"])
@pytest.mark.parametrize("root", [None, Path("/srv")])
def test_what_is_no_url(place: str, root: Path | None) -> None:
    """It is refused by its scheme alone, for the rest may hold a password."""
    with pytest.raises(ConfigurationError, match="cannot be read") as refused:
        open_store(place, root=root)
    assert "hunter2" not in f"{refused.value!s} {refused.value.hint}"
    assert refused.value.__suppress_context__


@pytest.mark.parametrize(
    "address",
    [":99999", ":0", ":port", "/folder", "?force=true", "#1", "@host"],
)
def test_what_is_no_address_of_a_service(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused at once, and not by what comes of asking it."""
    monkeypatch.setenv("ALCHEMY_STATE_TOKEN", "token")
    with pytest.raises(ConfigurationError, match="is no address of a state service") as refused:
        CloudflareStateStore(f"http://127.0.0.1{address}")
    assert "cloudflare+http://127.0.0.1:8787" in (refused.value.hint or "")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        CloudflareStateStore("http://[::1")


@pytest.mark.parametrize(
    ("place", "meant"),
    [
        ("sqlit:state.db", "sqlite:"),
        ("postgress://host/db", "postgres:"),
        ("S3://bucket/x", "s3:"),
        ("fil:/x", "file:"),
    ],
)
def test_a_misspelt_scheme(place: str, meant: str) -> None:
    """The error says which scheme was probably meant."""
    with pytest.raises(ConfigurationError, match="no state store for") as refused:
        open_store(place)
    assert refused.value.hint == f"did you mean '{meant}'?"


@pytest.mark.parametrize("place", ["state.db", "file:state.db", Path("state.db")])
def test_a_file_is_no_folder(place: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is named without its scheme: the error says which."""
    monkeypatch.chdir(tmp_path)
    Path("state.db").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="is a file, and a folder is wanted") as refused:
        open_store(place, root=tmp_path)
    assert f"write 'sqlite:{tmp_path}/state.db'" in str(refused.value.hint)


def test_third_parties_bring_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package's entry point is called with the URL."""
    mine = EntryPoint("mine", "alchemy.stores:FileStore", stores.ENTRY_POINTS)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [mine] if group == stores.ENTRY_POINTS else [])
    assert isinstance(open_store("mine:/x"), FileStore)
    with pytest.raises(ConfigurationError, match="others:") as refused:
        open_store("others://x")
    assert "mine:" in str(refused.value.hint)


def test_an_installed_distribution_brings_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What packaging writes beside an installed package is enough; that is what a third party ships."""
    (tmp_path / "shelf.py").write_text(
        "from alchemy.stores import MemoryStore\n"
        "class ShelfStore(MemoryStore):\n"
        "    def __init__(self, url):\n"
        "        super().__init__()\n"
        "        self.asked = url\n"
    )
    facts = tmp_path / "shelf-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[alchemy.state_stores]\nshelf = shelf:ShelfStore\n")
    monkeypatch.syspath_prepend(tmp_path)
    store = open_store("shelf://hall/top?deep=1")
    assert (type(store).__name__, getattr(store, "asked", None)) == ("ShelfStore", "shelf://hall/top?deep=1")


def test_names_of_the_module() -> None:
    """Only what is exported can be had."""
    with pytest.raises(AttributeError, match="OtherStore"):
        _ = stores.OtherStore
