"""`--local` and `alchemy local` as processes: what a newcomer without an account does."""

from __future__ import annotations

import shlex
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Project

pytestmark = pytest.mark.workerd


@pytest.fixture
def stopped(project: Project) -> Iterator[Project]:
    """A project whose local Cloudflare ends with the test."""
    yield project
    project.ok("local", "stop")


def answer(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as response:
        text: str = response.read().decode()
        return text


def test_what_init_makes_runs_on_this_machine(stopped: Project) -> None:
    """init, deploy --local, a visit, a second deploy, destroy: without an account, and without a trace."""
    project = stopped
    project.ok("init")
    first = project.run("deploy", "--local")
    assert first.returncode == 0, first.stderr
    assert first.stderr.splitlines()[-1] == "starting the local Cloudflare"
    assert "2 created" in first.stdout
    url = next(line.split()[1] for line in first.stdout.splitlines() if line.startswith("  url"))
    assert [answer(url).strip()[-2:] for _ in range(2)] == ["1.", "2."]

    second = project.ok("deploy", env={"ALCHEMY_LOCAL": "1"}).stdout
    assert "2 unchanged" in second
    assert url in second

    told = project.ok("local", "status").stdout
    assert url in told
    assert "has       0 D1, 1 KV, 0 R2" in told
    assert "2 deleted" in project.ok("destroy", "--yes", "--local").stdout
    assert url not in project.ok("local", "status").stdout


def test_the_local_cloudflare_is_started_asked_and_stopped(stopped: Project) -> None:
    """start, env, status, reset and stop, each safe to repeat."""
    project = stopped
    nothing = project.run("local", "status")
    assert (nothing.returncode, nothing.stdout) == (1, "not running\n")
    missing = project.run("local", "env")
    assert (missing.returncode, "alchemy local start" in missing.stderr) == (1, True)

    addresses = project.run("local", "start").stdout
    assert project.ok("local", "start").stdout == addresses
    variables = dict(shlex.split(line)[1].split("=", 1) for line in project.ok("local", "env").stdout.splitlines())
    assert variables["CLOUDFLARE_BASE_URL"] in addresses
    assert set(variables) == {"CLOUDFLARE_BASE_URL", "CLOUDFLARE_API_TOKEN", "CLOUDFLARE_ACCOUNT_ID"}

    refused = project.run("local", "reset", stdin="y\n")
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    assert project.ok("local", "status").returncode == 0
    project.ok("local", "reset", "--yes")
    assert project.run("local", "status").returncode == 1
    assert project.ok("local", "stop").stdout == "it was not running\n"
