"""Where the command line finds state that the program's text does not name, and what it says in CI."""

from __future__ import annotations

from tests.e2e.conftest import Project


def test_in_ci_a_place_must_be_said(project: Project) -> None:
    """Nothing is made before; a folder that is named is good, as is the variable that switches the check off."""
    project.things('Thing("a")')
    refused = project.run("deploy", env={"CI": "true"})
    assert refused.returncode == 1
    assert "thrown away" in refused.stderr
    assert "ALCHEMY_STATE_STORE" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert project.objects == {}
    looked = project.run("destroy", "--yes", env={"CI": "true"})
    assert "thrown away" in looked.stderr
    assert project.run("deploy", "--state-dir", ".alchemy", env={"CI": "true"}).returncode == 0
    assert project.run("destroy", "--yes", env={"CI": "true", "ALCHEMY_CI_STATE_STORE_CHECK": "false"}).returncode == 0


def test_a_store_that_only_the_program_knows_must_be_said(project: Project) -> None:
    """Commands that do not run the program would look into the wrong place; with its URL they find it."""
    project.program(
        "from alchemy.stores import FileStore\n"
        "async def main():\n"
        '    async with alchemy("notes", state_store=FileStore("kept")):\n'
        '        Thing("a")\n'
    )
    assert project.run("deploy").returncode == 0
    refused = project.run("state", "list")
    assert refused.returncode == 1
    assert "makes its state store itself" in refused.stderr
    assert "--state-store" in refused.stderr
    assert "notes/dev/a" in project.ok("state", "list", "--state-store", "file:kept").stdout
    project.write('[tool.alchemy]\nstate_store = "file:kept"\n', "pyproject.toml")
    assert "test::Thing" in project.ok("scope", "inspect", "notes/dev").stdout
    assert project.run("destroy", "--yes").returncode == 0
    assert project.objects == {}
