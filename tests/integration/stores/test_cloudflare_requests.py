"""How few requests a run makes of the state service."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.stores.servers.service import TOKEN, ServiceServer

from alchemy.events import RunFinished, RunStarted
from alchemy.stores import CloudflareStateStore
from alchemy.testing.proxy import Proxy, Traffic
from alchemy.upkeep.runs import events_in

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]
PROGRAM = Path(__file__).parents[3] / "benchmarks" / "programs" / "null.py"
COUNT = 1000
QUICK = """
import runpy
from alchemy import runlog
runlog.FLUSH_SECONDS = 3600
runpy.run_module("alchemy", run_name="__main__", alter_sys=True)
"""
"""`alchemy` where no run is so slow that its log is written before the end: that is one more request."""


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    """Stand before an empty service."""
    server = ServiceServer(tmp_path / "service")
    server.start()
    try:
        with Proxy("127.0.0.1", server.port) as proxy:
            yield proxy
    finally:
        server.kill()


def deploy(proxy: Proxy, folder: Path, version: int) -> Traffic:
    """Deploy a thousand resources, as people do; give what that sent and heard."""
    (folder / "null.py").write_bytes(PROGRAM.read_bytes())
    store = f"cloudflare+http://127.0.0.1:{proxy.port}"
    command = [sys.executable, "-c", QUICK, "deploy", "null.py", "--stage", "prod", "--state-store", store]
    more = {"ALCHEMY_STATE_TOKEN": TOKEN, "N": str(COUNT), "V": str(version)}
    with proxy.counted() as traffic:
        subprocess.run([*command, "--quiet"], cwd=folder, env={**os.environ, **more}, check=True, timeout=300)
    return traffic


async def test_a_deploy_that_changes_nothing(proxy: Proxy, tmp_path: Path) -> None:
    """A thousand unchanged resources take four requests; those that change are all in the log, which is whole."""
    deploy(proxy, tmp_path, 1)
    assert deploy(proxy, tmp_path, 1).round_trips <= 4
    deploy(proxy, tmp_path, 2)
    store = CloudflareStateStore(f"http://127.0.0.1:{proxy.port}", state_token=TOKEN)
    await store.init()
    runs = [await store.read_log("bench/prod", name) for name in await store.logs("bench/prod")]
    await store.deinit()
    counts: list[dict[str, int]] = []
    for run in runs:
        events = [event for _, event in events_in(run)]
        assert isinstance(events[0], RunStarted)
        assert isinstance(events[-1], RunFinished)
        assert events[-1].ok
        assert None not in events
        counts.append(events[-1].counts)
    assert counts == [{"created": COUNT}, {"unchanged": COUNT}, {"updated": COUNT}]
    finished = [run.count(b'"type":"resource.finished"') for run in runs]
    assert finished == [COUNT, 0, COUNT]
