"""A folder of Alchemy for TypeScript: which application and stage, and what is no record."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from alchemy.errors import AlchemyError, ConfigurationError, StateDamaged, StateError, StateTooNew
from alchemy.importing import Source, read_source


def read(path: Path, *, app: str | None = None, stage: str | None = None) -> Source:
    """Read a folder."""
    return read_source(path, app=app, stage=stage, default_stage="me", folder=path.parent)


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a record; `None` takes one out."""
    record = json.loads(path.read_text())
    record.update(changes)
    path.write_text(json.dumps({key: value for key, value in record.items() if value is not None}))


def test_every_stage_is_read(shop: Path) -> None:
    """Scopes, which do not say their own names, get them from their place; `:` in a file's name is `/` in an id."""
    source = read(shop / "alchemy-ts")
    assert (source.form, list(source.units)) == ("typescript", ["shop/dev", "shop/prod"])
    names = {found.fqn for found in source.units["shop/prod"]}
    assert {"shop/prod/site", "shop/prod/site/blog/first", "shop/prod/notes/today"} <= names
    assert "shop/dev" in {found.fqn for found in source.units["shop/dev"]}


def test_the_folder_of_one_application_will_do(shop: Path) -> None:
    """What is missing above it is in the records."""
    whole, part = read(shop / "alchemy-ts"), read(shop / "alchemy-ts/shop")
    assert {unit: [one.fqn for one in found] for unit, found in part.units.items()} == {
        unit: [one.fqn for one in found] for unit, found in whole.units.items()
    }


def test_a_stage_can_be_chosen(shop: Path) -> None:
    """By name; one that is not there is an error with those that are."""
    assert list(read(shop / "alchemy-ts", stage="prod").units) == ["shop/prod"]
    with pytest.raises(ConfigurationError, match="holds no stage 'test' of shop") as raised:
        read(shop / "alchemy-ts", stage="test")
    assert raised.value.hint == "it holds dev, prod"


def test_an_application_has_to_be_chosen_among_several(shop: Path) -> None:
    """It is asked for, and then taken alone."""
    shutil.copytree(shop / "alchemy-ts/shop", shop / "alchemy-ts/store")
    for path in (shop / "alchemy-ts/store").rglob("*.json"):
        record = json.loads(path.read_text())
        edit(path, fqn=record["fqn"].replace("shop/", "store/"))
    with pytest.raises(ConfigurationError, match="several applications: shop, store"):
        read(shop / "alchemy-ts")
    assert list(read(shop / "alchemy-ts", app="store").units) == ["store/dev", "store/prod"]
    with pytest.raises(ConfigurationError, match="holds no application 'other'"):
        read(shop / "alchemy-ts", app="other")


def test_relative_paths_start_in_the_project(shop: Path) -> None:
    """Beside a folder of the name that the package gives it; else where the command says."""
    assert read(shop / "alchemy-ts").root == shop
    other = shop / "other/.alchemy"
    shutil.copytree(shop / "alchemy-ts", other)
    assert read_source(other, app=None, stage=None, default_stage="me", folder=shop).root == shop / "other"


def test_folders_without_state_are_passed_over(shop: Path) -> None:
    """Bundles, logs and process ids lie beside applications, and need not even be JSON."""
    for name, content in (("out/api/meta.json", "{}"), ("logs/x.json", "{"), ("pids/a.pid.json", '{"pid": 1}')):
        path = shop / "alchemy-ts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert list(read(shop / "alchemy-ts").units) == ["shop/dev", "shop/prod"]


def test_a_scope_may_be_called_like_a_file(shop: Path) -> None:
    """Its folder is none; a link that leads nowhere is an error, since a record may be behind it."""
    (shop / "alchemy-ts/shop/dev/site").rename(shop / "alchemy-ts/shop/dev/site.json.json")
    for path in (shop / "alchemy-ts/shop/dev/site.json.json").rglob("*.json"):
        record = json.loads(path.read_text())
        edit(path, fqn=record["fqn"].replace("/site/", "/site.json.json/"))
    found = read(shop / "alchemy-ts").units["shop/dev"]
    assert "shop/dev/site.json.json/index" in {one.fqn for one in found}
    (shop / "alchemy-ts/shop/dev/lost.json").symlink_to("nowhere")
    with pytest.raises(StateError, match=r"lost.json cannot be read: No such file"):
        read(shop / "alchemy-ts")


def test_what_cannot_be_read_is_named(shop: Path) -> None:
    """Each mistake is an error that names the file."""
    cases: list[tuple[str, str, type[AlchemyError], str]] = [
        ("dev/motto.json", '{"kind": ', StateDamaged, "motto.json is not JSON"),
        ("dev/motto.json", '{"kind": "a", "kind": "b"}', StateDamaged, "the key 'kind' is there twice"),
        ("dev/motto.json", "[]", StateDamaged, "motto.json: this is not a record"),
        ("dev/motto.json", '{"status": "created", "attr": {}}', StateDamaged, "motto.json: this is not a record"),
    ]
    for name, content, error, message in cases:
        path = shop / "alchemy-ts/shop" / name
        before = path.read_text()
        path.write_text(content)
        with pytest.raises(error, match=message):
            read(shop / "alchemy-ts")
        path.write_text(before)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"version": 2}, StateTooNew, "motto.json has 'version', which no record of Alchemy for TypeScript up to 0.94"),
        ({"status": "replacing"}, StateDamaged, "its status is 'replacing', and not one of creating, created"),
        ({"seq": "1"}, StateDamaged, "'seq' is a text, not a whole number"),
        ({"props": []}, StateDamaged, "'props' is a list, not an object"),
        ({"fqn": "shop/prod/motto"}, StateDamaged, "says that it is shop/prod/motto, and lies where shop/dev/motto"),
    ],
)
def test_a_record_of_another_form_is_an_error(
    shop: Path, changes: dict[str, Any], error: type[AlchemyError], message: str
) -> None:
    """Also one of a newer version: nothing of it is guessed."""
    edit(shop / "alchemy-ts/shop/dev/motto.json", **changes)
    with pytest.raises(error, match=message):
        read(shop / "alchemy-ts")


def test_a_part_of_an_application_is_refused(shop: Path) -> None:
    """What a stage keeps itself lies beside its folder, and would be missed."""
    with pytest.raises(ConfigurationError, match="is only a part of shop: shop/dev") as raised:
        read(shop / "alchemy-ts/shop/dev")
    assert raised.value.hint is not None
    assert "--stage dev" in raised.value.hint


def test_a_folder_without_records_is_an_error(tmp_path: Path) -> None:
    """As is one that is not there."""
    with pytest.raises(ConfigurationError, match="holds no record"):
        read(tmp_path)
    with pytest.raises(ConfigurationError, match="there is neither a file nor a folder"):
        read(tmp_path / "none")
