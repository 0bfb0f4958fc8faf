"""Strangers' objects are never taken; what was begun is found again, or a person is asked."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.engine import world
from tests.unit.engine.test_lifecycle import errors_of
from tests.unit.engine.world import (
    Again,
    Cloud,
    Fixed,
    Manual,
    Named,
    Options,
    Slow,
    Store,
    Thing,
    Token,
    busy,
    consistent,
    deploy,
    lost,
    nothing,
    refused,
    things,
)

from alchemy.errors import AlreadyExists, TargetMismatch
from alchemy.opening import destroy_unit

pytestmark = pytest.mark.anyio


def named(name: str | None = "mine", **given: Any) -> Any:
    """Give a program of one `Named` called `n`."""

    async def program(_app: Any) -> Any:
        return await Named("n", name=name, **given)

    return program


def one(kind: Any, **given: Any) -> Any:
    """Give a program of one resource called `a`."""

    async def program(_app: Any) -> Any:
        return await kind("a", **given)

    return program


async def test_a_strangers_object_is_refused_and_stays(cloud: Cloud, store: Store) -> None:
    """A user-chosen name that exists: an error that says what to do, no record, no call that changes anything."""
    cloud.stranger("mine")
    for _ in range(2):
        with pytest.raises(ExceptionGroup) as caught:
            await deploy(named(), store)
        (error,) = caught.value.exceptions
        assert isinstance(error.__cause__, AlreadyExists)
        assert "adopt=True" in str(error)
        assert cloud.changes() == []
        assert store.records() == {}
    await destroy_unit("app/dev", state_store=store)
    assert cloud.named("mine") is not None


async def test_a_refused_create_leaves_no_claim(cloud: Cloud, store: Store) -> None:
    """Somebody took the name between the look and the create: no intent stays that a later run could act on."""
    cloud.hidden.add("mine")
    cloud.stranger("mine")
    with pytest.raises(ExceptionGroup):
        await deploy(named(), store)
    assert cloud.changes() == ["create n"]
    assert store.records() == {}
    cloud.hidden.clear()
    with pytest.raises(ExceptionGroup):
        await deploy(named(), store)
    await deploy(nothing, store)
    await destroy_unit("app/dev", state_store=store)
    assert cloud.named("mine") is not None


async def test_an_uncertain_create_that_never_was_claims_no_stranger(cloud: Cloud, store: Store) -> None:
    """The intent says that nothing was there, so what is found then is ours; without such an intent it is not."""
    cloud.fail("create", "n", lost(), after=True)
    with pytest.raises(ExceptionGroup):
        await deploy(named(), store)
    assert store.records()["n"].absent
    made = await deploy(named(), store)
    assert made.object_id == "id-1"
    assert len(cloud.objects) == 1
    assert not store.records()["n"].absent
    consistent(store)


async def test_adopt_takes_over_on_demand(cloud: Cloud, store: Store) -> None:
    """`adopt` takes what is there, brings it into line, and owns it from then on."""
    cloud.stranger("mine", size=7, shape="round", needs=None)
    made = await deploy(named(options=Options(adopt=True)), store)
    assert made.object_id == "id-1"
    assert cloud.changes() == ["update n"]
    assert cloud.outcomes() == {"n": "adopted"}
    await deploy(nothing, store)
    assert cloud.objects == {}


async def test_adopt_of_a_scope_and_its_exception(cloud: Cloud, store: Store) -> None:
    """The scope's `adopt` holds for all in it; a resource may refuse."""
    cloud.stranger("mine", shape="round")
    with pytest.raises(ExceptionGroup):
        await deploy(named(options=Options(adopt=False)), store, adopt=True)
    await deploy(named(), store, adopt=True)
    assert cloud.outcomes() == {"n": "adopted"}


async def test_adopt_refuses_what_cannot_be_brought_into_line(cloud: Cloud, store: Store) -> None:
    """An object with another input that cannot be changed in place is not adopted."""
    cloud.stranger("mine", shape="square")
    with pytest.raises(ExceptionGroup) as caught:
        await deploy(named(options=Options(adopt=True)), store)
    assert "another 'shape'" in errors_of(caught.value)[0]
    assert cloud.changes() == []
    assert store.records() == {}


async def test_an_interrupted_adoption_is_not_deleted(cloud: Cloud, store: Store) -> None:
    """Adoption failed half-way and the resource leaves the program: the object was never ours, and stays."""
    cloud.stranger("mine", shape="round")
    cloud.fail("update", "n", lost())
    with pytest.raises(ExceptionGroup):
        await deploy(named(options=Options(adopt=True)), store)
    with pytest.raises(ExceptionGroup) as caught:
        await deploy(named(), store)
    assert "not known whether this application made it" in errors_of(caught.value)[0]
    await deploy(nothing, store)
    assert cloud.named("mine") is not None
    assert store.records() == {}


async def test_a_replacement_onto_a_strangers_name_keeps_the_old_object(cloud: Cloud, store: Store) -> None:
    """Refused: the live object and its record are as before."""
    await deploy(named("mine"), store)
    cloud.stranger("theirs")
    with pytest.raises(ExceptionGroup):
        await deploy(named("theirs"), store)
    record = store.records()["n"]
    assert (record.status, record.physical_name, record.generations) == ("created", "mine", [])
    cloud.forget()
    await deploy(named("mine"), store)
    assert cloud.changes() == []
    await deploy(nothing, store)
    assert [made.name for made in cloud.objects.values()] == ["theirs"]


@pytest.mark.parametrize("kind", [Thing, Named, Token])
async def test_after_a_lost_answer_the_engine_looks_before_it_creates_again(
    cloud: Cloud, store: Store, kind: Any
) -> None:
    """An ambiguous error that may be retried: found, so not created twice."""
    given = {"name": "mine"} if kind is Named else {}
    cloud.fail("create", "a", lost(retryable=True), after=True)
    await deploy(one(kind, **given), store)
    assert cloud.ops("create") == ["create a"]
    assert len(cloud.objects) == 1
    consistent(store)


@pytest.mark.parametrize("kind", [Thing, Named])
@pytest.mark.parametrize("then", ["refused", "exists"])
async def test_a_refusal_after_a_lost_answer_forgets_nothing(
    cloud: Cloud, store: Store, kind: Any, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first try took effect and cannot be seen yet; the second was refused: the intent stays."""
    given = {"name": "mine"} if kind is Named else {}
    cloud.fail("create", "a", lost(retryable=True), after=True)
    if then == "refused":
        cloud.fail("create", "a", refused())
    blind = world.CloudProvider.look
    monkeypatch.setattr(world.CloudProvider, "look", lambda _self, _ctx: None)
    with pytest.raises(ExceptionGroup):
        await deploy(one(kind, **given), store)
    assert store.records()["a"].status == "creating"
    monkeypatch.setattr(world.CloudProvider, "look", blind)
    await deploy(one(kind, **given), store)
    assert len(cloud.objects) == 1
    consistent(store)


async def test_absent_is_believed_after_a_while(cloud: Cloud, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was just made may not be found at once: the provider says how long to wait."""
    monkeypatch.setattr(world.ThingProvider, "settle", 0.01)
    cloud.fail("create", "a", lost(), after=True)
    with pytest.raises(ExceptionGroup):
        await deploy(one(Thing), store)
    name = store.records()["a"].physical_name
    assert name is not None
    cloud.hidden.add(name)
    seen: list[int] = []
    look = world.CloudProvider.look

    def later(self: Any, ctx: Any) -> Any:
        seen.append(1)
        if len(seen) == 2:
            cloud.hidden.clear()
        return look(self, ctx)

    monkeypatch.setattr(world.CloudProvider, "look", later)
    await deploy(one(Thing), store)
    assert len(seen) == 2
    assert len(cloud.objects) == 1


async def test_recover_none_stops_and_asks(cloud: Cloud, store: Store) -> None:
    """An object that cannot be looked for: the run stops, says what to do, and destroys and creates nothing."""
    cloud.fail("create", "a", lost(), after=True)
    with pytest.raises(ExceptionGroup):
        await deploy(one(Manual), store)
    cloud.forget()
    for again in (one(Manual), one(Manual, size=2), nothing):
        with pytest.raises(ExceptionGroup) as caught:
            await deploy(again, store)
        assert "alchemy state resolve app/dev/a --id ID, or --gone" in errors_of(caught.value)[0]
    with pytest.raises(ExceptionGroup):
        await destroy_unit("app/dev", state_store=store)
    assert cloud.changes() == []
    assert store.records()["a"].status == "creating"


async def test_recover_none_goes_on_after_a_checkpoint(cloud: Cloud, store: Store) -> None:
    """Its id was kept in the middle of the create: it is read by that, finished, and not made twice."""
    cloud.fail("finish", "a", lost())
    with pytest.raises(ExceptionGroup):
        await deploy(one(Slow), store)
    assert store.records()["a"].output == {"object_id": "id-1"}
    made = await deploy(one(Slow), store)
    assert (made.object_id, made.ready) == ("id-1", True)
    assert cloud.ops("create", "update") == ["create a", "update a"]
    consistent(store)


async def test_recover_none_destroys_what_a_checkpoint_names(cloud: Cloud, store: Store) -> None:
    """The same when it leaves the program."""
    cloud.fail("finish", "a", lost())
    with pytest.raises(ExceptionGroup):
        await deploy(one(Slow), store)
    await deploy(nothing, store)
    assert cloud.objects == {}
    assert store.records() == {}


async def test_recover_again_repeats(cloud: Cloud, store: Store) -> None:
    """Creating it twice does no harm; what may exist is removed when it leaves the program."""
    cloud.fail("create", "a", lost(), after=True)
    with pytest.raises(ExceptionGroup):
        await deploy(one(Again, path="p"), store)
    await deploy(one(Again, path="p"), store)
    assert cloud.ops() == ["create a", "create a"]
    consistent(store)
    cloud.fail("create", "b", lost(), after=True)

    async def other(_app: Any) -> None:
        await Again("b", path="q")

    with pytest.raises(ExceptionGroup):
        await deploy(other, store)
    await deploy(nothing, store)
    assert cloud.objects == {}


async def test_recover_again_elsewhere_removes_what_was_begun(cloud: Cloud, store: Store) -> None:
    """Begun at one path, wanted at another: nothing stays at the first."""
    cloud.fail("create", "a", lost(), after=True)
    with pytest.raises(ExceptionGroup):
        await deploy(one(Again, path="p"), store)
    await deploy(one(Again, path="q"), store)
    assert [made.name for made in cloud.objects.values()] == ["q"]


async def test_what_cannot_be_updated_can_be_recovered(cloud: Cloud, store: Store) -> None:
    """A provider without update takes what it finds."""
    cloud.fail("create", "a", lost(), after=True)
    with pytest.raises(ExceptionGroup):
        await deploy(one(Fixed), store)
    made = await deploy(one(Fixed), store)
    assert made.object_id == "id-1"
    consistent(store)


async def test_what_is_recovered_is_described_by_the_program_of_now(cloud: Cloud, store: Store) -> None:
    """Its place, what it depends on and its options are today's, and the next run has nothing to write."""

    async def program(_app: Any) -> None:
        await Thing("first")
        await Fixed("a", options=Options(retain=True))

    cloud.fail("create", "a", lost(), after=True)
    with pytest.raises(ExceptionGroup):
        await deploy(one(Fixed), store)
    await deploy(program, store)
    records = store.records()
    assert records["a"].retain
    assert records["a"].seq > records["first"].seq
    revisions = {fqn: record.rev for fqn, record in records.items()}
    await deploy(program, store)
    assert {fqn: record.rev for fqn, record in store.records().items()} == revisions


async def test_an_interrupted_update_is_read_and_applied_whole(cloud: Cloud, store: Store) -> None:
    """Half-applied: read back, then all of it again; also when the program went back to what it said before."""
    await deploy(things(a=1), store)
    cloud.fail("update", "a", lost(), after=True)
    with pytest.raises(ExceptionGroup):
        await deploy(things(a=2), store)
    record = store.records()["a"]
    assert (record.props["size"], record.attempted and record.attempted["size"]) == (1, 2)
    cloud.forget()
    await deploy(things(a=1), store)
    assert cloud.ops() == ["find a", "update a"]
    assert cloud.objects["id-1"].props["size"] == 1
    consistent(store)


async def test_a_failed_update_is_not_skipped_afterwards(cloud: Cloud, store: Store) -> None:
    """What was attempted is not what was applied."""
    await deploy(things(a=1), store)
    cloud.fail("update", "a", refused())
    with pytest.raises(ExceptionGroup):
        await deploy(things(a=2), store)
    await deploy(things(a=2), store)
    assert cloud.objects["id-1"].props["size"] == 2


async def test_an_unknown_read_is_no_absence(cloud: Cloud, store: Store) -> None:
    """Only `None` means gone; an error means unknown, and nothing is created."""
    cloud.fail("create", "a", lost(), after=True)
    with pytest.raises(ExceptionGroup):
        await deploy(one(Thing), store)
    cloud.fail("find", "a", refused("the account is suspended"))
    with pytest.raises(ExceptionGroup):
        await deploy(one(Thing), store)
    assert cloud.ops("create") == ["create a"]
    assert store.records()["a"].status == "creating"


async def test_an_unknown_read_on_destroy_keeps_the_record(cloud: Cloud, store: Store) -> None:
    """The same for a destroy, which is tried again when it may pass."""
    cloud.fail("create", "a", lost(), after=True)
    with pytest.raises(ExceptionGroup):
        await deploy(one(Thing), store)
    cloud.fail("find", "a", refused())
    with pytest.raises(ExceptionGroup):
        await deploy(nothing, store)
    assert "a" in store.records()
    cloud.fail("find", "a", busy())
    await deploy(nothing, store)
    assert cloud.objects == {}


# Targets


async def test_another_account_is_an_error_before_any_call(cloud: Cloud, store: Store) -> None:
    """An object that lives elsewhere is neither updated, nor called gone, nor destroyed."""
    await deploy(things(a=1), store)
    cloud.account = "acct-2"
    cloud.forget()
    with pytest.raises(ExceptionGroup) as caught:
        await deploy(things(a=2), store)
    assert "app/dev/a lives in acct-1, and this run is set up for acct-2" in errors_of(caught.value)[0]
    with pytest.raises(TargetMismatch):
        await deploy(nothing, store)
    with pytest.raises(TargetMismatch):
        await destroy_unit("app/dev", state_store=store)
    assert cloud.calls == []
    assert store.records()["a"].status == "created"
    cloud.account = "acct-1"
    await destroy_unit("app/dev", state_store=store)
    assert cloud.objects == {}


async def test_another_account_is_noticed_without_a_call_where_it_can_be(
    cloud: Cloud, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that knows its target by configuration alone: an unchanged resource is an error too."""
    monkeypatch.setattr(world.ThingProvider, "configured_target", lambda _self: cloud.account, raising=False)
    await deploy(things(a=1), store)
    await deploy(things(a=1), store)
    cloud.account = "acct-2"
    with pytest.raises(ExceptionGroup) as caught:
        await deploy(things(a=1), store)
    assert "lives in acct-1" in errors_of(caught.value)[0]


async def test_two_providers_of_one_name_have_targets_of_their_own(cloud: Cloud, store: Store) -> None:
    """Targets are kept by provider, not by what its class happens to be called."""

    class Other:
        class CloudProvider(world.CloudProvider[Thing]):
            async def target(self, ctx: Any) -> str:
                return "elsewhere"

    Other.CloudProvider.target.__qualname__ = world.CloudProvider.target.__qualname__
    from alchemy.engine.run import Run

    made: list[str] = []

    async def program(app: Any) -> None:
        run: Run = app.runner.run
        context: Any = type("C", (), {"fqn": "x"})()
        made.append(await run.targets.of(world.ThingProvider(), context))
        made.append(await run.targets.of(Other.CloudProvider(), context))

    await deploy(program, store)
    assert made == ["acct-1", "elsewhere"]


async def test_another_kind_may_live_elsewhere(cloud: Cloud, store: Store) -> None:
    """Another kind under the same id is checked for its own account, and the old one for the account it is in."""
    await deploy(one(Again, path="p"), store)
    assert store.records()["a"].target == "machine"
    await deploy(one(Thing), store)
    assert cloud.changes() == ["create a", "create a", "delete a"]
    consistent(store)
    cloud.account = "acct-2"
    with pytest.raises(ExceptionGroup) as caught:
        await deploy(one(Again, path="p"), store)
    assert "app/dev/a lives in acct-1" in errors_of(caught.value)[0]
    assert cloud.changes() == ["create a", "create a", "delete a"]
