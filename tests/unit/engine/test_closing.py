"""The end of a run: the log's last line goes along with the unit, and what goes wrong in giving back is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.engine.world import Cloud, Store, deploy, things

from alchemy.errors import LeaseLost, StateError
from alchemy.events import RunFinished
from alchemy.upkeep.runs import PastRun, summarize

pytestmark = pytest.mark.anyio
UNIT = "app/dev"


async def past_runs(store: Store) -> list[PastRun]:
    """Tell the runs from their logs."""
    return [summarize(name, await store.inner.read_log(UNIT, name)) for name in await store.inner.logs(UNIT)]


async def finished_lines(store: Store) -> int:
    """Count the last lines in the newest log."""
    name = (await store.inner.logs(UNIT))[-1]
    return (await store.inner.read_log(UNIT, name)).count(b'"run.finished"')


async def test_a_quick_run_writes_its_log_with_the_release(
    cloud: Cloud, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is over before anybody looks adds nothing to its log before: one request less."""

    async def no(*_args: object) -> None:
        raise AssertionError("nothing was to be added by itself")

    monkeypatch.setattr("alchemy.runlog.FLUSH_SECONDS", 3600)
    monkeypatch.setattr(store, "append_log", no)
    await deploy(things(a=1), store)
    (run,) = await past_runs(store)
    assert run.finished is not None
    assert run.finished.ok
    assert run.started is not None


async def test_what_cannot_be_given_back_is_told_in_the_log_too(cloud: Cloud, store: Store) -> None:
    """The run fails with it, its listeners hear of it, and the log's latest last line says so."""
    store.faults.fail("store.release *", StateError("the place is gone"), after=True)
    with pytest.raises(StateError, match="the place is gone"):
        await deploy(things(a=1), store)
    (event,) = [event for event in cloud.events if isinstance(event, RunFinished)]
    assert (event.ok, event.failures) == (False, ["the place is gone"])
    (run,) = await past_runs(store)
    assert run.finished is not None
    assert (run.finished.ok, run.finished.failures) == (False, ["the place is gone"])
    assert await finished_lines(store) == 2


async def test_a_lost_unit_is_told_when_it_is_given_back(cloud: Cloud, store: Store) -> None:
    """Whoever hears only then that the unit is lost hears that alone."""
    store.faults.fail("store.release *", LeaseLost("app/dev was taken away: eve has it"))
    with pytest.raises(LeaseLost, match="eve has it"):
        await deploy(things(a=1), store)
    (event,) = [event for event in cloud.events if isinstance(event, RunFinished)]
    assert not event.ok
    assert "eve has it" in event.failures[0]
    (run,) = await past_runs(store)
    assert run.finished is not None
    assert not run.finished.ok


async def test_what_failed_before_comes_first(cloud: Cloud, store: Store) -> None:
    """A fold that failed is what the run fails with, whatever else does; the log says it once."""
    store.faults.fail("store.fold *", StateError("the disk is full"))
    store.faults.fail("store.release *", StateError("the place is gone"), after=True)
    with pytest.raises(StateError, match="the disk is full"):
        await deploy(things(a=1), store)
    (run,) = await past_runs(store)
    assert run.finished is not None
    assert run.finished.failures == ["the disk is full"]
    assert await finished_lines(store) == 1


@pytest.mark.parametrize("at", ["fold", "logs"])
async def test_a_run_that_is_cancelled_while_it_closes_gives_back(
    cloud: Cloud, store: Store, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Whatever it waits for in order to close, the unit is given back, and the log says how it ended."""
    await deploy(things(a=1), store)
    reached = asyncio.Event()

    async def stuck(_about: Any) -> None:
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(store, at, stuck)
    task = asyncio.create_task(deploy(things(a=2), store))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(await store.inner.locks()) == []
    _, run = await past_runs(store)
    assert run.finished is not None
    assert (run.finished.ok, run.finished.failures) == (False, ["CancelledError"])
