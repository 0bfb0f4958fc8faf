"""Every command on the page for when things go wrong, in its order, on a stage to which all of it has happened."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Project

PAGE = Path(__file__).parents[2] / "docs/troubleshooting.md"
BACKUP = "state-2026-11-21T09-00-00-000Z.json"
ASKS = ("unlock", "reset")

PROGRAM = """
async def main():
    async with alchemy("notes") as app:
        Thing("api", size=int(os.environ.get("SIZE", "1")))
        async with alchemy.run("database", state_store="file:database-state"):
            Thing("main", size=int(os.environ.get("SIZE", "1")))
"""


def commands() -> list[str]:
    """Give the lines of the page's shell blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def test_the_page_has_every_command_of_the_group() -> None:
    """What the group can do is on the page, `list-locks` aside, which is `locks`."""
    from alchemy.cli.commands.scope import command

    named = {line.split("alchemy scope ")[1].split()[0] for line in commands() if "alchemy scope " in line}
    assert named == set(command.commands) - {"list-locks"}


@pytest.fixture
def troubled(project: Project) -> Project:
    """A stage after two deploys, with a store of a nested scope, whose state is damaged."""
    project.program(PROGRAM)
    project.ok("deploy", "--stage", "prod")
    project.ok("deploy", "--stage", "prod", env={"SIZE": "2"})
    return project


def test_every_command_does_what_the_page_says(troubled: Project) -> None:
    """All of them succeed; the damage is found, and gone after the restore."""
    record = troubled.folder / ".alchemy/notes/prod/resources/api/state.json"
    for line in commands():
        words = shlex.split(line)
        env = {"SIZE": "2"}
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            env[name] = value
        if words[2] == "validate":
            record.write_text("{")
        if BACKUP in words:
            listed = troubled.ok("scope", "restore", "notes/prod", "--list").stdout
            words[words.index(BACKUP)] = listed.splitlines()[-1].split()[0]
        done = troubled.run(*words[1:], *(["--yes"] if words[2] in ASKS else []), env=env)
        assert (done.returncode, "Traceback" in done.stderr) == (int(words[2] == "validate"), False), f"{line}\n{done}"
    assert set(troubled.records()) == {"notes/prod/api", "notes/prod/database/main"}
    assert troubled.objects == {"notes-prod-api": "2", "notes-prod-database-main": "2"}
    assert "nothing is wrong" in troubled.ok("scope", "validate").stdout
