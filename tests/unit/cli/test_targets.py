"""`alchemy destroy` finds out which stage is meant, or says that it cannot know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from alchemy.cli.literals import Opened
from alchemy.cli.places import Place, check_unit
from alchemy.cli.targets import find_unit, parted
from alchemy.config import Settings
from alchemy.errors import ConfigurationError
from alchemy.ports import StateStore

pytestmark = pytest.mark.anyio


class Listed:
    """As much of a store as is asked: which applications and stages there are."""

    url = "listed:"

    def __init__(self, *units: str) -> None:
        self.units = units

    async def list_scopes(self, chain: str) -> Sequence[str]:
        if not chain:
            return sorted({unit.partition("/")[0] for unit in self.units})
        return [unit for unit in self.units if unit.startswith(f"{chain}/")]


def store(*units: str) -> StateStore:
    return cast("StateStore", Listed(*units))


def place(*opened: Opened | None, given: Mapping[str, Any] | None = None) -> Place:
    said = [each for each in opened if each]
    return Place(Path(), Path("p.py") if said else None, said, Settings(stage="me"), given or {})


@pytest.mark.parametrize(
    ("chain", "opened", "given", "expected"),
    [
        ("notes/prod", None, {}, "notes/prod"),
        ("notes/test/one", None, {}, "notes/test/one"),
        ("notes", None, {}, "notes/me"),
        ("notes", None, {"stage": "prod"}, "notes/prod"),
        ("notes", Opened("shop", {"stage": "fixed"}), {}, "notes/me"),
        (None, Opened("shop"), {}, "shop/me"),
        (None, Opened("shop", {"stage": "fixed"}), {}, "shop/fixed"),
        (None, Opened("shop", {"stage": "fixed"}), {"stage": "prod"}, "shop/prod"),
        (None, Opened("shop", {}, frozenset({"stage"})), {"stage": "prod"}, "shop/prod"),
        (None, None, {}, "only/me"),
        (None, Opened(None), {}, "only/me"),
    ],
)
async def test_the_stage_that_is_meant(
    chain: str | None, opened: Opened | None, given: Mapping[str, Any], expected: str
) -> None:
    """What is typed wins over the program's text, that over the state's only application and the options."""
    assert await find_unit(store("only/prod"), place(opened, given=given), chain) == expected


@pytest.mark.parametrize(
    ("units", "chain", "opened", "message"),
    [
        (("a/x", "b/x"), None, Opened(None), "does not name its application in plain text"),
        (("a/x", "b/x"), None, None, "several applications: a, b"),
        ((), None, None, "no application"),
        (("a/x",), "a/x/nested", None, "only whole stages"),
        (("a/x", "a/y"), None, Opened("a", {}, frozenset({"stage"})), "a has x, y"),
    ],
)
async def test_what_cannot_be_known_is_asked_for(
    units: tuple[str, ...], chain: str | None, opened: Opened | None, message: str
) -> None:
    """Nothing is guessed; the error lists what there is."""
    with pytest.raises(ConfigurationError, match=message) as raised:
        await find_unit(store(*units), place(opened), chain)
    assert raised.value.hint


async def test_several_applications_of_a_program_must_be_told_apart() -> None:
    """The one that is named is looked up in the text; none is taken for the other."""
    both = place(Opened("a", {"stage": "x"}), Opened("b", {"stage": "y"}))
    with pytest.raises(ConfigurationError, match="opens several applications: a, b"):
        await find_unit(store("a/x", "b/y"), both, None)
    assert await find_unit(store(), both, "b") == "b/y"
    assert await find_unit(store(), both, "c") == "c/me"


@pytest.mark.parametrize(
    ("unit", "message"),
    [("nots/prod", "did you mean 'notes'"), ("notes/prd", "it has prod, test/a"), ("zzz/x", "there are notes")],
)
async def test_a_stage_that_does_not_exist_lists_those_that_do(unit: str, message: str) -> None:
    """Both for an application and for a stage."""
    with pytest.raises(ConfigurationError) as raised:
        await check_unit(store("notes/prod", "notes/test/a"), unit)
    assert message in str(raised.value)
    await check_unit(store("notes/prod"), "notes/prod")


async def test_a_program_is_told_from_a_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, and folders that hold a program, are programs; the rest are chains, unless they look like paths."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/alchemy.run.py").touch()
    (tmp_path / "notes").mkdir()
    assert parted(None) == (None, None)
    assert parted("app.py") == (tmp_path / "app.py", None)
    assert parted("folder") == (tmp_path / "folder/alchemy.run.py", None)
    assert parted("notes") == (None, "notes")
    assert parted("notes/prod/") == (None, "notes/prod")
    for wrong in ("gone.py", "./notes/prod", "/notes", "notes//prod"):
        with pytest.raises(ConfigurationError):
            parted(wrong)
