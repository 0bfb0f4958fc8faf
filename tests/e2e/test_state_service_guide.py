"""Every command in the guide of the state service, in its order, as far as that needs no account."""

from __future__ import annotations

import configparser
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.e2e.terminals import LIMIT
from tests.ports import kept_port

from alchemy.cli.commands.state_service import command

if TYPE_CHECKING:
    from tests.e2e.conftest import Project

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/stores/state-service.md").read_text()
_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def blocks(heading: str, language: str = "sh") -> list[str]:
    """Give the blocks of one language in a section."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [re.sub(r"(?m)^ +", "", text) for kind, text in _BLOCK.findall(section) if kind == language]


def lines(*sections: str) -> list[str]:
    """Give the commands of some sections, but for what pip installs, and what this machine has not."""
    found = [line for section in sections for block in blocks(section) for line in block.splitlines()]
    if shutil.which("openssl") is None:
        found = [line.replace("$(openssl rand -hex 32)", secrets.token_hex(32)) for line in found]
    left_out = ("pip ",) if shutil.which("curl") else ("pip ", "curl ")
    return [line for line in found if not line.startswith(left_out)]


def shell(project: Project, commands: list[str], env: dict[str, str]) -> str:
    """Run commands one after the other in one shell; give all they print."""
    path = f"{Path(sys.executable).parent}:{project.environment({})['PATH']}"
    done = subprocess.run(
        ["sh", "-eu"],
        input="\n".join(commands),
        cwd=project.folder,
        env=project.environment({**env, "PATH": path}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.workerd
def test_on_an_account(project: Project) -> None:
    """Set up in three commands, copied, the token changed, deployed again: all on the Cloudflare on this machine."""
    project.things('Thing("api")')
    (table,) = blocks("Set-up on Cloudflare", "toml")
    (project.folder / "pyproject.toml").write_text(table)
    project.run("local", "start")
    try:
        env = dict(word.split("=", 1) for word in shlex.split(project.ok("local", "env").stdout) if "=" in word)
        set_up = lines("Set-up on Cloudflare")
        assert len(blocks("Set-up on Cloudflare")[0].splitlines()) == 3
        said = shell(project, [*set_up, *lines("Copies"), *lines("How the token works"), set_up[-1]], env)
    finally:
        project.ok("local", "stop")
    assert "the state service alchemy-state-service was created" in said
    assert "copied" in said
    assert "takes the token in ALCHEMY_STATE_TOKEN" in said
    assert "1 unchanged" in said
    assert (project.folder / "copy-of-state.db").exists()


@pytest.mark.workerd
def test_on_a_machine_of_ones_own(project: Project) -> None:
    """Served, asked whether it is there, deployed to and copied."""
    project.things('Thing("api")')
    port = str(kept_port())
    here = [
        line.replace("8787", port).replace("/srv/state", "kept")
        for line in [*lines("Set-up on a machine of one's own"), *lines("Copies")]
    ]
    token, serving, *asking, copying = here
    assert token.startswith("export ALCHEMY_STATE_TOKEN=")
    env = {"ALCHEMY_STATE_TOKEN": "a-token-of-tests"}
    running = project.start(*shlex.split(serving)[1:], env=env)
    try:
        assert any("serving" in line for line in running.stdout)
        said = shell(project, [*asking, f"{copying} --from cloudflare+http://127.0.0.1:{port}"], env)
    finally:
        running.process.terminate()
        assert running.process.wait(timeout=LIMIT) == 0
    if shutil.which("curl"):
        assert "HTTP/1.1 200" in said
        assert "x-alchemy-state-service: " in said
    assert "1 created" in said
    assert "copied" in said


def test_the_unit_starts_what_there_is() -> None:
    """What systemd is to start is a command of this package, with the folder and the port as it takes them."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read_string(blocks("Set-up on a machine of one's own", "ini")[0])
    program, *words = shlex.split(unit["Service"]["ExecStart"])
    assert Path(program).name == "alchemy"
    assert words[:2] == ["state-service", "serve"]
    given = command.commands["serve"].make_context("serve", words[2:]).params
    assert given["data"] == Path("/var/lib") / unit["Service"]["StateDirectory"]


def test_what_is_installed_exists() -> None:
    """What pip installs is this package, with extras that it has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = re.findall(r"^ *pip install '?([\w-]+)(?:\[(\w+)\])?'?$", PAGE, re.MULTILINE)
    assert len(asked) == 2
    assert {name for name, _ in asked} == {project["name"]}
    assert {extra for _, extra in asked if extra} <= project["optional-dependencies"].keys()
