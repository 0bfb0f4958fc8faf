"""Ctrl-C, SIGTERM, and two deploys at once."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Project

STOPPING = "stopping: waiting for 1 running; Ctrl-C again to abort"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_drains(project: Project, number: int) -> None:
    """What runs finishes and is recorded, nothing new begins, and the exit code is 130."""
    project.things('await Thing("a", slow=True)', 'await Thing("b")')
    running = project.start("deploy", "--json")
    running.event("resource.started", fqn="notes/dev/a")
    running.interrupt(number)
    assert running.said("stopping").strip() == STOPPING
    (project.folder / "go").touch()
    code, _, stderr = running.finish()
    assert code == 130
    assert "Traceback" not in stderr
    assert project.records() == {"notes/dev/a": "created"}
    assert "1 created, 1 unchanged" in project.ok("deploy").stdout


@pytest.mark.parametrize("body", ["in the stage", "in a nested scope", "not awaited"])
def test_the_second_signal_aborts(project: Project, body: str) -> None:
    """What hangs is cut, wherever the program stands; the intent stays, and the next run takes it from there."""
    project.things(
        *{
            "in the stage": ('await Thing("a", slow=True)',),
            "in a nested scope": ('async with alchemy.run("one"):', '    await Thing("a", slow=True)'),
            "not awaited": ('Thing("a", slow=True)',),
        }[body]
    )
    fqn = "notes/dev/one/a" if "nested" in body else "notes/dev/a"
    running = project.start("deploy", "--json")
    running.event("resource.log", fqn=fqn, message="making a")  # so its intent is durable
    running.interrupt()
    running.said(STOPPING)
    running.interrupt()
    code, _, stderr = running.finish()
    assert code == 130
    assert "aborting" in stderr
    assert "Traceback" not in stderr
    assert project.records() == {fqn: "creating"}
    (project.folder / "go").touch()
    assert "1 created" in project.ok("deploy").stdout


def test_a_destroy_drains_too(project: Project) -> None:
    """A signal during destroy lets the delete in flight end, and keeps the others."""
    project.things('await Thing("a")', 'await Thing("b")')
    project.ok("deploy")
    source = (project.folder / "alchemy.run.py").read_text()
    waiting = source.replace(
        "    async def delete(self, ctx, have):\n",
        "    async def delete(self, ctx, have):\n"
        "        while not Path('go').exists():\n            await asyncio.sleep(0.01)\n",
    )
    assert waiting != source
    project.write(waiting)
    running = project.start("destroy", "--yes", "--json")
    running.event("resource.started", fqn="notes/dev/b")
    running.interrupt()
    running.said(STOPPING)
    (project.folder / "go").touch()
    code, _, stderr = running.finish()
    assert code == 130
    assert "Traceback" not in stderr
    assert project.records() == {"notes/dev/a": "created"}
    project.ok("destroy", "--yes")
    assert project.objects == {}


def test_a_third_signal_ends_a_program_that_blocks(project: Project) -> None:
    """Code that never gives the event loop a turn cannot drain; the third signal ends the process."""
    project.things('print("blocking", flush=True)', "import time", "while True: time.sleep(0.01)")
    running = project.start("deploy")
    for line in running.stdout:
        if "blocking" in line:
            break
    sent = 0
    while running.process.poll() is None and sent < 100:
        running.interrupt()
        sent += 1
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.process.wait(0.1)  # signals that come at once are merged into one
    assert running.process.returncode == 130
    assert sent >= 3


def test_a_second_deploy_waits_and_then_works(project: Project) -> None:
    """While one holds the stage the other says who, waits, and goes on when it is free; nothing is done twice."""
    project.things('await Thing("a", slow=True)')
    first = project.start("deploy", "--json")
    first.event("resource.started", fqn="notes/dev/a")
    second = project.start("deploy", "--json")
    assert f"pid {first.process.pid}" in second.event("lock.waiting")["owner"]
    (project.folder / "go").touch()
    assert first.finish()[0] == 0
    assert second.event("run.finished")["counts"] == {"unchanged": 1}
    assert second.finish()[0] == 0


def test_a_second_deploy_gives_up(project: Project) -> None:
    """When the stage is not freed in time the error names the holder; other stages are not held."""
    project.things('await Thing("a", slow="SLOW" in os.environ)')
    first = project.start("deploy", "--json", env={"SLOW": "1"})
    first.event("resource.started", fqn="notes/dev/a")
    done = project.run("deploy", env={"ALCHEMY_LOCK_TIMEOUT": "200"})
    assert done.returncode == 1
    assert f"pid {first.process.pid}" in done.stderr
    assert "waiting" in done.stdout
    project.ok("deploy", "--stage", "other")
    (project.folder / "go").touch()
    assert first.finish()[0] == 0


def test_waiting_for_a_stage_can_be_interrupted(project: Project) -> None:
    """Ctrl-C while somebody else holds the stage ends at once, and leaves the holder alone."""
    project.things('await Thing("a", slow=True)')
    first = project.start("deploy", "--json")
    first.event("resource.started", fqn="notes/dev/a")
    second = project.start("deploy", "--json")
    second.event("lock.waiting")
    second.interrupt()
    code, _, stderr = second.finish()
    assert code == 130
    assert "Traceback" not in stderr
    assert "never" not in stderr
    (project.folder / "go").touch()
    assert first.finish()[0] == 0
    assert project.records() == {"notes/dev/a": "created"}
