"""One flat file: the shapes that are taken, and the key that is named when something else is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alchemy import alchemy, config
from alchemy.errors import ConfigurationError, StateDamaged, StateTooNew
from alchemy.events import Event, ResourceFinished
from alchemy.fs import File
from alchemy.importing import Request, Source, read_source, run_import
from alchemy.random import RandomString
from alchemy.stores import MemoryStore

FILE = {"kind": "fs::File", "props": {"path": "a.txt", "content": "x"}}


def read(folder: Path, content: Any, *, app: str | None = "notes", stage: str | None = "prod") -> Source:
    """Write a flat file and read it."""
    path = folder / "state.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_source(path, app=app, stage=stage, default_stage="me", folder=folder)


def names(source: Source) -> dict[str, list[str]]:
    """Give the FQNs by unit."""
    return {unit: [one.fqn for one in found] for unit, found in source.units.items()}


@pytest.mark.parametrize(
    "content",
    [
        {"site/index": FILE},
        {"notes/prod/site/index": FILE},
        {"site": {"index": FILE}},
        {"notes": {"prod": {"site": {"index": FILE}}}},
        {"resources": {"site": {"index": FILE}}},
        {"version": 1, "app": "notes", "stage": "prod", "resources": [{**FILE, "id": "site/index"}]},
        {"resources": [{**FILE, "fqn": "notes/prod/site/index"}]},
        {"site": {"index": {"type": "fs::File", "inputs": FILE["props"], "outputs": {}}}},
        {"index": {**FILE, "id": "index", "fqn": "notes/prod/site/index", "createdAt": "2026-11-21"}},
    ],
)
def test_shapes(tmp_path: Path, content: Any) -> None:
    """Nested or not, by FQN or by id, with the application around it or not: it is the same resource."""
    source = read(tmp_path, content)
    assert names(source) == {"notes/prod": ["notes/prod/site/index"]}
    (found,) = source.units["notes/prod"]
    assert (found.kind, found.props) == ("fs::File", FILE["props"])


def test_application_and_stage_are_found_in_the_file(tmp_path: Path) -> None:
    """In the object around the resources, else in keys that are FQNs; a stage is the default one if nothing says it."""
    around = {"app": "shop", "stage": "dev", "resources": {"a": FILE}}
    assert names(read(tmp_path, around, app=None, stage=None)) == {"shop/dev": ["shop/dev/a"]}
    several = {"shop/dev/a": FILE, "shop/prod/a": FILE}
    assert names(read(tmp_path, several, app=None, stage=None)) == {
        "shop/dev": ["shop/dev/a"],
        "shop/prod": ["shop/prod/a"],
    }
    assert list(read(tmp_path, {"a": FILE}, stage=None).units) == ["notes/me"]
    with pytest.raises(ConfigurationError, match="does not say which application") as raised:
        read(tmp_path, {"a": FILE}, app=None)
    assert raised.value.hint == "say it: --app NAME"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "state.json is not JSON"),
        ('{"a": 1, "a": 2}', "the key 'a' is there twice"),
        ([], "state.json: it holds a list, not an object of resources"),
        ({}, "state.json: it is empty"),
        ({"resources": []}, "state.json: it holds no resource"),
        ({"a": {}}, "state.json: a: it is empty"),
        ({"a": FILE, "b": 1}, "state.json: b: it is a number, neither a resource nor a group"),
        ({"site": {"a": [FILE]}}, "state.json: site/a: it is a list, neither a resource nor a group"),
        ({"a": {"props": {}}}, "state.json: a: it has neither 'kind' nor 'type'"),
        ({"a//b": FILE}, "the key 'a//b' has an empty part"),
        ({"a": {**FILE, "colour": "red"}}, "state.json: a: what 'colour' means in a resource is not known"),
        ({"a": {**FILE, "type": "fs::Folder"}}, "state.json: a: its 'kind' and its 'type' differ"),
        ({"a": {**FILE, "inputs": {}}}, "state.json: a: it has both 'props' and 'inputs'"),
        ({"a": {**FILE, "id": "b"}}, "state.json: a: it says that its id is 'b'"),
        ({"a": {**FILE, "fqn": "notes/prod/b"}}, "state.json: a: it says that it is notes/prod/b"),
        ({"a": {**FILE, "props": "x"}}, "state.json: a: 'props' is a text, not an object"),
        ({"a": {**FILE, "status": "done"}}, "state.json: a: its status is 'done'"),
        ({"a": FILE, "notes/prod/a": FILE}, "notes/prod/a is there twice, also as .*state.json: a"),
        ({"resources": [{"id": "a"}]}, r"resources\[0\]: it has neither 'kind' nor 'type'"),
        ({"resources": [FILE]}, r"resources\[0\]: it has neither 'fqn' nor 'id'"),
        ({"version": "1", "resources": {"a": FILE}}, "'version' is a text, not a whole number"),
    ],
)
def test_anything_else_names_the_key(tmp_path: Path, content: Any, message: str) -> None:
    """Nothing is passed over in silence."""
    with pytest.raises(StateDamaged, match=message):
        read(tmp_path, content)


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    """It may mean something else by the same words."""
    with pytest.raises(StateTooNew, match="says version 2; this version reads 1"):
        read(tmp_path, {"version": 2, "resources": {"a": FILE}})


@pytest.mark.anyio
async def test_a_flat_file_is_deployed_without_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: list[Event]
) -> None:
    """What it says of files and of a secret in clear becomes records; the secret is encrypted from then on."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "a.txt").chmod(0o644)
    content = {"site": {"a": FILE}, "key": {"type": "random::String", "output": {"value": "0123456789abcdef"}}}
    source = read(tmp_path, content)
    store = MemoryStore()
    request = Request(source=source, settings=config.resolve({}), folder=tmp_path, password="pw", source_password="pw")
    (done,) = await run_import(store, request)
    assert done.aside is None
    assert "@secret" in (await store.all("notes/prod"))["notes/prod/key"].output["value"]
    async with alchemy("notes", stage="prod", state_store=store, password="pw"):
        async with alchemy.run("site"):
            File("a", path="a.txt", content="x")
        key = await RandomString("key", length=16)
    assert key.value.reveal() == "0123456789abcdef"
    ended = {event.outcome for event in events if isinstance(event, ResourceFinished)}
    assert ended == {"unchanged"}
