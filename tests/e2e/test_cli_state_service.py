"""`alchemy state-service` as a process."""

from __future__ import annotations

import json
import signal
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.terminals import LIMIT, Terminal

if TYPE_CHECKING:
    from tests.e2e.conftest import Project, Running

TOKEN = "a-token-of-tests"


def ask(url: str, method: str, *params: Any) -> Any:
    body = {"method": method, "params": params, "context": {"chain": ["notes", "prod"]}}
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=30) as answer:
        return json.loads(answer.read()).get("result")


def serve(project: Project) -> tuple[Running, str]:
    running = project.start(
        "state-service", "serve", "--data", "kept", "--port", "0", env={"ALCHEMY_STATE_TOKEN": TOKEN}
    )
    url = next(line for line in running.stdout if "serving" in line).split()[-1]
    return running, url


@pytest.mark.workerd
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_what_it_keeps_survives(project: Project, end: signal.Signals) -> None:
    """It serves on loopback, and after a kill or an orderly end the next one has what was written."""
    running, url = serve(project)
    assert url.startswith("http://127.0.0.1:")
    ask(url, "set", "api", {"id": "api"})
    running.process.send_signal(end)
    assert running.process.wait(timeout=LIMIT) == (-9 if end == signal.SIGKILL else 0)
    running, url = serve(project)
    assert ask(url, "get", "api") == {"id": "api"}
    running.process.terminate()
    assert running.process.wait(timeout=LIMIT) == 0
    assert TOKEN not in "".join(
        path.read_text(errors="replace") for path in project.folder.rglob("*") if path.is_file()
    )


def test_a_folder_that_cannot_be_made(project: Project) -> None:
    """It is named, with what to do."""
    (project.folder / "file").touch()
    env = {"ALCHEMY_STATE_TOKEN": TOKEN}
    refused = project.run("state-service", "serve", "--data", "file/kept", "--port", "0", env=env)
    assert refused.returncode == 1
    assert f"the folder {project.folder / 'file/kept'} cannot be made: Not a directory" in refused.stderr
    assert "choose one" in refused.stderr


def test_a_token_is_required(project: Project) -> None:
    """Without a token nothing is served, and it is said how to make one."""
    refused = project.run("state-service", "serve", "--data", "kept")
    assert refused.returncode == 1
    assert "ALCHEMY_STATE_TOKEN is not set" in refused.stderr
    assert not (project.folder / "kept").exists()


@pytest.mark.parametrize("name", ["", "Notes", "a/b"])
def test_a_name_that_no_worker_has(project: Project, name: str) -> None:
    """It is refused before Cloudflare is asked."""
    refused = project.run("state-service", "set-token", "--script-name", name, env={"ALCHEMY_STATE_TOKEN": TOKEN})
    assert refused.returncode == 1
    assert f"{name!r} cannot be the name of a Worker" in refused.stderr


@pytest.mark.workerd
def test_a_stage_is_reset_by_a_deploy(project: Project) -> None:
    """`force_update=true` in the URL clears what a deploy finds, which is said everywhere; nothing else clears."""
    running, address = serve(project)
    url, env = f"cloudflare+{address}", {"ALCHEMY_STATE_TOKEN": TOKEN}
    project.things('await Thing("a")', 'await Thing("b")')
    project.ok("deploy", "--state-store", url, env=env)
    force = f"{url}?force_update=true"
    lines = project.ok("deploy", "--state-store", force, env=env).stdout.splitlines()
    enabled = "[CloudflareStateStore] forceUpdate enabled - clearing state for scope notes/dev"
    cleared = "[CloudflareStateStore] State cleared successfully"
    assert [line.split(maxsplit=1)[1] for line in lines if "[CloudflareStateStore]" in line][::2] == [enabled, cleared]
    assert [line.split()[0] for line in lines if "notes/dev/" in line] == ["adopted", "adopted"]
    events = project.ok("deploy", "--state-store", force, "--json", env=env).stdout.splitlines()
    said = [event["message"] for event in map(json.loads, events) if event["type"] == "notice"]
    assert (said[0], said[-1]) == (enabled, cleared)
    assert "adopted" in events[-1]
    terminal = Terminal(project, "deploy", "--state-store", force, env=env)
    assert terminal.finish() == 0
    assert enabled in terminal.plain.replace("\n", "")
    assert cleared in terminal.plain.replace("\n", "")
    for command in (["state", "list"], ["scope", "inspect", "notes/dev"], ["scope", "validate", "notes/dev"]):
        assert "forceUpdate" not in project.ok(*command, "--state-store", force, env=env).stdout
    log = project.ok("scope", "logs", "notes/dev", "--state-store", force, "--json", env=env).stdout
    assert enabled in log
    assert project.ok("state", "list", "--state-store", force, env=env).stdout.count("created") == 2
    destroyed = project.ok("destroy", "--yes", "--state-store", force, env=env).stdout
    assert "forceUpdate" not in destroyed
    assert project.objects == {}
    running.process.terminate()
