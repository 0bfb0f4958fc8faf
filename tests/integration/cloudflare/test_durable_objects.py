"""Durable Object classes over whole deploys, on the real workerd: what was stored goes where the class goes."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.network import LOST, LOST_ANSWER, PASSES, Fate, answering, network

from alchemy import Options, alchemy
from alchemy.clients.cloudflare import Cloudflare
from alchemy.cloudflare import DurableObjectNamespace, Worker
from alchemy.cloudflare._upload import namespaces
from alchemy.errors import AlchemyError
from alchemy.local import LocalCloudflare
from alchemy.upkeep.reset import reset

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]

_COUNTER = """export class NAME extends DurableObject {
  async fetch() {
    const { sql } = this.ctx.storage;
    sql.exec("CREATE TABLE IF NOT EXISTS n (at INTEGER)");
    sql.exec("INSERT INTO n VALUES (1)");
    return new Response(String(sql.exec("SELECT count(*) AS n FROM n").one().n));
  }
}
"""
_ASKS = """export default { fetch(request, env) {
  const url = new URL(request.url);
  const counter = env[url.searchParams.get("in") ?? "ROOM"];
  return counter ? counter.get(counter.idFromName(url.pathname)).fetch(request) : new Response("unbound");
} };
"""


def counting(*names: str) -> str:
    """Give a script whose classes `names` count their requests, and which passes requests on to what it is bound to."""
    classes = "".join(_COUNTER.replace("NAME", name) for name in names)
    return f'import {{ DurableObject }} from "cloudflare:workers";\n{classes}{_ASKS}'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """State of its own for each test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def classes(api: Cloudflare, script: str) -> dict[str, str]:
    """Give the ids of a script's namespaces by class."""
    return {each.class_name: each.id for each in await namespaces(api) if each.script == script}


async def count(http: httpx.AsyncClient, worker: Worker, path: str = "/a", *, within: str = "ROOM") -> str:
    """Ask an object to count one more."""
    answer = await http.get(f"{worker.url}{path}", params={"in": within})
    return answer.text


async def test_a_class_lives(api: Cloudflare, http: httpx.AsyncClient) -> None:
    """Declared, made with the Worker and answering; nothing is done while nothing changes; gone with the Worker."""

    async def deploy(phase: Any = "up", script: str = counting("Room")) -> Worker:
        async with alchemy("objects", stage="lives", phase=phase) as app:
            rooms = DurableObjectNamespace("rooms", class_name="Room")
            worker = await Worker("api", script=script, bindings={"ROOM": rooms})
        assert app is not None
        return worker

    worker = await deploy()
    assert [await count(http, worker, path) for path in ("/a", "/a", "/b")] == ["1", "2", "1"]
    before = await classes(api, worker.script_name)
    again = await deploy()
    assert again.etag == worker.etag
    newer = await deploy(script=counting("Room") + "// newer")
    assert newer.etag != worker.etag
    assert await classes(api, worker.script_name) == before
    assert await count(http, newer) == "3"
    async with alchemy("objects", stage="lives", phase="destroy"):
        pass
    assert await classes(api, worker.script_name) == {}


Program = Callable[[], Awaitable[Worker]]


async def run(program: Program, *, stage: str, **options: Any) -> Worker:
    """Deploy a program, and give the Worker that it returns."""
    async with alchemy("objects", stage=stage, retry_delay=0.01, **options) as app:
        worker = await program()
    assert app is not None
    return worker


async def destroy(stage: str) -> None:
    """Destroy what is in state."""
    async with alchemy("objects", stage=stage, phase="destroy"):
        pass


def one(class_name: str = "Room", **more: Any) -> Program:
    """Give a program with one Worker that is bound to a class of its own."""

    async def program() -> Worker:
        rooms = DurableObjectNamespace("rooms", class_name=class_name, **more)
        return await Worker("api", script=counting(class_name), bindings={"ROOM": rooms})

    return program


async def without() -> Worker:
    """Declare the Worker without its class."""
    return await Worker("api", script=counting())


async def test_a_renamed_class_keeps_its_data(api: Cloudflare, http: httpx.AsyncClient) -> None:
    """The same id with another class name: the class is renamed, once."""
    worker = await run(one(), stage="renames")
    assert await count(http, worker) == "1"
    before = await classes(api, worker.script_name)
    worker = await run(one("Lobby"), stage="renames")
    assert await count(http, worker) == "2"
    assert await classes(api, worker.script_name) == {"Lobby": before["Room"]}
    worker = await run(one("Lobby"), stage="renames", force=True)
    assert await count(http, worker) == "3"
    await destroy("renames")


async def test_a_resource_may_be_called_otherwise(api: Cloudflare, http: httpx.AsyncClient) -> None:
    """Another id for the same class of the same Worker is the same namespace; an alias may be renamed as well."""

    def called(id: str, class_name: str, **options: Any) -> Program:
        async def program() -> Worker:
            rooms = DurableObjectNamespace(id, class_name=class_name, options=Options(**options))
            return await Worker("api", script=counting(class_name), bindings={"ROOM": rooms})

        return program

    worker = await run(called("rooms", "Room"), stage="called")
    assert await count(http, worker) == "1"
    worker = await run(called("halls", "Room"), stage="called")
    assert await count(http, worker) == "2"
    worker = await run(called("lounges", "Lounge", aliases=["halls"]), stage="called")
    assert await count(http, worker) == "3"
    await destroy("called")


async def test_a_class_with_objects_is_not_deleted_without_a_word(api: Cloudflare, http: httpx.AsyncClient) -> None:
    """It is refused before anything is touched; with the word its data goes, and a later one of that name is empty."""
    worker = await run(one(), stage="deletes")
    assert await count(http, worker) == "1"
    before = await classes(api, worker.script_name)
    with pytest.raises(ExceptionGroup) as caught:
        await run(without, stage="deletes")
    (refused,) = caught.value.exceptions
    assert isinstance(refused, AlchemyError)
    assert worker.script_name in refused.message
    assert "'Room'" in refused.message
    assert "empty_on_delete=True" in (refused.hint or "")
    assert await count(http, worker) == "2"
    assert await classes(api, worker.script_name) == before

    await run(one(empty_on_delete=True), stage="deletes")
    assert await count(http, worker) == "3"
    worker = await run(without, stage="deletes")
    assert await classes(api, worker.script_name) == {}
    assert await count(http, worker) == "unbound"
    worker = await run(one(), stage="deletes")
    assert await count(http, worker) == "1"
    await destroy("deletes")


async def test_a_class_without_objects_goes_without_a_word(api: Cloudflare) -> None:
    """Nothing was ever stored, so that nothing can be lost."""
    await run(one(), stage="empty")
    worker = await run(without, stage="empty")
    assert await classes(api, worker.script_name) == {}
    await destroy("empty")


async def test_a_class_that_is_unbound_and_still_declared(api: Cloudflare, http: httpx.AsyncClient) -> None:
    """What the program declares still is not deleted, word or no word."""
    worker = await run(one(empty_on_delete=True), stage="unbound")
    assert await count(http, worker) == "1"

    async def unbound() -> Worker:
        DurableObjectNamespace("rooms", class_name="Room", empty_on_delete=True)
        return await Worker("api", script=counting())

    with pytest.raises(ExceptionGroup) as caught:
        await run(unbound, stage="unbound")
    assert "still declares objects/unbound/rooms" in str(caught.value.exceptions[0])
    assert await count(http, worker) == "2"
    await destroy("unbound")


@pytest.mark.parametrize("by", ["resource", "name"])
async def test_a_class_of_another_worker(api: Cloudflare, http: httpx.AsyncClient, by: str) -> None:
    """Who is bound to another Worker's class meets the same objects; it is deployed after it and goes before it."""
    stage = f"other-{by}"

    async def program() -> Worker:
        own = DurableObjectNamespace("rooms", class_name="Room")
        holder = Worker("holder", script=counting("Room"), bindings={"ROOM": own})
        of = holder if by == "resource" else (await holder).script_name
        theirs = DurableObjectNamespace("their-rooms", class_name="Room", script_name=of)
        return await Worker("api", script=counting(), bindings={"ROOM": theirs})

    worker = await run(program, stage=stage)
    assert [await count(http, worker) for _ in range(2)] == ["1", "2"]
    assert (await run(program, stage=stage)).etag == worker.etag
    await destroy(stage)
    assert await namespaces(api) == []


def moved(to: str | None, *, of: str = "first", **more: Any) -> Program:
    """Give a program of two Workers: `to` has the class, and the other is bound to it as another one's."""

    async def program() -> Worker:
        rooms = DurableObjectNamespace("rooms", class_name="Room", **more)
        names = ["first", "second"] if to == "first" else ["second", "first"]
        holder = Worker(names[0], script=counting("Room"), bindings={"ROOM": rooms})
        theirs = DurableObjectNamespace("their-rooms", class_name="Room", script_name=holder)
        other = Worker(names[1], script=counting(), bindings={"ROOM": theirs})
        return await (holder if of == to else other)

    return program


async def test_a_class_moves_to_another_worker(api: Cloudflare, http: httpx.AsyncClient) -> None:
    """Bound to another Worker of the program, it takes its data along; who had it may be bound to it there."""
    first = await run(moved("first"), stage="moves")
    assert await count(http, first) == "1"
    before = await classes(api, first.script_name)
    for round, to in enumerate(["second", "first", "second"]):
        worker = await run(moved(to, of="second"), stage="moves")
        assert await count(http, worker) == str(2 * round + 2)
        assert await count(http, first) == str(2 * round + 3)
    assert await classes(api, first.script_name) == {}
    assert await classes(api, worker.script_name) == before
    await destroy("moves")


async def test_the_worker_that_takes_a_class_comes_first(api: Cloudflare, http: httpx.AsyncClient) -> None:
    """The other way round is refused before anything is touched, and says how; as the hint says, it goes."""
    worker = await run(moved("first"), stage="order")
    assert await count(http, worker) == "1"

    def program(*, right: bool) -> Program:
        async def run_it() -> Worker:
            rooms = DurableObjectNamespace("rooms", class_name="Room", empty_on_delete=True)
            if not right:
                await Worker("first", script=counting())
            second = Worker("second", script=counting("Room"), bindings={"ROOM": rooms})
            if right:
                Worker("first", script=counting(), options=Options(depends_on=[second]))
            return await second

        return run_it

    with pytest.raises(ExceptionGroup) as caught:
        await run(program(right=False), stage="order")
    assert "depends_on" in str(getattr(caught.value.exceptions[0], "hint", ""))
    assert await count(http, worker) == "2"
    second = await run(program(right=True), stage="order")
    assert await count(http, second) == "3"
    await destroy("order")


async def test_a_worker_is_split_into_several(api: Cloudflare, http: httpx.AsyncClient) -> None:
    """All of its classes move at the same time, each to a Worker of its own."""
    names = ["A", "B", "C"]

    def program(*, split: bool, asked: list[str]) -> Program:
        async def run_it() -> Worker:
            spaces = {name: DurableObjectNamespace(name, class_name=name) for name in names}
            if not split:
                return await Worker("all", script=counting(*names), bindings=spaces)
            takers = {
                name: Worker(f"of-{name}", script=counting(name), bindings={"ROOM": spaces[name]}) for name in names
            }
            giver = Worker("all", script=counting(), options=Options(depends_on=[*takers.values()]))
            asked.extend([await count(http, await taker) for taker in takers.values()])
            return await giver

        return run_it

    asked: list[str] = []
    worker = await run(program(split=False, asked=asked), stage="split")
    assert [await count(http, worker, within=name) for name in names] == ["1", "1", "1"]
    before = {each.id for each in await namespaces(api)}
    await run(program(split=True, asked=asked), stage="split")
    assert asked == ["2", "2", "2"]
    assert {each.id for each in await namespaces(api)} == before
    await destroy("split")


async def test_a_new_class_does_not_take_the_data_of_one_that_moves(api: Cloudflare, http: httpx.AsyncClient) -> None:
    """A Worker that gets a new class of the name of the one it gives away comes second too, or is refused."""
    worker = await run(moved("first"), stage="takes")
    assert await count(http, worker) == "1"

    def program(*, right: bool) -> Program:
        async def run_it() -> Worker:
            rooms = DurableObjectNamespace("rooms", class_name="Room")
            halls = DurableObjectNamespace("halls", class_name="Room")
            if not right:
                await Worker("first", script=counting("Room"), bindings={"ROOM": halls})
            second = await Worker("second", script=counting("Room"), bindings={"ROOM": rooms})
            if right:
                first = await Worker("first", script=counting("Room"), bindings={"ROOM": halls})
                assert await count(http, first) == "1"
            return second

        return run_it

    with pytest.raises(ExceptionGroup) as caught:
        await run(program(right=False), stage="takes")
    assert "the program still declares objects/takes/rooms" in str(caught.value.exceptions[0])
    assert await count(http, worker) == "2"
    second = await run(program(right=True), stage="takes")
    assert await count(http, second) == "3"
    await destroy("takes")


async def test_a_worker_under_another_name_keeps_its_classes(api: Cloudflare, http: httpx.AsyncClient) -> None:
    """Replaced for its name, or declared with another id: the new one takes the classes before the old one goes."""
    for round, (id, name) in enumerate([("api", "objects-one"), ("api", "objects-two"), ("web", "objects-three")]):
        worker = await run(called(id, name), stage="named")
        assert await count(http, worker) == str(round + 1)
        assert {each.script for each in await namespaces(api)} == {name}
    await destroy("named")


def two(to: str) -> Program:
    """Give a program of two Workers, the one called `to` with the class, and the other not knowing of it."""

    async def program() -> Worker:
        rooms = DurableObjectNamespace("rooms", class_name="Room")
        holder = Worker(to, script=counting("Room"), bindings={"ROOM": rooms})
        other = "second" if to == "first" else "first"
        Worker(other, script=counting(), options=Options(depends_on=[holder]))
        return await holder

    return program


async def cut_off(
    cloud: LocalCloudflare,
    monkeypatch: pytest.MonkeyPatch,
    cut: int | Callable[[str], bool],
    program: Program,
    *,
    stage: str = "cut",
) -> bool:
    """Deploy through a network that fails for good after one request's effect; say whether it came to that.

    Args:
        cut: that request: the how many-th it is, or what is true of its head.
    """
    seen = 0
    lost = False

    def decide(head: str, _body: bytes) -> Fate:
        nonlocal seen, lost
        seen += 1
        if lost:
            return LOST
        lost = seen == cut if isinstance(cut, int) else cut(head)
        return LOST_ANSWER if lost else PASSES

    async with network(cloud, decide) as url:
        with monkeypatch.context() as patched:
            patched.setenv("CLOUDFLARE_BASE_URL", url)
            with contextlib.suppress(ExceptionGroup, AlchemyError):
                await run(program, stage=stage, max_retries=0)
    return lost


@pytest.mark.parametrize(
    "states",
    [pytest.param((one(), one("Lobby")), id="rename"), pytest.param((two("first"), two("second")), id="transfer")],
)
async def test_data_survives_a_cut_at_any_request(
    states: tuple[Program, Program],
    cloud: LocalCloudflare,
    api: Cloudflare,
    http: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever request of a deploy is the last with an effect, the next run goes on, and the data is where it should.

    From one state to the other and back, cut off one request later each time.
    """
    assert await count(http, await run(states[0], stage="cut")) == "1"
    before = {each.id for each in await namespaces(api)}
    cut, done = 1, False
    while not done:
        program = states[cut % 2]
        done = not await cut_off(cloud, monkeypatch, cut, program)
        assert await count(http, await run(program, stage="cut")) == str(cut + 1)
        assert {each.id for each in await namespaces(api)} == before
        cut += 1
    assert cut > 4
    await destroy("cut")


def called(id: str, name: str) -> Program:
    """Give a program with one Worker of this id and name, which has the class."""

    async def program() -> Worker:
        rooms = DurableObjectNamespace("rooms", class_name="Room")
        return await Worker(id, name=name, script=counting("Room"), bindings={"ROOM": rooms})

    return program


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(two("first"), two("second"), id="another worker"),
        pytest.param(called("api", "objects-one"), called("web", "objects-two"), id="another id"),
        pytest.param(called("api", "objects-one"), called("api", "objects-two"), id="another name"),
    ],
)
@pytest.mark.parametrize("at", ["PATCH .*/settings ", "POST .*/subdomain "])
async def test_a_move_is_cut_off_and_not_wanted_any_more(
    before: Program,
    after: Program,
    at: str,
    cloud: LocalCloudflare,
    api: Cloudflare,
    http: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its data is not deleted with the Worker that took it, and goes back to the one that had it, when forced to."""
    assert await count(http, await run(before, stage="back")) == "1"
    (there,) = await namespaces(api)
    await cut_off(cloud, monkeypatch, lambda head: re.match(at, head) is not None, after, stage="back")
    (moved,) = await namespaces(api)
    assert (moved.id, moved.script != there.script) == (there.id, True)
    with pytest.raises(ExceptionGroup) as caught:
        await run(before, stage="back")
    assert "deploy with --force" in str(getattr(caught.value.exceptions[0], "hint", ""))
    with contextlib.suppress(ExceptionGroup):  # who is to give it back may be asked before who takes it
        await run(before, stage="back", force=True)
    worker = await run(before, stage="back", force=True)
    assert await count(http, worker) == "2"
    assert await namespaces(api) == [there]
    await destroy("back")


@pytest.mark.parametrize(
    ("before", "after", "left"),
    [pytest.param(without, one(), 1, id="create"), pytest.param(one(empty_on_delete=True), without, 0, id="delete")],
)
async def test_classes_come_and_go_over_a_cut_at_any_request(
    before: Program,
    after: Program,
    left: int,
    cloud: LocalCloudflare,
    api: Cloudflare,
    http: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever request is the last with an effect: after the next run there is one class, or none, and no more."""
    cut, done = 1, False
    while not done:
        assert await count(http, await run(before, stage="cut")) == ("unbound" if left else "1")
        done = not await cut_off(cloud, monkeypatch, cut, after)
        worker = await run(after, stage="cut")
        assert await count(http, worker) == ("1" if left else "unbound")
        assert len(await namespaces(api)) == left
        await destroy("cut")
        cut += 1
    assert cut > 4


@pytest.mark.parametrize("program", [pytest.param(one(), id="one"), pytest.param(two("first"), id="two")])
async def test_what_was_begun_is_destroyed(
    program: Program, cloud: LocalCloudflare, api: Cloudflare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever request of a first deploy is the last with an effect: a destroy after it leaves nothing behind."""
    cut, done = 1, False
    while not done:
        done = not await cut_off(cloud, monkeypatch, cut, program)
        await destroy("cut")
        assert [script.id async for script in api.sdk.workers.scripts.list(account_id=api.account_id)] == []
        cut += 1
    assert cut > 4


async def test_a_class_and_who_is_bound_to_it_leave_together(api: Cloudflare) -> None:
    """Cloudflare deletes no class that another Worker is bound to: what waits for that one tries again."""

    async def before() -> Worker:
        rooms = DurableObjectNamespace("rooms", class_name="Room")
        holder = Worker("holder", script=counting("Room"), bindings={"ROOM": rooms})
        theirs = DurableObjectNamespace("their-rooms", class_name="Room", script_name=holder)
        return await Worker("api", script=counting(), bindings={"ROOM": theirs})

    async def after() -> Worker:
        Worker("holder", script=counting())
        return await Worker("api", script=counting())

    await run(before, stage="together")
    await run(after, stage="together", max_retries=10)
    assert await namespaces(api) == []
    await destroy("together")


def refusing(asked: list[str], *, code: int | None) -> Callable[[str, bytes], Fate]:
    """Decide as an API does that refuses `exports`; with `code=None` it does not know them, and passes over them."""

    def decide(head: str, body: bytes) -> Fate:
        if b'"exports"' not in body:
            return PASSES
        asked.append(head)
        if code is not None:
            return Fate(arrives=False, answer=answering(400, code=code))
        return Fate(body=body.replace(b'"exports"', b'"unknown"'))

    return decide


@pytest.mark.parametrize("code", [10061, 100405, None])
async def test_an_api_that_does_not_take_exports(
    cloud: LocalCloudflare,
    api: Cloudflare,
    http: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    code: int | None,
) -> None:
    """Migrations do the same: made, renamed, moved, deleted; and the record knows, so that exports come no more."""
    stage = f"older-{code}"
    asked: list[str] = []
    async with network(cloud, refusing(asked, code=code)) as url:
        monkeypatch.setenv("CLOUDFLARE_BASE_URL", url)
        worker = await run(two("first"), stage=stage)
        assert await count(http, worker) == "1"
        assert len(asked) == 1
        worker = await run(two("second"), stage=stage)
        assert await count(http, worker) == "2"
        asked.clear()

        async def renamed() -> Worker:
            rooms = DurableObjectNamespace("rooms", class_name="Lobby", empty_on_delete=True)
            return await Worker("second", script=counting("Lobby"), bindings={"ROOM": rooms})

        worker = await run(renamed, stage=stage)
        assert await count(http, worker) == "3"

        async def gone() -> Worker:
            return await Worker("second", script=counting())

        worker = await run(gone, stage=stage)
        assert await classes(api, worker.script_name) == {}
        await destroy(stage)
    assert asked == []


async def test_a_worker_that_handed_a_class_over_has_exports(
    cloud: LocalCloudflare, api: Cloudflare, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made by migrations, it has them by another Worker's move, which its own record says nothing of."""

    def program(*, moves: bool) -> Program:
        async def run_it() -> Worker:
            rooms = DurableObjectNamespace("rooms", class_name="Room")
            halls = DurableObjectNamespace("halls", class_name="Hall")
            if not moves:
                return await Worker("first", script=counting("Room", "Hall"), bindings={"ROOM": rooms, "HALL": halls})
            await Worker("second", script=counting("Room"), bindings={"ROOM": rooms})
            return await Worker("first", script=counting("Hall"), bindings={"HALL": halls})

        return run_it

    async with network(cloud, refusing([], code=None)) as url:
        with monkeypatch.context() as patched:
            patched.setenv("CLOUDFLARE_BASE_URL", url)
            worker = await run(program(moves=False), stage="handed")
    assert await count(http, worker, within="HALL") == "1"
    worker = await run(program(moves=True), stage="handed")
    assert await count(http, worker, within="HALL") == "2"
    await destroy("handed")


async def test_a_deploy_without_exports_is_cut_off(
    cloud: LocalCloudflare, api: Cloudflare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it is not known which form was taken, both are tried again, also to delete what was just made."""
    asked: list[str] = []
    lost = False

    def decide(head: str, body: bytes) -> Fate:
        nonlocal lost
        if lost:
            return LOST
        lost = b'"migrations"' in body
        return LOST_ANSWER if lost else refusing(asked, code=None)(head, body)

    async with network(cloud, decide) as url:
        monkeypatch.setenv("CLOUDFLARE_BASE_URL", url)
        with pytest.raises(ExceptionGroup):
            await run(one(), stage="over", max_retries=0)
    assert len(await namespaces(api)) == 1
    async with network(cloud, refusing(asked, code=None)) as url:
        monkeypatch.setenv("CLOUDFLARE_BASE_URL", url)
        await run(without, stage="over")
        assert await namespaces(api) == []
        assert len(asked) == 2
        await destroy("over")


async def test_what_neither_form_can_do(
    cloud: LocalCloudflare, api: Cloudflare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When both are refused the first refusal is told; when it is no question of the form, there is no second try."""
    asked: list[str] = []
    codes = {b'"exports"': 10061, b'"migrations"': 10074}

    def decide(head: str, body: bytes) -> Fate:
        for word, code in codes.items():
            if word in body:
                asked.append(head)
                return Fate(arrives=False, answer=answering(400, code=code))
        return PASSES

    async with network(cloud, decide) as url:
        monkeypatch.setenv("CLOUDFLARE_BASE_URL", url)
        with pytest.raises(ExceptionGroup) as caught:
            await run(one(), stage="neither")
        assert "10061" in str(caught.value.exceptions[0])
        assert len(asked) == 2
        codes[b'"exports"'] = 100402
        with pytest.raises(ExceptionGroup) as caught:
            await run(one(), stage="neither")
        assert "100402" in str(caught.value.exceptions[0])
        assert len(asked) == 3
    assert await namespaces(api) == []


@pytest.mark.parametrize("way", ["reset", "lost"])
async def test_a_record_that_is_gone_takes_no_data_along(
    api: Cloudflare, http: httpx.AsyncClient, folder: Path, way: str
) -> None:
    """State is made anew from what is there: a class is known by its name."""
    worker = await run(one(), stage="lost")
    assert await count(http, worker) == "1"
    before = await classes(api, worker.script_name)
    if way == "reset":
        await reset("objects/lost", "objects/lost")
    else:
        shutil.rmtree(folder / ".alchemy" / "objects" / "lost")
    worker = await run(one(), stage="lost")
    assert await count(http, worker) == "2"
    assert await classes(api, worker.script_name) == before
    await destroy("lost")
