"""`force_update`: a deploy lets the scope that such a store was given to begin without state, and no other."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine import world
from tests.unit.engine.world import Cloud, CloudProvider, Named, Pair, Store, Thing, deploy, nothing, things

from alchemy import Context, Options, Resource, alchemy, config, output, prop, stores
from alchemy.engine.ledger import forgotten
from alchemy.errors import AlreadyExists, Gone, LockedError, ProviderError, StateDamaged
from alchemy.events import Notice
from alchemy.history import decode_backup
from alchemy.opening import destroy_unit
from alchemy.owner import owner_of
from alchemy.ports import Lease, StateStore
from alchemy.stores import FileStore, MemoryStore
from alchemy.stores._memory import Memory
from alchemy.testing.checks import check_converged, check_owned
from alchemy.testing.faults import Faults
from alchemy.upkeep.reset import reset
from alchemy.upkeep.restore import restore

pytestmark = pytest.mark.anyio
UNIT = "app/dev"
ENABLED = f"[Forced] forceUpdate enabled - clearing state for scope {UNIT}"
CLEARED = "[Forced] State cleared successfully"


asked: list[str] = []
"""What stores were asked, whichever object it was."""


class Forced(Store):
    """A store in memory that can be told to begin without state, and takes note of what it is asked."""

    def __init__(self, memory: Memory, *, force_update: bool = True, status: int | None = None) -> None:
        super().__init__(memory)
        self.force_update = force_update
        self.status = status

    @classmethod
    def from_url(cls, _scheme: str, url: str) -> Forced:
        """Open it as `forced:NAME` or `forced:NAME?force_update=true`."""
        name, _, option = url.partition(":")[2].partition("?")
        return cls(Memory.named(name), force_update=option == "force_update=true")

    @property
    def url(self) -> str:
        return f"forced:{self.memory.name}"

    async def redeploy(self) -> Sequence[str]:
        """Take note."""
        asked.append("redeploy")
        return ["it was uploaded again"]

    async def refuses_to_clear(self, lease: Lease, chain: str) -> int | None:
        """Refuse, or not, as told; whoever asks holds the unit."""
        assert self.check(lease)
        asked.append(f"clear {chain}")
        return self.status


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the URL of such a store open one, as that of an installed package would."""

    def open_(scheme: str, url: str) -> StateStore:
        return Forced.from_url(scheme, url) if scheme == "forced" else ForcedFiles.from_url(url)

    monkeypatch.setattr(stores, "_third_party", open_)
    asked.clear()


class Strict(Resource, kind="t::Strict", provider=f"{__name__}:StrictProvider"):
    """An object that is known by its id, and whose provider fails where it is gone."""

    name: str | None = prop(default=None, replace=True)
    size: int = 1
    shape: str = prop(default="round", replace=True)
    object_id: str = output()


class StrictProvider(CloudProvider[Strict]):
    """Handles `Strict`."""

    async def read(self, ctx: Context[Strict], have: Strict) -> Strict | None:
        made = await self.cloud.call("read", ctx, lambda: self.cloud.objects.get(have.object_id))
        return None if made is None else self.seen(ctx, made)

    async def update(self, ctx: Context[Strict], want: Strict, have: Strict) -> Strict:
        try:
            return await super().update(ctx, want, have)
        except Gone as error:
            raise ProviderError(f"Failed to update {have.object_id} (404 Not Found)") from error

    async def delete(self, ctx: Context[Strict], have: Strict) -> None:
        def effect() -> None:
            if have.object_id not in self.cloud.objects:
                raise ProviderError(f"Failed to delete {have.object_id} (404 Not Found)")
            self.cloud.remove(have.object_id)

        await self.cloud.call("delete", ctx, effect)


def by_hand(cloud: Cloud, kind: str | None = None) -> None:
    """Remove every object, or those of a kind, and make it anew under its name: it has another id then."""
    for made in [made for made in cloud.objects.values() if kind in (None, made.kind)]:
        cloud.remove(made.id)
        cloud.make(made.name, made.kind, made.props, "")


def one(**inputs: Any) -> Any:
    """Give a program of one `Strict`."""

    async def program(_app: Any) -> None:
        await Strict("db", **inputs)

    return program


def said(cloud: Cloud) -> list[str]:
    """Give what the runs said, the names of backups left out."""
    notices = [event.message for event in cloud.events if isinstance(event, Notice)]
    return [message.partition(" can be brought back: ")[0] for message in notices]


@pytest.mark.parametrize("name", [None, "main-db"])
@pytest.mark.parametrize("change", [{"size": 2}, {"shape": "square"}, {"size": 2, "shape": "square"}, None])
async def test_what_was_made_anew_by_hand(
    cloud: Cloud, store: Store, name: str | None, change: dict[str, Any] | None
) -> None:
    """State names what is gone, and a deploy fails at it; with `force_update` it does not, and adopts what is there."""
    first = {"name": name} if name else {}
    await deploy(one(**first), store)
    by_hand(cloud)
    for made in cloud.objects.values():
        made.props.update(change or {})
    program = nothing if change is None else one(**first, **change)
    with pytest.raises(ExceptionGroup):
        await deploy(program, store)
    await deploy(program, Forced(store.memory))
    program = one(**first, **(change or {}))
    await deploy(program, store)
    cloud.forget()
    await deploy(program, store)
    assert cloud.outcomes() == {"db": "unchanged"}
    records = store.memory.records("")
    assert records[f"{UNIT}/db"].output["object_id"] in cloud.objects
    assert forgotten(records[UNIT]) == {}
    check_owned(cloud, records)


async def test_what_scopes_keep(store: Store) -> None:
    """Of the scope itself it stays; of those below it it goes with their records, which the backup has."""
    found: list[Any] = []

    async def program(app: Any) -> None:
        async with alchemy.run("in") as inner:
            for scope in (app, inner):
                found.append(await scope.get("key"))
                await scope.set("key", scope.chain)

    for each in (store, store, Forced(store.memory)):
        await deploy(program, each)
    assert found == [None, None, UNIT, f"{UNIT}/in", UNIT, None]


async def test_what_it_says(cloud: Cloud, store: Store) -> None:
    """The lines of Alchemy for TypeScript, and the backup's name before it clears; the backup has what was there."""
    await deploy(one(), store)
    cloud.events.clear()
    forced = Forced(store.memory)
    await deploy(one(), forced)
    assert said(cloud) == ["[Forced] it was uploaded again", ENABLED, "[Forced] State as it was", CLEARED]
    assert asked == ["redeploy", f"clear {UNIT}"]
    (name,) = [
        event.message.split()[-1] for event in cloud.events if isinstance(event, Notice) and "--backup" in event.message
    ]
    backup = decode_backup(await forced.read_backup(UNIT, name), where=name)
    assert sorted(backup.records) == [UNIT, f"{UNIT}/db"]
    assert forced.writes[:2] == [f"clear {UNIT}", f"created {UNIT}"]
    first, second = forced.histories[UNIT].commits[:2]
    assert (first.backup, second.cleared) == (name, UNIT)


async def test_only_its_scope_is_cleared(cloud: Cloud, store: Store) -> None:
    """Siblings, parents and other stages stay as they are, byte for byte; what lies below goes too."""

    def program(nested: Store) -> Any:
        async def run(_app: Any) -> None:
            await Thing("top")
            async with alchemy.run("ab"):
                await Thing("beside")
            async with alchemy.run("a", state_store=nested):
                await Strict("db")
                async with alchemy.run("deep"):
                    await Thing("low")

        return run

    store = Forced(store.memory, force_update=False)
    await deploy(program(Forced(store.memory, force_update=False)), store)
    await deploy(program(Forced(store.memory, force_update=False)), store, stage="prod")
    before = {unit: dict(kept.records) for unit, kept in store.memory.units.items()}
    cloud.forget()
    forced = Forced(store.memory)
    await deploy(program(forced), store)
    after = {unit: dict(kept.records) for unit, kept in store.memory.units.items()}
    changed = {fqn for fqn in {*before[UNIT], *after[UNIT]} if before[UNIT].get(fqn) != after[UNIT].get(fqn)}
    assert asked == ["redeploy", f"clear {UNIT}/a"]
    assert changed - {UNIT} == {f"{UNIT}/a", f"{UNIT}/a/db", f"{UNIT}/a/deep", f"{UNIT}/a/deep/low"}
    assert after["app/prod"] == before["app/prod"]
    assert cloud.ops("create", "delete") == []
    assert {"a/db": "adopted", "a/deep/low": "adopted", "top": "unchanged"}.items() <= cloud.outcomes().items()


async def test_a_nested_scope_in_a_store_of_its_own(cloud: Cloud, store: Store) -> None:
    """Its records lie in another unit than its stage's: they go from there, and into the ledger of the stage."""
    elsewhere = Memory()

    def program(nested: Store) -> Any:
        async def run(_app: Any) -> None:
            await Thing("top")
            async with alchemy.run("a", state_store=nested):
                await Strict("db", name="main-db")

        return run

    await deploy(program(Forced(elsewhere, force_update=False)), store)
    by_hand(cloud)
    (made,) = [made for made in cloud.objects.values() if made.kind == "t::Strict"]
    cloud.forget()

    async def stops(app: Any) -> None:
        await program(Forced(elsewhere))(app)
        raise RuntimeError("here")

    with pytest.raises(RuntimeError):
        await deploy(stops, store)
    assert elsewhere.records("")[f"{UNIT}/a/db"].output["object_id"] == made.id
    assert cloud.outcomes()["a/db"] == "adopted"
    assert said(cloud).count(CLEARED) == 1
    await deploy(program(Forced(elsewhere, force_update=False)), store)
    assert forgotten(store.memory.records("")[UNIT]) == {}


async def test_what_could_not_be_deleted_in_a_nested_scope(cloud: Cloud, store: Store) -> None:
    """It is tried before the scope is entered, fails again, and is no failure once the scope is cleared."""

    def program(nested: Store, *, declares: bool) -> Any:
        async def run(_app: Any) -> None:
            async with alchemy.run("a", state_store=nested):
                if declares:
                    await Strict("db", name="main-db")

        return run

    elsewhere = Memory()
    await deploy(program(Forced(elsewhere, force_update=False), declares=True), store)
    by_hand(cloud)
    for _ in range(2):
        with pytest.raises(ExceptionGroup):
            await deploy(program(Forced(elsewhere, force_update=False), declares=False), store)
        assert cloud.outcomes() == {"a/db": "failed"}
        cloud.forget()
    with pytest.raises(ExceptionGroup):
        await deploy(program(Forced(elsewhere, force_update=False), declares=True), store)
    assert cloud.outcomes() == {"a/db": "failed"}
    cloud.forget()
    await deploy(program(Forced(elsewhere), declares=True), store)
    assert cloud.outcomes() == {"a/db": "adopted"}
    assert len(cloud.objects) == 1


async def test_two_scopes_share_a_store(cloud: Cloud, store: Store) -> None:
    """Each is cleared once, though they are entered at the same time, and the store is put there again once."""
    elsewhere = Memory()

    def program(nested: Store) -> Any:
        async def inside() -> None:
            await Strict("db")

        async def run(_app: Any) -> None:
            first = alchemy.run("a", inside, state_store=nested)
            await alchemy.run("b", inside, state_store=nested)
            await first

        return run

    await deploy(program(Forced(elsewhere, force_update=False)), store)
    cloud.forget()
    forced = Forced(elsewhere)
    await deploy(program(forced), store)
    assert sorted(asked) == [f"clear {UNIT}/a", f"clear {UNIT}/b", "redeploy"]
    assert cloud.outcomes() == {"a/db": "adopted", "b/db": "adopted"}


async def test_what_lies_in_other_stores_stays(cloud: Cloud, store: Store) -> None:
    """A stage is cleared: what its nested scopes keep elsewhere is not, and is still found there."""
    elsewhere = Memory()

    async def program(_app: Any) -> None:
        async with alchemy.run("outer"), alchemy.run("a", state_store=Forced(elsewhere, force_update=False)):
            await Thing("kept")
        await Thing("top")

    await deploy(program, store)
    before = dict(elsewhere.units[UNIT].records)
    await deploy(program, Forced(store.memory))
    assert elsewhere.units[UNIT].records == before
    await deploy(nothing, Forced(store.memory))
    assert [made.fqn for made in cloud.ours] == [f"{UNIT}/top"]
    assert list(forgotten(store.memory.records("")[UNIT])) == [f"{UNIT}/top"]


async def test_a_store_that_cannot_clear(cloud: Cloud, store: Store) -> None:
    """It is a warning with the status, and the run goes on with the state as it is."""
    await deploy(one(), store)
    before = dict(store.memory.units[UNIT].records)
    cloud.forget()
    await deploy(one(), Forced(store.memory, status=500))
    assert said(cloud)[1:] == [ENABLED, "[Forced] Failed to clear state: 500"]
    assert [event.level for event in cloud.events if isinstance(event, Notice)] == ["info", "info", "warning"]
    assert cloud.outcomes() == {"db": "unchanged"}
    assert store.memory.units[UNIT].records == before
    assert store.memory.units[UNIT].backups == {}


async def test_only_deploys_clear(cloud: Cloud, store: Store) -> None:
    """What reads, destroys or puts in order by way of such a store leaves state, and the service, as they are."""
    await deploy(one(), store)
    before = dict(store.memory.units[UNIT].records)
    forced = Forced(store.memory)
    await deploy(one(), forced, phase="read")
    launch = config.launch.get()
    assert launch is not None
    token = config.launch.set(replace(launch, rebuild=True))
    await deploy(one(), forced)
    config.launch.reset(token)
    assert store.memory.units[UNIT].records.keys() == before.keys()
    await reset(UNIT, UNIT, state_store=forced)
    await deploy(one(), store)
    await destroy_unit(UNIT, state_store=forced)
    assert asked == []
    assert cloud.objects == {}
    assert not any("forceUpdate" in message for message in said(cloud))


async def test_nobody_is_disturbed(cloud: Cloud, store: Store) -> None:
    """It happens under the lease: while somebody else holds the stage, nothing does."""
    await deploy(one(), store)
    before = dict(store.memory.units[UNIT].records)
    other = MemoryStore(store.memory)
    lease = await other.acquire(UNIT, owner=owner_of("deploy"), timeout=0)
    with pytest.raises(LockedError):
        await deploy(one(), Forced(store.memory))
    assert store.memory.units[UNIT].records == before
    await other.release(lease)


async def test_there_is_nothing_to_clear(cloud: Cloud, store: Store) -> None:
    """A stage without resources: it is said, and nothing is written or asked."""
    forced = Forced(store.memory)
    await deploy(nothing, forced)
    await deploy(nothing, forced)
    assert asked == ["redeploy", "redeploy"]
    assert forced.writes == []
    assert said(cloud)[-2:] == [ENABLED, CLEARED]


async def test_what_a_scope_keeps_stays(cloud: Cloud, store: Store) -> None:
    """Data of the stage and of the scope are no resources."""

    async def program(app: Any) -> None:
        async with alchemy.run("a", state_store=Forced(store.memory)) as inner:
            await app.set("n", await app.get("n", 0) + 1)
            await inner.set("n", await inner.get("n", 0) + 1)
            await Thing("t")
            seen.append((await app.get("n"), await inner.get("n")))

    seen: list[Any] = []
    for _ in range(3):
        await deploy(program, Forced(store.memory))
    assert seen == [(1, 1), (2, 2), (3, 3)]


async def test_composites(cloud: Cloud, store: Store) -> None:
    """What lies below a resource is forgotten with it, and found with it."""

    async def program(_app: Any) -> None:
        await Pair("pair", size=2)

    await deploy(program, store)
    cloud.forget()
    await deploy(program, Forced(store.memory))
    assert cloud.ops("create", "delete") == []
    assert {"pair/left": "adopted", "pair/right": "adopted"}.items() <= cloud.outcomes().items()


async def test_in_a_test(cloud: Cloud, store: Store) -> None:
    """What an interrupted test left is forgotten, found by the next one, and destroyed by it."""

    async def test(kept: Store, **options: Any) -> None:
        async with alchemy.test("t", app="app", state_store=kept, **options):
            await Strict("db", name="main-db")

    await test(store, auto_cleanup=False)
    by_hand(cloud)
    await test(Forced(store.memory))
    assert cloud.objects == {}
    assert store.memory.records("") == {}


async def test_it_is_done_again_after_a_failure(cloud: Cloud, store: Store) -> None:
    """A run that fails after it has cleared leaves half a state, and a ledger: the next one clears that too."""

    async def program(_app: Any) -> None:
        await Strict("a", name="a")
        if fails:
            raise RuntimeError("here")
        await Strict("b", name="b")

    fails = False
    await deploy(program, store)
    by_hand(cloud)
    fails = True
    for _ in range(2):
        with pytest.raises(RuntimeError):
            await deploy(program, Forced(store.memory))
        assert list(forgotten(store.memory.records("")[UNIT])) == [f"{UNIT}/b"]
    fails = False
    await deploy(program, Forced(store.memory))
    check_owned(cloud, store.memory.records(""))
    assert len(cloud.objects) == 2
    assert forgotten(store.memory.records("")[UNIT]) == {}


@pytest.mark.parametrize("again", [True, False], ids=["forced again", "not forced"])
async def test_killed_at_any_instant(cloud: Cloud, again: bool) -> None:
    """Whatever was done by then, nothing is forgotten: the next deploy has every object, and no other."""

    async def program(_app: Any) -> None:
        await Strict("a", name="a")
        async with alchemy.run("in"):
            await Thing("b")

    for instant in range(200):
        world.reset()
        store = Store()
        await deploy(program, store)
        by_hand(cloud, kind="t::Strict")
        forced = Forced(store.memory)
        cloud.faults.crash(at=instant)
        with contextlib.suppress(BaseException):
            await deploy(program, forced)
        if not cloud.died:
            break
        cloud.faults = Faults()
        for force in (again, True):
            await deploy(program, Forced(store.memory, force_update=force))
        records = store.memory.records("")
        check_converged(cloud, records)
        assert (len(cloud.objects), forgotten(records[UNIT])) == (2, {})
    assert instant > 10, "nothing was killed"


async def test_encrypted_state(cloud: Cloud, store: Store) -> None:
    """Records, ledger and backup are as encrypted after the clearing as before."""
    sealed = {"encrypt_state": True, "password": "a-password"}
    await deploy(one(name="main-db"), store, **sealed)
    by_hand(cloud)
    await deploy(nothing, Forced(store.memory), **sealed)
    kept = store.memory.units[UNIT]
    assert all(b"main-db" not in raw for raw in (*kept.records.values(), *kept.backups.values()))
    assert len(kept.backups) == 1
    await deploy(one(name="main-db"), store, **sealed)
    assert cloud.outcomes() == {"db": "adopted"}


async def test_damaged_state(cloud: Cloud, tmp_path: Path) -> None:
    """What can be read of it is backed up and found again; the damage is put aside, and told."""
    await deploy(things(a=1, b=1), FileStore(tmp_path))
    (tmp_path / "app/dev/resources/a/state.json").write_text("{")
    with pytest.raises(StateDamaged):
        await deploy(things(a=1, b=1), FileStore(tmp_path))
    cloud.forget()
    await deploy(things(a=1, b=1), ForcedFiles(tmp_path))
    assert cloud.outcomes() == {"a": "created", "b": "adopted"}
    assert len(cloud.objects) == 2
    assert said(cloud)[0].startswith(f"the state of {UNIT} was damaged")
    assert list(tmp_path.rglob("*damaged*")) + list(tmp_path.rglob("*aside*"))


@pytest.mark.parametrize("enters", [True, False])
async def test_damaged_state_of_a_nested_scope(cloud: Cloud, store: Store, tmp_path: Path, enters: bool) -> None:
    """It is refused when the scope is entered, or when nobody does, unless the scope is to begin without state."""

    def program(option: str = "") -> Any:
        async def run(_app: Any) -> None:
            if enters or option:
                async with alchemy.run("in", state_store=f"files:{tmp_path}{option}"):
                    await Thing("a")
                    await Thing("b")

        return run

    await deploy(program("?force_update=true"), store)
    asked.clear()
    (tmp_path / "app/dev/in/resources/a/state.json").write_text("{")
    for _ in range(2):
        with pytest.raises(StateDamaged, match=r"resources/a/state\.json"):
            await deploy(program(), store)
    assert len(cloud.objects) == 2
    cloud.forget()
    await deploy(program("?force_update=true"), store)
    assert cloud.outcomes() == {"in/a": "created", "in/b": "adopted"}
    assert asked == [f"clear {UNIT}/in"]


class ForcedFiles(FileStore):
    """A store of files that can be told to begin without state."""

    force_update = True

    @classmethod
    def from_url(cls, url: str) -> ForcedFiles:
        """Open it as `files:PATH` or `files:PATH?force_update=true`."""
        path, _, option = url.partition(":")[2].partition("?")
        store = cls(path)
        store.force_update = option == "force_update=true"
        return store

    @property
    def url(self) -> str:
        return "files:" + super().url.removeprefix("file://")

    async def redeploy(self) -> Sequence[str]:
        """There is nothing to be put anywhere."""
        return []

    async def refuses_to_clear(self, lease: Lease, chain: str) -> int | None:
        """It can always."""
        asked.append(f"clear {chain}")
        return None


async def test_a_store_in_use_is_not_made_ready_again(cloud: Cloud, store: Store) -> None:
    """A nested scope whose store is the stage's: what others ask of it just now is not cut short."""
    forced = Forced(store.memory, force_update=False)

    async def program(_app: Any) -> None:
        async with alchemy.run("a", state_store=f"{forced.url}?force_update=true"):
            await Thing("t")

    for _ in range(2):
        cloud.faults.calls.clear()
        await deploy(program, forced)
        assert cloud.faults.calls.count("store.init") == 1
    assert asked == ["redeploy", "redeploy", f"clear {UNIT}/a"]


async def test_what_was_cleared_is_brought_back(cloud: Cloud, store: Store) -> None:
    """By the backup that was named, also of a scope with a store of its own: what left the program is known again."""
    elsewhere = Memory()

    def program(nested: Store, *, declares: bool) -> Any:
        async def run(_app: Any) -> None:
            async with alchemy.run("a", state_store=nested):
                if declares:
                    await Thing("t")

        return run

    await deploy(program(Forced(elsewhere, force_update=False), declares=True), store)
    await deploy(program(Forced(elsewhere), declares=False), store)
    assert len(cloud.objects) == 1
    (name,) = elsewhere.unit(UNIT).backups
    await restore(UNIT, f"{UNIT}/a", name, state_store=store)
    assert list(elsewhere.records("")) == [f"{UNIT}/a/t"]
    await deploy(program(Forced(elsewhere, force_update=False), declares=False), store)
    assert cloud.objects == {}
    assert forgotten(store.memory.records("")[UNIT]) == {}


async def test_a_name_is_ours_unless_the_program_says_no(cloud: Cloud, store: Store) -> None:
    """`adopt=False` refuses what was made anew by hand; so does another kind, whose object was never ours."""
    await deploy(one(name="main-db"), store)
    by_hand(cloud)
    cloud.make("main-db", "testing::Named", {"name": "main-db", "size": 1}, "")
    with pytest.raises(ExceptionGroup, match="1 failure") as caught:
        await deploy(one(name="main-db", options=Options(adopt=False)), Forced(store.memory))
    assert isinstance(caught.value.exceptions[0].__cause__, AlreadyExists)

    async def another_kind(_app: Any) -> None:
        await Named("db", name="main-db")

    with pytest.raises(ExceptionGroup, match="1 failure") as caught:
        await deploy(another_kind, Forced(store.memory))
    assert isinstance(caught.value.exceptions[0].__cause__, AlreadyExists)
    assert cloud.ops("update", "delete") == []
    await deploy(one(name="main-db"), store)
    assert cloud.outcomes()["db"] == "adopted"
