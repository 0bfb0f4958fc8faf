"""More than one answer, and than memory, can hold: records of any number and size are written and read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.integration.service.clients import TOKEN, Client, Open

from alchemy.errors import StateError
from alchemy.local import _state_service
from alchemy.local.runtime.capnp import Value, document
from alchemy.local.runtime.wiring import Wiring
from alchemy.stores import CloudflareStateStore
from alchemy.testing.contract import UNIT, a_resource, an_owner

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]
MIB = 1 << 20
HEAP = 48


class Tight(Wiring):
    """A configuration under which workerd dies once a Worker's heap is larger; on Cloudflare it may have 128 MB."""

    def text(self) -> str:
        """Give the configuration."""
        config: dict[str, Value] = {"services": self.services, "sockets": self.sockets}
        return document({**config, "v8Flags": [f"--max-old-space-size={HEAP}"]})


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let services have little memory."""
    monkeypatch.setattr(_state_service, "Wiring", Tight)


async def test_what_typescript_asks_for_at_once(shared: Client) -> None:
    """Records at the limit of a request, of two bytes a character in memory, come back one by one and all at once."""
    kept = {f"r{number}": {"id": f"r{number}", "text": "€" + "x" * (14 * MIB)} for number in range(3)}
    for key, state in kept.items():
        await shared("set", key, state, chain="large/prod")
    assert await shared("get", "r1", chain="large/prod") == kept["r1"]
    answer = await shared.post("all", chain="large/prod")
    assert len(answer.content) > 32 * MIB
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"success": True, "status": 200, "result": kept}
    some = await shared.post("getBatch", ["r0", "r1", "none", "r2"], chain="large/prod")
    assert some.content == answer.content


@pytest.mark.parametrize("keys", [[], ["none"]])
async def test_nothing_is_an_object_too(shared: Client, keys: list[str]) -> None:
    """Where nothing is found the answer is an empty object."""
    assert await shared("getBatch", keys, chain="nothing/prod") == await shared("all", chain="nothing/prod") == {}
    assert (await shared.refused("getBatch", "a", chain="nothing/prod"))["status"] == 400


@pytest.mark.usefixtures("tight")
async def test_more_records_than_memory_holds(tmp_path: Path, open_service: Open) -> None:
    """A commit of 50 MB, in 16,000 records, goes through 48 MB of memory; so does reading them, in each of the ways."""
    async with open_service(tmp_path) as client:
        before = client.service.workerd_pid
        lease = await client.take(UNIT, "n")
        texts: dict[str, str] = {}
        for number in range(16):
            ids = range(number * 1000, (number + 1) * 1000)
            puts = {f"{UNIT}/r{id:05d}": json.dumps({"id": id, "text": "x" * 3200}) for id in ids}
            texts |= puts
            some: dict[str, Any] = {"number": 1, "clear": None, "drops": [], "puts": puts, "staged": 15_000}
            await client("stage" if number < 15 else "commit", lease, some)
        assert await client.load() == texts
        assert await client("list") == [fqn.rpartition("/")[2] for fqn in texts]
        assert await client("count") == len(texts)
        answer = await client.post("all")
        assert len(answer.content) > HEAP * MIB
        found: dict[str, Any] = answer.json()["result"]
        assert list(found) == [fqn.rpartition("/")[2] for fqn in texts]
        assert found["r15999"] == {"id": 15999, "text": "x" * 3200}
        assert client.service.workerd_pid == before


async def test_reading_many_and_large_ones(shared: Client) -> None:
    """Several records that do not fit into one answer, and more than are asked for at once, are read by our client."""
    store = CloudflareStateStore(shared.service.url, state_token=TOKEN)
    await store.init()
    lease = await store.acquire("reading/prod", owner=an_owner(), timeout=0)
    records = [a_resource(f"reading/prod/r{number}", props={"text": str(number % 10) * 3 * MIB}) for number in range(5)]
    for record in records:
        await store.set(lease, record)
    names = [f"reading/prod/none{number}" for number in range(1500)] + [record.fqn for record in records]
    assert {fqn: found.props for fqn, found in (await store.get_batch(names)).items()} == {
        record.fqn: record.props for record in records
    }
    await store.deinit()


async def test_one_record_that_is_too_large(shared: Client) -> None:
    """A record that does not fit into a request by itself is refused, and nothing of its commit is written."""
    store = CloudflareStateStore(shared.service.url, state_token=TOKEN)
    lease = await store.acquire("huge/prod", owner=an_owner(), timeout=0)
    huge = [a_resource(f"huge/prod/r{number}", props={"text": "x" * number * 16 * MIB}) for number in range(2)]
    with pytest.raises(StateError, match="more than 15728640 bytes") as refused:
        await store.set(lease, *huge)
    assert "smaller records" in (refused.value.hint or "")
    assert await shared.load("huge/prod") == {}
    await store.deinit()
