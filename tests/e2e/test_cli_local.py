"""`--local` and `alchemy local` as processes: what a newcomer without an account does."""

from __future__ import annotations

import re
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


def test_a_stage_outlives_a_reset(stopped: Project) -> None:
    """What was in it is gone: the next deploy says so, and how to forget it; after that it is made anew."""
    project = stopped
    project.ok("init")
    assert project.run("deploy", "--local", "--stage", "dev").returncode == 0
    project.ok("local", "reset", "--yes")
    refused = project.run("deploy", "--local", "--stage", "dev")
    forget = re.search(r"alchemy (scope reset \S+), then deploy again", refused.stderr)
    assert refused.returncode == 1
    assert forget is not None
    project.ok(*forget[1].split(), "--yes")
    assert "2 created" in project.ok("deploy", "--local", "--stage", "dev").stdout
    project.ok("destroy", "--local", "--stage", "dev", "--yes")
    assert "forgotten" not in project.ok("scope", "list").stdout


def test_state_may_lie_there_too(stopped: Project) -> None:
    """With --local, every command finds a state store at `cloudflare:` on this machine, started when it is needed."""
    project = stopped
    project.ok("init")
    env = {"ALCHEMY_STATE_TOKEN": "a-token", "ALCHEMY_STATE_STORE": "cloudflare:"}
    first = project.run("deploy", "--local", env=env)
    assert first.returncode == 0, first.stderr
    project.ok("local", "stop", env={**env, "ALCHEMY_LOCAL": "1"})
    listed = project.run("state", "list", "--local", env=env)
    assert listed.returncode == 0, listed.stderr
    assert len(listed.stdout.splitlines()) == 2
    assert listed.stderr == "starting the local Cloudflare\n"
    assert "web" in project.ok("scope", "inspect", "--local", env=env).stdout
    copied = project.run("state", "copy", "--to", "file:copied", "--local", env=env)
    assert (copied.returncode, "3 records and 0 backups copied" in copied.stdout) == (0, True), copied.stderr
    back = {"ALCHEMY_STATE_TOKEN": "a-token", "ALCHEMY_STATE_STORE": "file:copied"}
    missing = project.run("state", "copy", "--to", "cloudflare:", env=back)
    assert (missing.returncode, "CLOUDFLARE_API_TOKEN is not set" in missing.stderr) == (1, True)
    again = project.run("state", "copy", "--to", "cloudflare:", "--local", env=back)
    assert (again.returncode, "were there already" in again.stdout) == (0, True), again.stderr
    assert "2 deleted" in project.ok("destroy", "--yes", "--local", env=env).stdout
