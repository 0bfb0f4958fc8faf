"""Somebody else has taken the unit: no further call, nothing more written, one failure that says so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.engine.world import Cloud, Pair, Store, Thing, alchemy, deploy, nothing, things

from alchemy.errors import LeaseLost
from alchemy.events import ResourceFinished, RunFinished
from alchemy.opening import destroy_unit
from alchemy.ports import Owner
from alchemy.stores import MemoryStore

pytestmark = pytest.mark.anyio
UNIT = "app/dev"
OTHER = Owner(user="eve", host="elsewhere", pid=1, operation="deploy")


async def take(store: Store) -> None:
    """Let somebody else take the unit from whoever holds it."""
    other = MemoryStore(store.memory)
    await other.break_(UNIT)
    lease = await other.acquire(UNIT, owner=OTHER, timeout=0)
    await other.release(lease)


def failed_resources(cloud: Cloud) -> list[str]:
    """Name the resources that were reported as failed."""
    return [event.fqn for event in cloud.events if isinstance(event, ResourceFinished) and event.outcome == "failed"]


@pytest.mark.parametrize("awaited", [True, False])
async def test_a_lost_unit_ends_the_run(cloud: Cloud, store: Store, awaited: bool) -> None:
    """What is in flight ends; nothing else is called or written, nothing destroyed; one error, not one a resource."""
    await deploy(things(old=1), store)
    cloud.forget()
    gate = cloud.hold("create", "a")

    async def program(_app: Any) -> None:
        first = Thing("a")
        others = [Thing(f"b{n}", needs=first) for n in range(5)]
        if awaited:
            await asyncio.gather(*others)

    task = asyncio.ensure_future(deploy(program, store))
    await gate.entered.wait()
    await take(store)
    before = len(store.writes)
    raw = store.raw()
    gate.open()
    with pytest.raises(LeaseLost):
        await task
    assert cloud.changes() == ["create a"]
    assert store.raw() == raw
    assert len(store.writes) <= before + 1  # what was in flight tried to record itself, and was refused
    assert failed_resources(cloud) == []
    finished = next(event for event in cloud.events if isinstance(event, RunFinished))
    assert not finished.ok
    assert len(finished.failures) == 1
    await deploy(nothing, store)
    assert cloud.objects == {}


async def test_before_every_call_it_is_asked(cloud: Cloud, store: Store) -> None:
    """Lost before the first call: none is made, though nothing was written that the store could have refused."""

    async def program(_app: Any) -> None:
        await take(store)
        await Thing("a")

    with pytest.raises(LeaseLost):
        await deploy(program, store)
    assert cloud.calls == []


async def test_who_is_not_sure_asks_the_store(cloud: Cloud, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not sure, and held still: it is renewed, and the run goes on."""
    asked: list[str] = []
    renew = store.renew

    async def note(lease: Any) -> Any:
        asked.append(lease.unit)
        return await renew(lease)

    monkeypatch.setattr(store, "check", lambda _lease: False)
    monkeypatch.setattr(store, "renew", note)
    await deploy(things(a=1), store)
    assert asked
    assert store.records()["a"].status == "created"


async def test_who_is_not_sure_and_hears_that_it_is_lost(
    cloud: Cloud, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same when it is not."""

    async def lost(lease: Any) -> Any:
        raise LeaseLost(f"{lease.unit} is held by eve", hint="look: alchemy scope locks app/dev")

    monkeypatch.setattr(store, "check", lambda _lease: False)
    monkeypatch.setattr(store, "renew", lost)
    with pytest.raises(LeaseLost, match="held by eve"):
        await deploy(things(a=1, b=2), store)
    assert cloud.calls == []


async def test_no_retry_after_it_was_lost(cloud: Cloud, store: Store) -> None:
    """A call that may be tried again is not, when the unit was lost meanwhile."""
    from alchemy.errors import ProviderError

    cloud.fail("create", "a", ProviderError("busy", retryable=True, retry_after=0.01), times=3)
    gate = cloud.hold("create", "a")
    task = asyncio.ensure_future(deploy(things(a=1), store))
    await gate.entered.wait()
    await take(store)
    gate.open()
    with pytest.raises(LeaseLost):
        await task
    assert cloud.ops("create") == ["create a"]


@pytest.mark.parametrize("how", ["destroy", "orphans", "phase"])
async def test_a_destroy_stops_too(cloud: Cloud, store: Store, how: str) -> None:
    """What is being deleted ends, nothing else goes, no record is dropped."""

    async def program(_app: Any) -> None:
        await Thing("a")
        await Pair("p")
        await Thing("z")

    await deploy(program, store)
    cloud.forget()
    gate = cloud.hold("delete", "z")
    if how == "destroy":
        work = destroy_unit(UNIT, state_store=store)
    else:
        work = deploy(nothing, store, **({"phase": "destroy"} if how == "phase" else {}))
    task = asyncio.ensure_future(work)
    await gate.entered.wait()
    await take(store)
    gate.open()
    with pytest.raises(LeaseLost):
        await task
    assert cloud.ops("delete") == ["delete z"]
    assert "z" in store.records()
    assert failed_resources(cloud) == []
    await destroy_unit(UNIT, state_store=store)
    assert cloud.objects == {}


async def test_lost_at_the_very_end(cloud: Cloud, store: Store) -> None:
    """After the last write: the run fails, for its state was not folded."""

    async def program(app: Any) -> None:
        await Thing("a")
        app.defer(lambda: take(store))

    with pytest.raises(LeaseLost):
        await deploy(program, store)


async def test_awaited_and_never_finalized(cloud: Cloud, store: Store) -> None:
    """`await alchemy(...)`: finalize raises it."""
    app = await alchemy("app", stage="dev", state_store=store)
    await take(store)
    Thing("a")
    with pytest.raises(LeaseLost):
        await app.finalize()
    assert cloud.calls == []


async def test_a_test_that_lost_its_scope_destroys_nothing(cloud: Cloud, store: Store) -> None:
    """Its cleanup would be somebody else's loss."""

    async def body() -> None:
        async with alchemy.test("t", app="app", state_store=store):
            await Thing("a")
            await MemoryStore(store.memory).break_("app/test/t")
            await Thing("b")

    with pytest.raises(LeaseLost):
        await body()
    assert cloud.changes() == ["create app/test/t/a"]
