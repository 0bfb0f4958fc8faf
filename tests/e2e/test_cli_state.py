"""`alchemy state` as a process: it shows what there is, and never a secret."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Project

SEALED = """
from alchemy import alchemy
from alchemy.fs import File

async def main():
    async with alchemy("notes", encrypt_state=True):
        File("plain", path="plain.txt", content="in the open")
"""

SECRETS = """
from alchemy import alchemy
from alchemy.fs import File

async def main():
    async with alchemy("notes", password="pa55word") as app:
        File("plain", path="plain.txt", content="in the open")
        File("hidden", path="hidden.txt", content=alchemy.secret("s3cret-value"))
        async with alchemy.run("inner"):
            File("deep", path="deep.txt", content="x")
"""


@pytest.fixture
def deployed(project: Project) -> Project:
    """A project with an application of two stages, one with secrets, and another application."""
    project.write(SECRETS)
    project.ok("deploy")
    project.things('Thing("a")', app='alchemy("shop")')
    project.ok("deploy", "--stage", "prod")
    return project


def test_list_and_tree_show_everything_or_a_part(deployed: Project) -> None:
    """Without a chain every application, with one what lies in it; a line each."""
    everything = deployed.ok("state", "list").stdout.splitlines()
    assert [line.split() for line in everything] == [
        ["notes/dev/hidden", "fs::File", "created"],
        ["notes/dev/inner/deep", "fs::File", "created"],
        ["notes/dev/plain", "fs::File", "created"],
        ["shop/prod/a", "test::Thing", "created"],
    ]
    assert len(deployed.ok("state", "list", "notes").stdout.splitlines()) == 3
    assert len(deployed.ok("state", "list", "notes/dev/inner").stdout.splitlines()) == 1
    assert deployed.ok("state", "tree", "notes/dev").stdout.splitlines() == [
        "notes",
        "└─ dev",
        "   ├─ hidden  fs::File  created",
        "   ├─ inner",
        "   │  └─ deep  fs::File  created",
        "   └─ plain  fs::File  created",
    ]
    rows = [json.loads(line) for line in deployed.ok("state", "list", "shop", "--json").stdout.splitlines()]
    assert rows == [{"fqn": "shop/prod/a", "kind": "test::Thing", "status": "created"}]


def test_get_shows_a_record_without_its_secrets(deployed: Project) -> None:
    """A record is JSON with `***` for a secret; neither the value nor what it is encrypted to is shown."""
    record = json.loads(deployed.ok("state", "get", "notes/dev/hidden").stdout)
    assert record["fqn"] == "notes/dev/hidden"
    assert record["props"]["content"] == "***"
    stored = (deployed.folder / ".alchemy/notes/dev/resources/hidden/state.json").read_text()
    sealed = json.loads(stored)["props"]["content"]["@secret"]
    shown = deployed.ok("state", "get", "notes/dev/hidden").stdout
    assert "s3cret-value" not in stored + shown
    assert all(str(part) not in shown for part in sealed.values() if len(str(part)) > 8)


def test_secrets_are_never_shown_by_a_run(project: Project) -> None:
    """Deploying with a secret shows it nowhere: lines, events, verbose logs, errors, the export of one."""
    project.write(
        SECRETS.replace('File("plain"', 'app.export(it=alchemy.secret("s3cret-value"))\n        File("plain"')
    )
    told = "".join(project.ok("deploy", flag).stdout for flag in ("--verbose", "--json"))
    assert "s3cret-value" not in told
    assert "***" in told


def test_an_unknown_name_suggests_near_ones(deployed: Project) -> None:
    """Exit code 1 and the nearest names, for records, chains and applications."""
    for args, near in (
        (("state", "get", "notes/dev/hiden"), "notes/dev/hidden"),
        (("state", "list", "notes/dev/iner"), "notes/dev/inner"),
        (("state", "tree", "note"), "notes"),
        (("state", "list", "notes/prod"), "it has dev"),
    ):
        done = deployed.run(*args)
        assert done.returncode == 1
        assert near in done.stderr
        assert "Traceback" not in done.stderr


def test_state_can_lie_elsewhere(deployed: Project) -> None:
    """Options, environment and pyproject.toml say where; a place without state is an error and is not made."""
    (deployed.folder / ".alchemy").rename(deployed.folder / "elsewhere")
    (deployed.folder / "alchemy.run.py").unlink()
    url = f"file://{deployed.folder}/elsewhere"
    assert len(deployed.ok("state", "list", "--state-dir", "elsewhere").stdout.splitlines()) == 4
    assert len(deployed.ok("state", "list", "--state-store", url).stdout.splitlines()) == 4
    assert len(deployed.ok("state", "list", env={"ALCHEMY_STATE_DIR": "elsewhere"}).stdout.splitlines()) == 4
    done = deployed.run("state", "list")
    assert (done.returncode, "there is no state in .alchemy" in done.stderr) == (1, True)
    assert not (deployed.folder / ".alchemy").exists()
    deployed.write('[tool.alchemy]\nstate_dir = "elsewhere"\n', "pyproject.toml")
    assert len(deployed.ok("state", "list").stdout.splitlines()) == 4


def test_looking_needs_no_lease(project: Project) -> None:
    """State can be read while a deploy holds the stage."""
    project.things('await Thing("a")', 'await Thing("b", slow=True)')
    running = project.start("deploy", "--json")
    running.event("resource.started", fqn="notes/dev/b")
    assert project.records() == {"notes/dev/a": "created", "notes/dev/b": "creating"}
    (project.folder / "go").touch()
    assert running.finish()[0] == 0


def test_what_is_encrypted_as_a_whole(project: Project) -> None:
    """With the password it is shown; without it names are, and what is missing is said."""
    project.write(SEALED)
    knows = {"ALCHEMY_PASSWORD": "pw"}
    assert project.run("deploy", env=knows).returncode == 0
    assert "plain.txt" in project.ok("state", "get", "notes/dev/plain", env=knows).stdout
    assert "plain.txt" in project.ok("scope", "state", "notes/dev", env=knows).stdout
    assert "notes/dev/plain" in project.ok("state", "list").stdout
    for command in (("state", "get", "notes/dev/plain"), ("scope", "state", "notes/dev")):
        bare = project.run(*command)
        assert bare.returncode == 1
        assert '"sealed": "***"' in bare.stdout
        assert "plain.txt" not in bare.stdout
        assert "ALCHEMY_PASSWORD" in bare.stderr
    refused = project.run("destroy", "--yes")
    assert refused.returncode == 1
    assert "is encrypted, and there is no password" in refused.stderr
    assert project.run("destroy", "--yes", env=knows).returncode == 0
