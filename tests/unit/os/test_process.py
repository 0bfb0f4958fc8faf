"""That nothing of a command is left: after its end, its timeout, a cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alchemy.errors import ProviderError
from alchemy.os import _process
from alchemy.os._exec import ExecProvider

if TYPE_CHECKING:
    from tests.unit.os.conftest import Bench

pytestmark = pytest.mark.anyio
provider = ExecProvider()

# The shell starts a shell that starts a sleep; each writes its number down, and the last line says that all have.
FAMILY = """
echo $$ >> pids
sh -c 'echo $$ >> pids; {inner} sleep 1000 & echo $! >> pids; echo ready; wait' {after}
"""


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder."""
    monkeypatch.chdir(tmp_path)


def family() -> list[int]:
    """Give the numbers of the processes that were started."""
    return [int(line) for line in Path("pids").read_text().split()]


def runs(pid: int) -> bool:
    """Say whether a process still runs; a zombie that nobody has waited for yet does not."""
    if not Path("/proc/self").exists():  # macOS has no /proc; a small Debian has no ps
        found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return found.returncode == 0 and not found.stdout.strip().startswith("Z")
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def assert_gone(*pids: int) -> None:
    """Check that processes that were sent SIGKILL are gone, once the kernel has got round to it."""
    deadline = time.monotonic() + 30
    while any(runs(pid) for pid in pids):
        assert time.monotonic() < deadline, "a process has survived"


async def started(bench: Bench, script: str, timeout: float | None = None) -> asyncio.Task[object]:
    """Start a command, and wait until it has printed `ready`."""
    ready = asyncio.Event()
    bench.log = lambda line: ready.set() if line == "ready" else None
    want = bench.shell(script, timeout=timeout)
    task: asyncio.Task[object] = asyncio.ensure_future(provider.create(bench.context(want), want))
    await ready.wait()
    return task


@pytest.mark.parametrize("inner", ["", "trap '' TERM;"])
async def test_cancellation_kills_the_whole_group(bench: Bench, inner: str) -> None:
    """A cancellation ends the command, its child and its child's child, also one that ignores SIGTERM."""
    task = await started(bench, FAMILY.format(inner=inner, after=""))
    assert len(family()) == 3
    assert all(map(runs, family()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert_gone(*family())


async def test_a_stubborn_command_is_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that ignores SIGTERM is killed when its time is over."""
    monkeypatch.setattr(_process, "GRACE", 0.05)
    task = await started(bench, "trap '' TERM; echo $$ > pids; echo ready; while :; do sleep 1000; done")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert_gone(*family())


async def test_a_second_cancellation_kills_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled again while the command takes its time to end, it is killed without waiting for that."""
    monkeypatch.setattr(_process, "GRACE", 1000.0)
    task = await started(
        bench, "trap 'echo again' TERM; echo $$ > pids; echo ready; while :; do sleep 1000 & wait; done"
    )
    again = asyncio.Event()
    bench.log = lambda line: again.set() if line == "again" else None
    task.cancel()
    await again.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert_gone(*family())


async def test_a_command_may_end_in_order(bench: Bench) -> None:
    """Cancelled, a command is asked to end first, and what it does then is done."""
    task = await started(
        bench, "trap 'touch tidied; exit' TERM; echo $$ > pids; echo ready; while :; do sleep 0.01; done"
    )
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert Path("tidied").exists()
    assert_gone(*family())


async def test_timeout(bench: Bench) -> None:
    """A command that takes longer than its timeout is stopped whole, and the error shows what it had printed."""
    timeout, shown = 0.25, ""
    while "ready" not in shown.splitlines()[-1:]:  # a busy machine may need longer to get there
        Path("pids").write_text("")
        want = bench.shell(FAMILY.format(inner="", after=""), timeout=timeout)
        with pytest.raises(ProviderError, match=f"ran longer than {timeout} s and was stopped") as raised:
            await provider.create(bench.context(want), want)
        shown, timeout = raised.value.message, timeout * 2
        assert_gone(*family())
    assert raised.value.hint == "raise its timeout=…"
    assert len(family()) == 3


async def test_what_is_left_in_the_background_is_killed(bench: Bench) -> None:
    """A command that ends well leaves nothing running, though it holds the outputs open."""
    want = bench.shell("sleep 1000 & echo $! > pids; echo done")
    made = await provider.create(bench.context(want), want)
    assert made.stdout == "done\n"
    assert_gone(*family())


async def test_a_daemon_does_not_hold_it_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has left the group and holds the outputs open is not waited for: it is no part of the command."""
    monkeypatch.setattr(_process, "DRAIN", 0.05)
    code = "import os, time; os.setsid(); print(os.getpid(), file=open('pids', 'w')); print('up', flush=True)"
    want = bench.shell(
        f'{sys.executable} -c "{code}; time.sleep(1000)" & while ! [ -s pids ]; do sleep 0.01; done; echo done'
    )
    try:
        made = await provider.create(bench.context(want), want)
        assert "done\n" in made.stdout
        assert all(map(runs, family()))
    finally:
        with contextlib.suppress(FileNotFoundError):
            for pid in family():
                os.kill(pid, signal.SIGKILL)


async def test_cancelled_before_it_begins(bench: Bench) -> None:
    """Cancelled at any step of being started, a command does not run on."""
    for steps in range(12):
        want = bench.shell("echo $$ >> pids; exec sleep 1000")
        task = asyncio.ensure_future(provider.create(bench.context(want), want))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    if Path("pids").exists():
        assert_gone(*family())


async def test_many_side_by_side(bench: Bench) -> None:
    """Commands run at the same time, and their outputs are not mixed."""
    wants = [bench.shell(f"for n in 1 2 3; do echo {n}; done") for n in range(20)]
    made = await asyncio.gather(*(provider.create(bench.context(want), want) for want in wants))
    assert [result.stdout for result in made] == [f"{n}\n" * 3 for n in range(20)]
