"""Real processes that are killed, stopped and started together: what they leave is whole, and what comes next is right.

`make torture` does each of these many times; a failure prints the seed with which to do it again: `SEED=…`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from tests.amounts import amount

from alchemy.testing.checks import check_no_secrets

if TYPE_CHECKING:
    from tests.e2e.conftest import Project

pytestmark = pytest.mark.torture
MANY = amount(40, 200)
SECRET = "correct-horse-battery-staple"
SEALED = {"ALCHEMY_PASSWORD": "a password of the test's own"}

NAMESPACES = f"""
from alchemy import alchemy
from alchemy.cloudflare import KVNamespace, Worker

async def main():
    async with alchemy("many") as app:
        stores = [KVNamespace(f"kv-{{n}}") for n in range({MANY - 1})]
        Worker(
            "api",
            script="export default {{ fetch() {{ return new Response('hi') }} }}",
            bindings={{"KV": stores[0], "TOKEN": alchemy.secret({SECRET!r})}},
        )
"""

LEASED = '''
from alchemy.stores import FileStore

class Impatient(FileStore):
    """A folder whose leases end a second after they were last renewed."""

    async def acquire(self, chain, *, owner, timeout, ttl=60.0):
        return await super().acquire(chain, owner=owner, timeout=timeout, ttl=1.0)

async def main():
    async with alchemy("notes", state_store=Impatient(".alchemy"), lock_timeout=10_000) as app:
        for n in range(5):
            await Thing(f"t{n}", slow="SLOW" in os.environ, size=2 if "SLOW" in os.environ else 1)
'''


@pytest.fixture
def dice() -> random.Random:
    """Give chance with a seed that a failure prints."""
    seed = int(os.environ.get("SEED", random.randrange(10**9)))
    print(f"SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def local(project: Project) -> Iterator[Project]:
    """A project with a Cloudflare of its own."""
    project.run("local", "start")
    yield project
    project.ok("local", "stop")


def namespaces(project: Project) -> list[str]:
    """List the namespaces there are, by their titles."""
    lines = [line.removeprefix("export ") for line in project.ok("local", "env").stdout.splitlines()]
    variables = dict(line.split("=", 1) for line in lines if "=" in line)
    from cloudflare import Cloudflare

    def value(name: str) -> str:
        return variables[name].strip("'\"")

    with Cloudflare(api_token=value("CLOUDFLARE_API_TOKEN"), base_url=value("CLOUDFLARE_BASE_URL")) as client:
        listed = client.kv.namespaces.list(account_id=value("CLOUDFLARE_ACCOUNT_ID"), per_page=100)
        return sorted(one.title for one in listed)


def search(project: Project, *texts: str) -> None:
    """Look for the secret in all that was written but by the local Cloudflare, which has to know it."""
    places = [path for path in (project.folder / ".alchemy").iterdir() if path.name != "local"]
    check_no_secrets([SECRET], *places, *texts)


def kill_within(project: Project, seconds: float, *command: str) -> tuple[bool, str]:
    """Kill a command after so long; say whether it was still running, and what it said."""
    running = project.start(*command, "--json", env=SEALED)
    with contextlib.suppress(subprocess.TimeoutExpired):
        running.process.wait(seconds)
    died = running.process.poll() is None
    running.process.kill()
    stdout, stderr = running.process.communicate()
    assert "Traceback" not in stderr, stderr
    return died, stdout + stderr


@pytest.mark.workerd
def test_deploys_killed_at_random_instants_converge(local: Project, dice: random.Random) -> None:
    """After each kill the next run has every object once; in the end a destroy leaves nothing."""
    local.write(NAMESPACES)
    began = time.monotonic()
    local.ok("deploy", "--local", env=SEALED)
    whole = time.monotonic() - began
    local.ok("destroy", "--yes", "--local", env=SEALED)
    killed = 0
    while killed < amount(2, 100):
        command = dice.choice([("deploy", "--local"), ("deploy", "--local"), ("destroy", "--yes", "--local")])
        died, said = kill_within(local, dice.uniform(0.1, whole), *command)
        killed += died
        search(local, said)
        if dice.random() < 0.5:
            continue  # the next finds what two have left
        check_deployed(local)
        if dice.random() < 0.7:
            local.ok("destroy", "--yes", "--local", env=SEALED)
            assert namespaces(local) == []
    check_deployed(local)
    local.ok("destroy", "--yes", "--local", env=SEALED)
    assert namespaces(local) == []
    assert local.records() == {}


def check_deployed(project: Project) -> None:
    """Deploy to the end: every object is there once, state knows them, a second run does nothing."""
    first = project.ok("deploy", "--local", "--json", env=SEALED)
    titles = namespaces(project)
    assert len(titles) == len(set(titles)) == MANY - 1
    assert set(project.records().values()) <= {"created", "updated"}
    assert len(project.records()) == MANY
    second = project.ok("deploy", "--local", "--json", env=SEALED)
    assert json.loads(second.stdout.splitlines()[-1])["counts"] == {"unchanged": MANY}
    search(project, first.stdout, second.stdout)


def test_a_stopped_holder_does_nothing_more(project: Project) -> None:
    """Stopped for longer than its lease, it may end its one request when it goes on, and says why it stops."""
    project.program(LEASED)
    project.write('[tool.alchemy]\nstate_store = "file:.alchemy"\n', "pyproject.toml")  # for what does not run it
    for number in range(amount(1, 10)):
        if number:
            project.ok("destroy", "--yes")
        (project.folder / "go").unlink(missing_ok=True)
        first = project.start("deploy", "--json", env={"SLOW": "1"})
        first.event("resource.started", fqn="notes/dev/t0")
        first.interrupt(signal.SIGSTOP)
        second = project.run("deploy", "--json")
        if second.returncode != 0:  # it was stopped within the moment in which it keeps everybody out
            assert f"pid {first.process.pid}" in second.stderr, second.stderr
            (project.folder / "go").touch()
            first.interrupt(signal.SIGCONT)
            assert first.finish()[0] == 0
            continue
        assert json.loads(second.stdout.splitlines()[-1])["counts"] == {"created": 5}
        (project.folder / "go").touch()
        first.interrupt(signal.SIGCONT)
        code, stdout, stderr = first.finish()
        assert code == 1, (stdout, stderr)
        assert "Traceback" not in stderr
        assert "notes/dev" in stderr, stderr
        assert "resource.started" not in [json.loads(line)["type"] for line in stdout.splitlines()]
        assert sorted(project.objects) == [f"notes-dev-t{n}" for n in range(5)]
        assert set(project.objects.values()) - {"1"} <= {"2"}
        assert list(project.objects.values()).count("2") <= 1
        assert set(project.records().values()) == {"created"}


def test_pairs_of_deploys_at_once(project: Project, dice: random.Random) -> None:
    """One waits for the other, and then finds nothing to do, or takes over what the killed one has left."""
    things = [f'Thing("t{n}", token="{SECRET}")' for n in range(20)]
    for number in range(amount(2, 20)):
        project.things(*things, app=f'alchemy("notes", stage="s{number}")')
        pair = [project.start("deploy", "--json", env=SEALED) for _ in range(2)]
        kill = dice.random() < 0.4
        if kill:
            with contextlib.suppress(subprocess.TimeoutExpired):
                pair[0].process.wait(dice.uniform(0.2, 1.5))
            pair[0].process.kill()
        ended = [one.finish() for one in pair]
        counts = [json.loads(out.splitlines()[-1]).get("counts") for code, out, _ in ended if code == 0]
        if kill:
            assert ended[1][0] == 0, ended
        else:
            assert sorted(map(str, counts)) == ["{'created': 20}", "{'unchanged': 20}"], ended
        assert all("Traceback" not in stderr for _, _, stderr in ended)
        mine = [path for path in (project.folder / "objects").iterdir() if f"-s{number}-" in path.name]
        assert len(mine) == 20
        search(project, *(text for _, out, err in ended for text in (out, err)))
        done = project.ok("deploy", "--json", env=SEALED)
        assert json.loads(done.stdout.splitlines()[-1])["counts"] == {"unchanged": 20}
