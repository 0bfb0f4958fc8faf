"""`alchemy state accept` as a process: a record that was edited by hand is taken back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Project


@pytest.fixture
def record(project: Project) -> Path:
    """The file of a record in a deployed project."""
    project.things('Thing("a")', 'Thing("b")')
    project.ok("deploy")
    return project.folder / ".alchemy/notes/dev/resources/a/state.json"


def edit(path: Path, **changes: object) -> None:
    """Change a file as a person does."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_an_edit_stops_a_deploy_until_it_is_accepted(project: Project, record: Path) -> None:
    """The error names file and remedy; a dry run shows and changes nothing; then deploys go on with the edit."""
    edit(record, data={"note": 1})
    edited = record.read_bytes()
    refused = project.run("deploy")
    assert refused.returncode == 1
    assert str(record) in refused.stderr
    assert "alchemy state accept" in refused.stderr
    shown = project.ok("state", "accept", "--dry-run", str(record)).stdout
    assert "notes/dev/a would be taken" in shown
    assert record.read_bytes() == edited
    assert "notes/dev/a is taken" in project.ok("state", "accept", str(record.relative_to(project.folder))).stdout
    project.ok("deploy")
    assert json.loads(project.ok("state", "get", "notes/dev/a").stdout)["data"] == {"note": 1}


def test_what_cannot_be_taken_is_told(project: Project, record: Path) -> None:
    """Broken JSON is told with line and column, another file with what to name; a held stage with its holder."""
    record.write_text('{\n  "id" "a"\n}')
    refused = project.run("state", "accept", str(record))
    assert refused.returncode == 1
    assert f"{record}:2:8 is not JSON" in refused.stderr.replace("\n", "")
    refused = project.run("state", "accept", "alchemy.run.py")
    assert refused.returncode == 1
    assert "is not a file of a stage" in refused.stderr
