"""`alchemy state import` as a process: it shows first, writes on request, and the next deploy goes on from there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Project

SHOP = Path(__file__).parents[1] / "unit/importing/fixtures/shop"
PROGRAM = """
from alchemy import alchemy
from alchemy.fs import File, Folder

async def main():
    async with alchemy("shop") as app:
        await Folder("out", path="out/prod")
        await File("motto", path="out/prod/motto.txt", content="Everything must stay\\n")
        await File("new", path="new.txt", content="new")
"""
PASSWORD = {"OLD_PASSWORD": "pässword", "ALCHEMY_PASSWORD": "another"}


@pytest.fixture
def shop(project: Project) -> Project:
    """A project whose state Alchemy for TypeScript has kept: files, a secret, and a kind of its own."""
    shutil.copytree(SHOP / "project", project.folder, dirs_exist_ok=True)
    for name in ("motto", "out", "session-key", "badge"):
        target = project.folder / f".alchemy/shop/prod/{name}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SHOP / f"alchemy-ts/shop/prod/{name}.json", target)
    project.write(PROGRAM)
    return project


def events(text: str) -> dict[str, str]:
    """Give how each resource ended, from `--json`."""
    found: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    return {event["fqn"]: event["outcome"] for event in found if event["type"] == "resource.finished"}


def test_from_one_tool_to_the_other(shop: Project) -> None:
    """The old folder must be moved; then it is shown, imported, and deployed with nothing to do for what agrees."""
    refused = shop.run("state", "import", ".alchemy")
    assert refused.returncode == 1
    assert "the two must not lie in one folder" in refused.stderr
    (shop.folder / ".alchemy").rename(shop.folder / "alchemy-ts")
    command = ("state", "import", "alchemy-ts", "--password-env", "OLD_PASSWORD")

    shown = shop.run(*command, env=PASSWORD)
    assert (shown.returncode, shown.stderr) == (0, "nothing was written; add --yes to import\n")
    assert shown.stdout.splitlines() == [
        "shop/prod: 3 resources and 0 scopes would be imported",
        "  shop/prod/motto        fs::File",
        "  shop/prod/out          fs::Folder",
        "  shop/prod/session-key  random::String",
        "  shop/prod/badge        shop::Badge     kept aside: there is no such kind here",
    ]
    assert not (shop.folder / ".alchemy").exists()

    done = json.loads(shop.ok(*command, "--yes", "--json", env=PASSWORD).stdout)
    assert (done["written"], done["stages"][0]["unit"]) == (True, "shop/prod")
    assert Path(done["stages"][0]["aside"]).parent == shop.folder / ".alchemy"
    assert events(shop.ok("deploy", "--stage", "prod", "--json", env=PASSWORD).stdout) == {
        "shop/prod/out": "unchanged",
        "shop/prod/motto": "unchanged",
        "shop/prod/new": "created",
        "shop/prod/session-key": "deleted",
    }
    again = shop.run(*command, "--yes", env=PASSWORD)
    assert again.returncode == 1
    assert "shop/prod has these already: shop/prod/motto, shop/prod/out;" in again.stderr


def test_mistakes_are_told(shop: Project) -> None:
    """A variable that is not set, a wrong password, and a path that is not there; nothing is written."""
    (shop.folder / ".alchemy").rename(shop.folder / "alchemy-ts")
    for args, message in (
        (("alchemy-ts", "--password-env", "NONE"), "NONE is not set"),
        (("alchemy-ts",), "does not open: the password is not the one"),
        (("elsewhere",), "there is neither a file nor a folder"),
        (("alchemy-ts", "--stage", "dev"), "holds no stage 'dev' of shop"),
    ):
        done = shop.run("state", "import", *args, "--yes", env=PASSWORD)
        assert done.returncode == 1
        assert message in done.stderr
    assert not (shop.folder / ".alchemy").exists()


def test_a_flat_file_takes_the_application_from_the_program(shop: Project) -> None:
    """Which is read, not run; it may lie in the state folder."""
    shutil.rmtree(shop.folder / ".alchemy/shop")
    motto = {"path": "out/prod/motto.txt", "content": "Everything must stay\n"}
    flat = {"motto": {"type": "fs::File", "props": motto}, "out": {"type": "fs::Folder", "props": {"path": "out/prod"}}}
    (shop.folder / ".alchemy/state.json").write_text(json.dumps(flat))
    shop.ok("state", "import", ".alchemy/state.json", "--stage", "prod", "--yes")
    assert shop.records() == {"shop/prod/motto": "created", "shop/prod/out": "created"}
    ended = events(shop.ok("deploy", "--stage", "prod", "--json").stdout)
    assert (ended["shop/prod/motto"], ended["shop/prod/out"]) == ("unchanged", "unchanged")
