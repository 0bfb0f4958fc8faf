"""The state that Alchemy for TypeScript really wrote: imported, and then deployed by an equivalent Python program."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from alchemy import Options, alchemy, config
from alchemy.cli.entry import run
from alchemy.cloudflare._migrations import fingerprint, read_folder
from alchemy.crypto import Cipher
from alchemy.errors import ConfigurationError, LockedError, SecretError, StateError
from alchemy.events import Event, ResourceFinished
from alchemy.fs import CopyFile, File, Folder
from alchemy.importing import Import, Plan, Request, Source, dry_run, read_source, run_import, writing
from alchemy.importing.aside import write_aside
from alchemy.owner import owner_of
from alchemy.ports import StateStore
from alchemy.random import RandomString
from alchemy.state import Record, Status
from alchemy.stores import FileStore, MemoryStore
from alchemy.testing.faults import Crashed, Faults
from alchemy.testing.store import FaultyStore

pytestmark = pytest.mark.anyio

PASSWORD = "pässword"
CLOUD = ("api", "cache", "orders", "photos")


def request(
    folder: Path, stage: str | None = None, *, password: str | None = PASSWORD, source_password: str | None = PASSWORD
) -> Request:
    """Ask for the shop's import, as the command line does."""
    source = read_source(folder / "alchemy-ts", app=None, stage=stage, default_stage="me", folder=folder)
    return Request(
        source=source,
        settings=config.resolve({"lock_timeout": 0.0}),
        folder=folder / ".alchemy",
        password=password,
        source_password=source_password,
    )


def take_out(folder: Path, *ids: str) -> None:
    """Take resources out of what is to be imported."""
    for stage in ("dev", "prod"):
        for id in ids:
            (folder / "alchemy-ts/shop" / stage / f"{id}.json").unlink(missing_ok=True)


async def bring(folder: Path, store: StateStore, stage: str | None = None) -> Sequence[Import]:
    """Import the shop."""
    return await run_import(store, request(folder, stage))


async def program(store: StateStore, motto: str) -> str:
    """Deploy the shop's stage `dev` as a Python program; gives its session key."""
    async with alchemy("shop", stage="dev", state_store=store, password=PASSWORD):
        out = await Folder("out", path="out/dev")
        await File("motto", path=f"{out.path}/motto.txt", content=f"{motto}\n")
        async with alchemy.run("notes"):
            await File("today", path=f"{out.path}/today.txt", content="Grüße aus der Werkstatt\n")
        key = await RandomString("session-key", length=48)
        async with alchemy.run("site") as site:
            assert await site.get("opened") == "2026-11-21"
            await File("index", path=f"{out.path}/site/index.html", content="<h1>Shop</h1>\n")
            async with alchemy.run("blog"):
                await File("first", path=f"{out.path}/site/blog/first.html", content="<p>Hello</p>\n")
                await CopyFile("last", source="worker.js", destination=f"{out.path}/site/blog/worker.txt")
    return key.value.reveal()


def outcomes(events: Sequence[Event]) -> dict[str, str]:
    """Give how each resource ended."""
    return {event.fqn: event.outcome for event in events if isinstance(event, ResourceFinished)}


async def test_an_equivalent_program_changes_nothing(shop: Path, events: list[Event]) -> None:
    """Files and folders are its own and unchanged, the secret is the one that was made there; a second run is idle."""
    take_out(shop, *CLOUD)
    before = {path: path.stat().st_mtime_ns for path in (shop / "out").rglob("*.html")}
    store = FileStore(shop / ".alchemy")
    await bring(shop, store, "dev")
    key = await program(store, "Everything must go")
    ended = outcomes(events)
    # What a copy was made from is not in its record: it is made once more, of the same.
    assert ended.pop("shop/dev/site/blog/last") == "updated"
    assert set(ended.values()) == {"unchanged"}
    assert len(ended) == 6
    assert {path: path.stat().st_mtime_ns for path in before} == before
    stored = json.loads((shop / "alchemy-ts/shop/dev/session-key.json").read_text())["output"]["value"]["@secret"]
    assert Cipher(PASSWORD).open(stored, context="any").decode() == key
    events.clear()
    await program(store, "Everything must go")
    assert set(outcomes(events).values()) == {"unchanged"}


async def test_where_inputs_differ_it_is_an_update(shop: Path, events: list[Event]) -> None:
    """The program's word counts, and the file is written over as its own."""
    take_out(shop, *CLOUD)
    store = FileStore(shop / ".alchemy")
    await bring(shop, store, "dev")
    await program(store, "Something else")
    assert outcomes(events)["shop/dev/motto"] == "updated"
    assert (shop / "out/dev/motto.txt").read_text() == "Something else\n"


async def test_an_unfinished_update_is_finished(shop: Path, events: list[Event]) -> None:
    """Whether it took effect is not known: it is applied again, as a whole."""
    take_out(shop, *CLOUD)
    path = shop / "alchemy-ts/shop/dev/motto.json"
    record = json.loads(path.read_text())
    record["oldProps"] = record["props"]
    record["props"] = {**record["props"], "content": "Half of it\n"}
    path.write_text(json.dumps({**record, "status": "updating"}))
    (shop / "out/dev/motto.txt").write_text("Half")
    store = FileStore(shop / ".alchemy")
    await bring(shop, store, "dev")
    await program(store, "Half of it")
    assert outcomes(events)["shop/dev/motto"] == "updated"
    assert (shop / "out/dev/motto.txt").read_text() == "Half of it\n"


async def test_what_is_gone_is_made_again(shop: Path, events: list[Event]) -> None:
    """Records are not believed before they were compared with what there is."""
    take_out(shop, *CLOUD)
    (shop / "out/dev/motto.txt").unlink()
    store = FileStore(shop / ".alchemy")
    await bring(shop, store, "dev")
    await program(store, "Everything must go")
    assert outcomes(events)["shop/dev/motto"] == "created"
    assert (shop / "out/dev/motto.txt").read_text() == "Everything must go\n"


async def test_what_leaves_the_program_is_destroyed(shop: Path, events: list[Event]) -> None:
    """An imported resource is an orphan like any other, also from another folder than it was imported in."""
    take_out(shop, *CLOUD)
    store = FileStore(shop / ".alchemy")
    await bring(shop, store, "dev")
    async with alchemy("shop", stage="dev", state_store=store):
        pass
    assert outcomes(events)["shop/dev/site/index"] == "deleted"
    assert not list((shop / "out/dev").rglob("*.html"))


async def test_records_say_what_the_source_said(shop: Path) -> None:
    """Every kind's inputs and outputs in this package's words, with the account, the name and the order."""
    store = MemoryStore()
    done = await bring(shop, store, "prod")
    records = dict(await store.all("shop/prod"))
    assert all(record.verify for record in records.values() if not record.is_scope)
    account = records["shop/prod/photos"].target
    assert account.startswith("cloudflare:")
    orders = records["shop/prod/orders"]
    assert (orders.target, orders.physical_name) == (account, "shop-orders-prod")
    assert orders.props["name"] is None
    assert orders.props["migrations_dir"] == "migrations"
    assert orders.output["database_name"] == "shop-orders-prod"
    assert orders.data["migrations"] == fingerprint(read_folder("migrations"))["migrations"]
    cache = records["shop/prod/cache"]
    assert (cache.physical_name, cache.output["namespace_title"]) == ("shop-cache-prod", "shop-cache-prod")
    assert records["shop/prod/photos"].retain
    api = records["shop/prod/api"]
    assert api.deps == ["shop/prod/cache", "shop/prod/orders", "shop/prod/photos"]
    assert api.props["bindings"]["ORDERS"]["@resource"]["values"] == orders.output
    assert api.props["bindings"]["GREETING"]["@secret"]["version"] == "v2"
    assert records["shop/prod/stamp"].props["command"] == ["sh", "-c", "echo stamped"]
    assert records["shop/prod/stamp"].output == {"exit_code": 0, "stdout": "stamped\n", "stderr": ""}
    signing = records["shop/prod/signing-key"]
    assert (signing.props["length"], signing.props["encoding"]) == (40, "base64url")
    assert records["shop/prod/site/index"].output["absolute_path"] == f"{shop}/out/prod/site/index.html"
    assert records["shop/prod/site"].data == {"opened": "2026-11-21"}
    assert [kept.fqn for kept in done[0].plan.kept] == ["shop/prod/badge"]


async def test_the_order_is_that_of_the_source(shop: Path) -> None:
    """Each was seen before the next was declared, and what is inside a scope lies between its two ticks."""
    store = MemoryStore()
    await bring(shop, store, "prod")
    records: dict[str, Record] = dict(await store.all("shop/prod"))
    listed = [name.removeprefix("shop/prod/") for name in sorted(records, key=lambda fqn: records[fqn].seq)]
    assert listed == [
        *("shop/prod", "out", "motto", "notes", "notes/today", "session-key", "site", "site/index", "site/blog"),
        *("site/blog/first", "site/blog/last", "signing-key", "stamp", "orders", "cache", "photos", "api"),
    ]
    ticks = [tick for record in records.values() for tick in (record.seq, record.seen) if tick is not None]
    assert len(ticks) == len(set(ticks))
    site, blog = records["shop/prod/site"], records["shop/prod/site/blog"]
    assert site.seen is not None
    assert blog.seen is not None
    assert site.seq < blog.seq < blog.seen < site.seen


async def test_unfinished_work_is_told_apart(shop: Path) -> None:
    """A replaced object is still to be deleted; a create that never ended is kept aside, and said."""
    store = MemoryStore()
    (done,) = await bring(shop, store, "dev")
    orders = (await store.all("shop/dev"))["shop/dev/orders"]
    assert (orders.status, orders.generation, orders.physical_name) == (Status.UPDATED, 2, "shop-orders-2")
    (old,) = orders.generations
    assert (old.physical_name, old.verify, old.target) == ("shop-orders-dev", True, orders.target)
    assert old.output["database_id"] != orders.output["database_id"]
    kept = {one.fqn: one.why for one in done.plan.kept}
    assert kept.keys() == {"shop/dev/badge", "shop/dev/broken"}
    assert "never finished" in kept["shop/dev/broken"]
    assert done.aside is not None
    content = json.loads(done.aside.read_text())
    assert [record["fqn"] for record in content["records"]] == ["shop/dev/badge", "shop/dev/broken"]
    assert content["records"][0]["record"]["output"]["token"]["@secret"]["version"] == "v1"
    assert done.aside.stat().st_mode & 0o777 == 0o600


async def test_both_stages_come_at_once(shop: Path) -> None:
    """Without a stage all are imported, each in its own unit."""
    store = MemoryStore()
    done = await bring(shop, store)
    assert [one.plan.unit for one in done] == ["shop/dev", "shop/prod"]
    assert list(await store.list_scopes("shop")) == ["shop/dev", "shop/prod"]
    assert await store.application("shop") is not None


async def test_no_secret_is_in_clear(shop: Path) -> None:
    """Neither in state nor in what is kept aside; and the stage's key is noted as a run notes it."""
    store = FileStore(shop / ".alchemy")
    await bring(shop, store)
    written = b"".join(path.read_bytes() for path in (shop / ".alchemy").rglob("*") if path.is_file())
    for secret in (b"ink and paper", b"Good morning", PASSWORD.encode()):
        assert secret not in written
    own = (await store.all("shop/prod"))["shop/prod"]
    assert own.output["keys"].keys() == own.output["salts"].keys() == {"shop/prod"}


async def test_another_password_is_for_the_source_alone(shop: Path) -> None:
    """What is encrypted under one is stored under the other."""
    store = MemoryStore()
    await run_import(store, request(shop, "prod", password="new"))
    record = (await store.all("shop/prod"))["shop/prod/session-key"]
    opened = Cipher("new").open(record.output["value"]["@secret"], context=record.fqn)
    assert len(opened) == 48


async def test_a_wrong_password_is_an_error(shop: Path) -> None:
    """It names what did not open; nothing is written."""
    store = MemoryStore()
    with pytest.raises(SecretError, match="shop/dev/api does not open"):
        await run_import(store, request(shop, source_password="wrong"))
    assert not await store.list_scopes("")


async def test_no_password_is_an_error(shop: Path) -> None:
    """For what is read as for what is written."""
    for given in ({"source_password": None}, {"password": None}):
        with pytest.raises(ConfigurationError, match="there is no password"):
            await run_import(MemoryStore(), request(shop, **given))


async def test_a_dry_run_writes_nothing(shop: Path) -> None:
    """It says the same as the import, and leaves the folder as it was."""
    before = sorted(shop.rglob("*"))
    plans = await dry_run(None, request(shop))
    assert [(plan.unit, len(plan.items), len(plan.kept)) for plan in plans] == [
        ("shop/dev", 11, 2),
        ("shop/prod", 13, 1),
    ]
    assert sorted(shop.rglob("*")) == before


async def test_what_exists_is_not_written_over(shop: Path) -> None:
    """The records in the way are named, in a dry run too, and everything stays as it is."""
    take_out(shop, *CLOUD)
    store = MemoryStore()
    async with alchemy("shop", stage="dev", state_store=store):
        File("motto", path="elsewhere.txt", content="mine")
        async with alchemy.run("site") as site:
            await site.set("opened", "never")
    before = dict(await store.all("shop/dev"))
    for attempt in (run_import, dry_run):
        with pytest.raises(
            StateError, match="shop/dev has these already: 'opened' in the data of shop/dev/site, shop/dev/motto"
        ):
            await attempt(store, request(shop))
    assert await store.all("shop/dev") == before
    assert not await store.list("shop/prod")
    assert not (shop / ".alchemy").exists()


async def test_a_stage_that_holds_something_is_backed_up(shop: Path, events: list[Event]) -> None:
    """What was there stays, its password counts, and a backup of before is there."""
    take_out(shop, *CLOUD)
    store = MemoryStore()
    async with alchemy("shop", stage="dev", state_store=store, password=PASSWORD):
        File("other", path="other.txt", content=alchemy.secret("hidden"))
    before = dict(await store.all("shop/dev"))
    (done,) = await bring(shop, store, "dev")
    assert [done.backup] == list(await store.backups("shop/dev"))
    records = await store.all("shop/dev")
    assert records["shop/dev/other"] == before["shop/dev/other"]
    assert records["shop/dev/motto"].seq > before["shop/dev/other"].seq
    key = records["shop/dev"].output["keys"]["shop/dev"]
    assert records["shop/dev/session-key"].output["value"]["@secret"]["key"] == key


async def test_a_stage_keeps_its_password(shop: Path) -> None:
    """Secrets of one stage are never sealed under two."""
    take_out(shop, *CLOUD)
    store = MemoryStore()
    async with alchemy("shop", stage="dev", state_store=store, password="another"):
        File("other", path="other.txt", content=alchemy.secret("hidden"))
    with pytest.raises(SecretError, match="not the one that the secrets of shop/dev were encrypted with"):
        await bring(shop, store, "dev")
    assert list(await store.list("shop/dev")) == ["other"]


async def test_a_stage_in_use_is_waited_for(shop: Path) -> None:
    """While somebody holds one of the stages, none is imported."""
    store = MemoryStore()
    lease = await store.acquire("shop/prod", owner=owner_of("deploy"), timeout=0)
    with pytest.raises(LockedError):
        await bring(shop, store)
    assert not await store.list_scopes("shop")
    await store.release(lease)
    await bring(shop, store)


async def test_a_crash_leaves_all_or_nothing(shop: Path) -> None:
    """Whenever the process dies: a stage is imported whole, or not begun, and another attempt does the rest."""
    take_out(shop, *CLOUD)
    calls, whole = 1, 0
    while True:
        faults = Faults()
        inner = MemoryStore()
        faults.crash(at=calls)
        try:
            await run_import(FaultyStore(inner, faults), request(shop, "dev"))
        except Crashed:
            count = len(await inner.all("shop/dev"))
            assert count in (0, 11)
            whole += count == 11
        else:
            break
        if not count:
            await inner.break_("shop/dev")
            await run_import(inner, request(shop, "dev"))
            assert len(await inner.all("shop/dev")) == 11
        calls += 1
    assert calls > 5
    assert whole


async def test_several_stages_do_not_hide_each_other(shop: Path) -> None:
    """When the second cannot be written, the error says that the first was; it is whole, the second not begun."""
    faults = Faults()
    inner = MemoryStore()
    faults.fail("store.set shop/prod", StateError("the disk is full"))
    with pytest.raises(StateError, match="the disk is full") as raised:
        await run_import(FaultyStore(inner, faults), request(shop))
    assert raised.value.__notes__ == ["shop/dev was imported before"]
    assert len(await inner.all("shop/dev")) == 15
    assert not await inner.all("shop/prod")


async def test_what_is_kept_aside_is_written_first(shop: Path) -> None:
    """Where it cannot be, nothing is imported."""
    (shop / ".alchemy").write_text("a file where a folder should be")
    store = MemoryStore()
    with pytest.raises(StateError, match="cannot be written: File exists"):
        await bring(shop, store, "dev")
    assert not await store.all("shop/dev")


def test_the_command_says_which_stages_are_done(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside what went wrong with the one that failed."""

    def fail_once(folder: Path, source: Source, plan: Plan, kept: Sequence[dict[str, Any]]) -> Path:
        if plan.unit == "shop/prod":
            raise StateError("the disk is full")
        return write_aside(folder, source, plan, kept)

    monkeypatch.setattr(writing, "write_aside", fail_once)
    monkeypatch.setenv("ALCHEMY_PASSWORD", PASSWORD)
    assert run(["state", "import", "alchemy-ts", "--yes"]) == 1
    said = capsys.readouterr()
    assert "shop/dev was imported before" in said.err
    assert "the disk is full" in said.err


async def test_options_of_the_program_agree(shop: Path) -> None:
    """`delete: false` there is `Options(retain=True)` here: such an object is left alone."""
    take_out(shop, *CLOUD, "badge", "broken")
    path = shop / "alchemy-ts/shop/dev/out.json"
    record = json.loads(path.read_text())
    record["props"]["delete"] = False
    path.write_text(json.dumps(record))
    store = MemoryStore()
    await bring(shop, store, "dev")
    assert (await store.all("shop/dev"))["shop/dev/out"].retain
    async with alchemy("shop", stage="dev", state_store=store):
        Folder("out", path="out/dev", options=Options(retain=True))
    assert (await store.all("shop/dev"))["shop/dev/out"].retain
