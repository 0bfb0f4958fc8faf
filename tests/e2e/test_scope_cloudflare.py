"""`alchemy scope` against the Cloudflare on this machine: what is forgotten or lost is found again by its name."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Project

pytestmark = pytest.mark.workerd

PROGRAM = """
from alchemy import alchemy
from alchemy.cloudflare import D1Database, KVNamespace, R2Bucket, Worker

async def main():
    async with alchemy("notes") as app:
        visits = KVNamespace("visits")
        async with alchemy.run("storage"):
            D1Database("main")
            R2Bucket("files")
        Worker("web", script="export default { fetch() { return new Response('hello') } }", bindings={"KV": visits})
"""


@pytest.fixture
def deployed(project: Project) -> Iterator[Project]:
    """An application on the local Cloudflare, which ends with the test."""
    project.write(PROGRAM)
    assert project.run("deploy", "--local").returncode == 0
    yield project
    project.ok("local", "stop")


def ids(project: Project) -> dict[str, object]:
    """Give what each resource's provider calls it."""
    rows = [json.loads(line) for line in project.ok("scope", "state", "notes/dev", "--json").stdout.splitlines()]
    return {row["fqn"]: row["output"] for row in rows if not row["kind"].startswith("alchemy::")}


def test_a_reset_stage_finds_its_own_objects_again(deployed: Project) -> None:
    """Forgotten, deployed, and nothing was created; then all records lost, rebuilt, and destroyed without a trace."""
    before = ids(deployed)
    assert len(before) == 4
    left = deployed.ok("scope", "reset", "notes/dev", "--yes").stdout
    for kind in ("KVNamespace", "D1Database", "R2Bucket", "Worker"):
        assert f"cloudflare::{kind} notes-dev-" in left
    assert deployed.records() == {}
    told = deployed.ok("deploy", "--local").stdout
    assert "created" not in told
    assert ids(deployed) == before

    shutil.rmtree(deployed.folder / ".alchemy/notes/dev")
    deployed.ok("scope", "rebuild", "notes/dev", "--local")
    assert ids(deployed).keys() == before.keys()
    deployed.ok("deploy", "--local")
    assert "has       1 D1, 1 KV, 1 R2" in deployed.ok("local", "status").stdout
    deployed.ok("destroy", "--yes", "--local")
    assert "has       0 D1, 0 KV, 0 R2" in deployed.ok("local", "status").stdout


def test_cleanup_destroys_leftovers_in_the_provider(deployed: Project) -> None:
    """What could not be deleted while it was not empty goes when it is."""
    deployed.write(PROGRAM.replace('            R2Bucket("files")\n', ""))
    address = {line.split("=", 1)[0].split()[-1]: line.split("=", 1)[1] for line in env_lines(deployed)}
    name = next(
        json.loads(line)["physical_name"]
        for line in deployed.ok("scope", "inspect", "notes/dev/storage/files", "--json").stdout.splitlines()
    )
    base = f"{address['CLOUDFLARE_BASE_URL']}/accounts/{address['CLOUDFLARE_ACCOUNT_ID']}/r2/buckets/{name}"
    call(f"{base}/objects/left.txt", "PUT", address["CLOUDFLARE_API_TOKEN"], b"left")
    assert deployed.run("deploy", "--local").returncode == 1
    call(f"{base}/objects/left.txt", "DELETE", address["CLOUDFLARE_API_TOKEN"])
    deployed.ok("scope", "cleanup", "notes/dev", "--force", "--local")
    assert "has       1 D1, 1 KV, 0 R2" in deployed.ok("local", "status").stdout


def env_lines(project: Project) -> list[str]:
    """Give what `alchemy local env` prints, without quotes."""
    return [line.replace("'", "").replace('"', "") for line in project.ok("local", "env").stdout.splitlines()]


def call(url: str, method: str, token: str, body: bytes | None = None) -> None:
    """Call the local Cloudflare."""
    request = urllib.request.Request(url, data=body, method=method, headers={"authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200
