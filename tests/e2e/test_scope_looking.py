"""`alchemy scope list|inspect|state` as a process: what there is, also in stores of nested scopes."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Project

NESTED = """
import os
from alchemy import alchemy, Options
from alchemy.fs import File

async def main():
    async with alchemy("notes", password="pa55word") as app:
        one = File("one", path="one.txt", content=alchemy.secret("s3cret-value"))
        async with alchemy.run("inner", state_store="file:inner-state"):
            File("deep", path="deep.txt", content="x", options=Options(depends_on=[one]))
            async with alchemy.run("core", state_store="file:core-state"):
                File("deepest", path="deepest.txt", content="x")
"""


@pytest.fixture
def deployed(project: Project) -> Project:
    """Two applications; a scope of the first has a store of its own, and so has a scope in that."""
    project.write(NESTED)
    project.ok("deploy")
    project.things('Thing("a")', app='alchemy("shop")')
    project.ok("deploy", "--stage", "prod")
    return project


def rows(project: Project, *args: str) -> list[dict[str, Any]]:
    """What a command writes as JSON, a line each."""
    return [json.loads(line) for line in project.ok(*args, "--json").stdout.splitlines()]


def test_list_shows_every_stage_with_its_size_and_last_run(deployed: Project) -> None:
    """A line for each stage; resources in stores of nested scopes count."""
    lines = deployed.ok("scope", "list").stdout.splitlines()
    assert [line.split("  ")[:2] for line in lines] == [["notes/dev", "3 resources"], ["shop/prod", "1 resource"]]
    assert all(line.endswith("ago, ok") and "deploy " in line for line in lines)
    first, _ = rows(deployed, "scope", "list")
    assert (first["chain"], first["kind"], first["resources"], first["lock"]) == ("notes/dev", "stage", 3, None)
    assert first["last_run"]["counts"] == {"created": 3}


def test_list_shows_an_application_of_which_nothing_is_left(deployed: Project) -> None:
    """An application outlives its stages, because its lineage does."""
    deployed.ok("destroy", "shop/prod", "--yes")
    assert deployed.ok("scope", "list").stdout.splitlines()[1].split(maxsplit=1) == ["shop", "nothing deployed"]
    assert rows(deployed, "scope", "list")[1]["kind"] == "application"


def test_list_goes_on_after_a_stage_that_cannot_be_read(deployed: Project) -> None:
    """The others are listed, the damage is told with its file, and the exit code is 1."""
    (deployed.folder / ".alchemy/notes/dev/resources/one/state.json").write_text("{")
    done = deployed.run("scope", "list")
    assert done.returncode == 1
    assert [line.split("  ")[1] for line in done.stdout.splitlines()] == ["cannot be read", "1 resource"]
    assert "resources/one/state.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_list_says_who_holds_a_stage(project: Project) -> None:
    """A run that goes on is shown below its stage, and as JSON."""
    project.things('await Thing("a", slow=True)')
    running = project.start("deploy", "--json")
    running.event("resource.started", fqn="notes/dev/a")
    lines = project.ok("scope", "list").stdout.splitlines()
    assert f"(pid {running.process.pid}), deploy" in lines[1]
    assert rows(project, "scope", "list")[0]["lock"]["owner"]["pid"] == running.process.pid
    (project.folder / "go").touch()
    assert running.finish()[0] == 0


def test_inspect_draws_everything_that_is_known(deployed: Project) -> None:
    """Kind, status, age, what it was made from, and which store a scope keeps its state in."""
    lines = deployed.ok("scope", "inspect", "notes/dev").stdout.splitlines()
    ages = {line.split()[-2] for line in lines if "created" in line}
    assert all(age.isdigit() for age in ages)
    shown = [" ".join("AGE" if word in ages else word for word in line.split()) for line in lines]
    assert shown == [
        "notes",
        "└─ dev",
        "├─ inner",
        "│ │ state in file:inner-state",
        "│ ├─ core",
        "│ │ │ state in file:core-state",
        "│ │ └─ deepest fs::File created AGE s",
        "│ └─ deep fs::File created AGE s",
        "│ needs one",
        "└─ one fs::File created AGE s",
    ]
    assert max(map(len, lines)) <= 80
    assert "shop" in deployed.ok("scope", "inspect").stdout


def test_inspect_shows_what_is_still_to_be_deleted(project: Project) -> None:
    """An object that was replaced and could not be deleted is named with its generation."""
    project.program(STUBBORN)
    project.ok("deploy")
    assert project.run("deploy", env={"SIZE": "2"}).returncode == 1
    told = project.ok("scope", "inspect", "notes/dev/a").stdout
    assert "replaced test::Stubborn notes-dev-a-" in told
    assert "(generation 1) is still to be deleted" in told
    record = next(row for row in rows(project, "scope", "inspect", "notes/dev/a") if row["fqn"] == "notes/dev/a")
    assert [old["generation"] for old in record["generations"]] == [1]


STUBBORN = """
class Stubborn(Resource, kind="test::Stubborn", provider="file:alchemy.run.py#Stubborns"):
    size: int = prop(default=1, replace=True)
    object_id: str = output()

class Stubborns(Provider[Stubborn]):
    naming = Naming(max=40)
    recover = "name"

    async def find(self, ctx, want):
        return None

    async def create(self, ctx, want):
        return ctx.result(object_id=ctx.name)

    async def delete(self, ctx, have):
        raise ValueError("it stays")

async def main():
    async with alchemy("notes") as app:
        Stubborn("a", size=int(os.environ.get("SIZE", "1")))
"""


def test_state_shows_whole_records_without_secrets(deployed: Project) -> None:
    """Every record in the chain, wherever it lies; `***` for what is secret."""
    found = {row["fqn"]: row for row in rows(deployed, "scope", "state", "notes/dev")}
    assert list(found) == [
        "notes/dev",
        "notes/dev/inner",
        "notes/dev/inner/core",
        "notes/dev/inner/core/deepest",
        "notes/dev/inner/deep",
        "notes/dev/one",
    ]
    assert found["notes/dev/one"]["props"]["content"] == "***"
    pretty = deployed.ok("scope", "state", "notes/dev/one").stdout
    assert json.loads(pretty) == found["notes/dev/one"]
    assert "s3cret-value" not in pretty


def test_state_commands_follow_stores_of_nested_scopes(deployed: Project) -> None:
    """`alchemy state list|tree|get` find what lies in them, at any depth."""
    assert "notes/dev/inner/core/deepest" in deployed.records()
    assert "deepest  fs::File  created" in deployed.ok("state", "tree", "notes").stdout
    record = json.loads(deployed.ok("state", "get", "notes/dev/inner/core/deepest").stdout)
    assert record["kind"] == "fs::File"


def test_a_nested_store_that_is_gone_is_told(deployed: Project) -> None:
    """What can be shown is shown; the missing part is named, nothing is made in its place, and the exit code is 1."""
    shutil.rmtree(deployed.folder / "core-state")
    for args in (
        ("scope", "list"),
        ("scope", "inspect"),
        ("scope", "state", "notes/dev"),
        ("state", "list"),
        ("state", "tree"),
    ):
        done = deployed.run(*args)
        assert done.returncode == 1, args
        assert "core-state" in done.stderr
        assert "notes" in done.stdout
    assert not (deployed.folder / "core-state").exists()
    done = deployed.run("state", "get", "notes/dev/inner/core/deepest")
    assert (done.returncode, "core-state" in done.stderr) == (1, True)


def test_names_that_do_not_exist_suggest_near_ones(deployed: Project) -> None:
    """Exit code 1 and near names, for applications, stages, scopes and resources."""
    for chain, hint in (
        ("note/dev", "did you mean 'notes'?"),
        ("note", "did you mean notes?"),
        ("notes/prod", "it has dev"),
        ("notes/dev/iner", "did you mean notes/dev/inner"),
        ("notes/test", "there is no notes/test in state"),
    ):
        for command in ("inspect", "state"):
            done = deployed.run("scope", command, chain)
            assert done.returncode == 1
            assert hint in done.stderr, (chain, done.stderr)
    assert deployed.run("scope", "inspect", "notes//dev").returncode == 1
    assert deployed.run("scope", "state").returncode == 2


def test_state_may_lie_elsewhere_and_is_never_made(deployed: Project) -> None:
    """`--state-dir` and `--state-store` are heard; a place where nothing is, is an error."""
    (deployed.folder / ".alchemy").rename(deployed.folder / "elsewhere")
    (deployed.folder / "alchemy.run.py").unlink()
    url = f"file://{deployed.folder}/elsewhere"
    assert len(deployed.ok("scope", "list", "--state-dir", "elsewhere").stdout.splitlines()) == 2
    assert len(deployed.ok("scope", "list", "--state-store", url).stdout.splitlines()) == 2
    for nowhere in ((), ("--state-store", f"file://{deployed.folder}/nowhere")):
        done = deployed.run("scope", "list", *nowhere)
        assert (done.returncode, "there is no state in" in done.stderr) == (1, True)
    assert not (deployed.folder / "nowhere").exists()
    assert not (deployed.folder / ".alchemy").exists()
