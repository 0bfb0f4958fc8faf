"""How long Durable Objects live: who is in memory, letting one go, and deleting what one has stored."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from cloudflare import AsyncCloudflare
from tests.amounts import amount

from alchemy.local import (
    LocalCloudflare,
    LocalCloudflareError,
    ObjectClass,
    StoredObject,
    delete_object,
    evict_all_objects,
    evict_object,
    local_cloudflare,
    object_classes,
)

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]

Deploy = Callable[..., Awaitable[str]]
ROOM = """
import { DurableObject } from "cloudflare:workers";
export class Corner extends DurableObject {
  visit() {
    this.ctx.storage.kv.put("visits", 1 + (this.ctx.storage.kv.get("visits") ?? 0));
    return this.ctx.storage.kv.get("visits");
  }
}
export class Room extends DurableObject {
  visits = 0;
  async fetch(request) {
    switch (new URL(request.url).pathname) {
      case "/wait": await new Promise((resolve) => { this.let_go = resolve; }); break;
      case "/waiting": return Response.json(this.let_go ? [1] : []);
      case "/go": this.let_go(); break;
      case "/tick": setInterval(() => {}, 1000); break;
      case "/corner": {
        const corner = this.ctx.facets.get("corner", () => ({ class: this.ctx.exports.Corner }));
        return Response.json([await corner.visit()]);
      }
      case "/alarm": await this.ctx.storage.setAlarm(Date.now() + 3_600_000); break;
    }
    const { sql } = this.ctx.storage;
    sql.exec("CREATE TABLE IF NOT EXISTS n (at INTEGER)");
    sql.exec("INSERT INTO n VALUES (1)");
    return Response.json([++this.visits, sql.exec("SELECT count(*) AS n FROM n").one().n]);
  }
  alarm() {}
}
"""
GATE = """
const rooms = (env, how, what) => ({
  name: () => env.ROOM.get(env.ROOM.idFromName(what)),
  by: () => env.ROOM.getByName(what),
  unique: () => env.ROOM.get(env.ROOM.newUniqueId()),
  id: () => env.ROOM.get(env.ROOM.idFromString(what)),
})[how]();
export default {
  fetch(request, env) {
    const [, how, what, path] = new URL(request.url).pathname.split("/");
    return rooms(env, how, what).fetch("http://room/" + path);
  },
};
"""
BINDING = {"type": "durable_object_namespace", "name": "ROOM", "class_name": "Room"}
NEW = {"new_tag": "v1", "new_sqlite_classes": ["Room"]}


@dataclass
class Rooms:
    """A Worker of the test's own with objects of the class `Room`."""

    info: LocalCloudflare
    http: httpx.AsyncClient
    script: str
    url: str

    async def visit(self, path: str) -> list[int]:
        """Visit a room; give its visits since it was constructed, and all that it has stored."""
        answer = await self.http.get(f"{self.url}/{path}")
        assert answer.status_code == 200, answer.text
        visits: list[int] = answer.json()
        return visits

    async def found(self) -> ObjectClass:
        """Give the class as it is listed."""
        (found,) = [each for each in await object_classes(self.info.data_dir) if each.script == self.script]
        return found

    async def room(self, name: str) -> StoredObject:
        """Give the object of this name as it is listed."""
        (found,) = [each for each in (await self.found()).objects if each.name == name]
        return found

    async def evict(self, name: str, *, seconds: int = 30) -> bool:
        """Evict the object of this name."""
        namespace, room = (await self.found()).namespace, await self.room(name)
        return await evict_object(self.info.data_dir, namespace, room.id, seconds=seconds)


@pytest.fixture
async def rooms(
    client: AsyncCloudflare,
    cloud: LocalCloudflare,
    deploy: Deploy,
    http: httpx.AsyncClient,
    request: pytest.FixtureRequest,
) -> Rooms:
    """Rooms that nobody has visited."""
    script = re.sub(r"[^a-z]+", "-", request.node.name)
    url = await deploy(client, cloud, script, ROOM + GATE, bindings=[BINDING], migrations=NEW)
    return Rooms(cloud, http, script, url)


async def test_what_is_listed(client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, rooms: Rooms) -> None:
    """Objects are listed by the name that a Worker asked for them by, with what they store; all here are in memory."""
    borrowed = {**BINDING, "script_name": rooms.script}
    other = replace(rooms, url=await deploy(client, cloud, "visiting", GATE, bindings=[borrowed]))
    assert [await rooms.visit(path) for path in ("name/b/", "unique/-/")] == [[1, 1], [1, 1]]
    assert [await other.visit(path) for path in ("by/b/", "by/a/")] == [[2, 2], [1, 1]]
    found = await rooms.found()
    assert (found.name, [each.name for each in found.objects]) == ("Room", ["a", "b", None])
    assert all(each.in_memory and each.size > 4096 for each in found.objects)
    assert await rooms.visit(f"id/{found.objects[2].id}/") == [2, 2]


@pytest.mark.torture
@pytest.mark.parametrize("path", ["name/a/", "name/a/tick"][: amount(1, 2)])
async def test_an_idle_object_goes_by_itself(rooms: Rooms, path: str) -> None:
    """After 10 seconds; with a timer within 70 to 140. Looking does not keep it, and what it stored stays."""
    assert await rooms.visit(path) == [1, 1]
    async with asyncio.timeout(300):
        while (await rooms.room("a")).in_memory:
            await asyncio.sleep(0.5)
    assert await rooms.visit("name/a/") == [1, 2]


async def test_an_evicted_object_is_constructed_anew(rooms: Rooms) -> None:
    """It goes from memory alone, what it stored stays, and evicting what is not in memory changes nothing."""
    assert [await rooms.visit(path) for path in ("name/a/", "name/a/", "name/b/")] == [[1, 1], [2, 2], [1, 1]]
    assert await rooms.evict("a") is True
    assert [each.in_memory for each in (await rooms.found()).objects] == [False, True]
    assert await rooms.evict("a") is False
    assert [await rooms.visit(path) for path in ("name/a/", "name/b/")] == [[1, 3], [2, 2]]


async def test_an_eviction_waits_for_what_is_going_on(rooms: Rooms) -> None:
    """A request in flight is answered by the object that began it, and the next one by a new object."""
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(rooms.visit("name/a/wait"))
        while not await rooms.visit("name/a/waiting"):
            await asyncio.sleep(0)
        with pytest.raises(LocalCloudflareError, match="something to do"):
            await rooms.evict("a", seconds=1)
        evicting = group.create_task(rooms.evict("a"))
        await rooms.visit("name/a/go")
    assert waiting.result()[0] > 1
    assert evicting.result() is True
    assert (await rooms.visit("name/a/"))[0] == 1


async def test_a_timer_holds_an_object(rooms: Rooms) -> None:
    """What cannot be evicted goes with all others when workerd is started anew."""
    await rooms.visit("name/a/tick")
    with pytest.raises(LocalCloudflareError):
        await rooms.evict("a", seconds=1)
    assert (await rooms.room("a")).in_memory
    await evict_all_objects(rooms.info.data_dir)
    assert not (await rooms.room("a")).in_memory
    assert await rooms.visit("name/a/") == [1, 2]


async def test_one_objects_storage_is_deleted(rooms: Rooms) -> None:
    """The next request finds it empty, its alarm never comes, and others keep what they have. Again is fine."""
    for path in ("name/a/", "name/a/alarm", "name/b/", "name/b/alarm"):
        await rooms.visit(path)
    namespace, one = (await rooms.found()).namespace, await rooms.room("a")
    assert await delete_object(rooms.info.data_dir, namespace, one.id) == one.size
    assert await delete_object(rooms.info.data_dir, namespace, one.id) == 0
    assert [each.name for each in (await rooms.found()).objects] == ["b"]
    assert alarms(rooms.info, namespace) == [(await rooms.room("b")).id]
    assert [await rooms.visit(path) for path in ("name/a/", "name/b/")] == [[1, 1], [1, 3]]


async def test_facets_are_part_of_their_object(rooms: Rooms) -> None:
    """They are not listed, go from memory with it, and what they have stored is deleted with what it has."""
    assert [await rooms.visit("name/a/corner") for _ in range(2)] == [[1], [2]]
    (room,) = (await rooms.found()).objects
    assert await rooms.evict("a") is True
    assert await rooms.visit("name/a/corner") == [3]
    await delete_object(rooms.info.data_dir, (await rooms.found()).namespace, room.id)
    assert await rooms.visit("name/a/corner") == [1]


def alarms(info: LocalCloudflare, namespace: str) -> list[str]:
    """Give the ids of the objects that have an alarm."""
    table = info.data_dir / "storage" / "do" / namespace / "metadata.sqlite"
    with contextlib.closing(sqlite3.connect(f"file:{table}?mode=ro", uri=True)) as database:
        return [row[0] for row in database.execute("SELECT actor_id FROM _cf_ALARM")]


async def test_what_there_is_not(tmp_path: Path, rooms: Rooms) -> None:
    """A namespace that is none, an id of another namespace, a path, and a local Cloudflare that does not run."""
    namespace, data = (await rooms.found()).namespace, rooms.info.data_dir
    assert await rooms.visit("name/a/") == [1, 1]
    others = [(namespace, what) for what in ("0" * 64, "metadata", "..", "..%2Fx", "")]
    for where, what in (("f" * 32, "0" * 64), *others):
        with pytest.raises(LocalCloudflareError):
            await evict_object(data, where, what)
        with pytest.raises(LocalCloudflareError):
            await delete_object(data, where, what)
    assert await rooms.visit("name/a/") == [2, 2]
    with pytest.raises(LocalCloudflareError, match="not running"):
        await object_classes(tmp_path)


async def test_names_are_still_known_after_a_restart(
    tmp_path: Path, connect: Callable[[LocalCloudflare], AsyncCloudflare], deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """They lie beside the data, and go with the class."""
    gone = {"old_tag": "v1", "new_tag": "v2", "deleted_classes": ["Room"]}
    async with local_cloudflare(tmp_path) as info, connect(info) as client:
        url = await deploy(client, info, "rooms", ROOM + GATE, bindings=[BINDING], migrations=NEW)
        assert await Rooms(info, http, "rooms", url).visit("name/a/") == [1, 1]
    async with local_cloudflare(tmp_path) as info, connect(info) as client:
        assert not (await Rooms(info, http, "rooms", url).room("a")).in_memory
        await deploy(client, info, "rooms", "export default { fetch: () => new Response() };", migrations=gone)
        assert list((tmp_path / "storage" / "names").iterdir()) == []


async def test_the_pattern_of_the_docs_migrates_what_is_stored(
    client: AsyncCloudflare, cloud: LocalCloudflare, deploy: Deploy, http: httpx.AsyncClient
) -> None:
    """The guide's class over what its first version stored; and code that is older than the data refuses it."""
    page = (Path(__file__).parents[3] / "docs" / "durable-objects.md").read_text("utf-8")
    (newer,) = re.findall(r"```js\n(import .*?)```", page, re.DOTALL)
    older = re.sub(r"  \"ALTER.*\n", "", newer)
    gate = "export default { fetch: (request, env) => env.LEDGER.getByName('org_default').fetch(request) };"
    bindings = [{**BINDING, "name": "LEDGER", "class_name": "Ledger"}]
    new = {"new_tag": "v1", "new_sqlite_classes": ["Ledger"]}
    url = await deploy(client, cloud, "ledger", older + gate, bindings=bindings, migrations=new)
    assert (await http.post(url, content="one")).json() == [{"id": 1, "what": "one"}]
    await deploy(client, cloud, "ledger", newer + gate, bindings=bindings)
    assert (await http.get(url)).json() == [{"id": 1, "what": "one", "author": "nobody"}]
    await deploy(client, cloud, "ledger", older + gate, bindings=bindings)
    assert (await http.get(url)).status_code == 500
