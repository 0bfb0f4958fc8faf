"""What older libraries ask is answered by newer services as it was: each file is a run of one version, word for word.

A file for a new version, made before its release and never changed after it:

```
python -m tests.integration.service.test_golden > tests/integration/service/golden-v5.ndjson
```
"""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from tests.integration.service.clients import TOKEN, Open, opened

from alchemy.errors import LockedError
from alchemy.ports import LogEnd
from alchemy.state import STAGE_KIND, Application
from alchemy.stores import CloudflareStateStore
from alchemy.stores._cloudflare import ServiceBackend
from alchemy.stores._service_client import ServiceClient
from alchemy.testing.contract import UNIT, a_resource, a_scope, an_owner

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]
FILES = sorted(Path(__file__).parent.glob("golden-v*.ndjson"))
_VARY = frozenset({"since", "deadline", "schema", "version"})
"""What an answer has that is another one each time."""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_an_older_library_is_answered_as_before(tmp_path: Path, open_service: Open, file: Path) -> None:
    """Every question of the run is answered, and with all that the answer had then; there may be more in it now."""
    asked = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(asked) > 30
    async with open_service(tmp_path) as client:
        for number, (method, params, chain, answer) in enumerate(asked, start=1):
            found = await client(method, *params, chain=chain)
            assert has(found, answer), f"{file.name}:{number}: {method} was answered with {found}"


def test_there_is_a_run() -> None:
    """A folder without files would show nothing."""
    assert FILES


def has(found: Any, wanted: Any) -> bool:
    """Say whether an answer has all of another one, in objects maybe more."""
    match wanted:
        case dict():
            return isinstance(found, dict) and all(
                name in found and (name in _VARY or has(found[name], value)) for name, value in wanted.items()
            )
        case list():
            return isinstance(found, list) and len(found) == len(wanted) and all(map(has, found, wanted))
        case _:
            return bool(found == wanted)


async def run(url: str) -> None:
    """Do everything once that a store can be asked."""
    store, other = (CloudflareStateStore(url, state_token=TOKEN) for _ in range(2))
    await store.init()
    await store.create_application(Application(app="notes", lineage="00" * 16, created_at=""))
    assert await store.application("notes") is not None
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.load(UNIT, lease=lease)
    name = "state-2026-11-21T09-00-00-000Z.json"
    await store.save_backup(lease, name, b"{}")
    await store.set(lease, a_scope(UNIT, STAGE_KIND), *(a_resource(f"{UNIT}/{id}") for id in ("a", "b", "c")))
    await store.set(lease, a_resource(f"{UNIT}/a", props={"size": 2}), drop=[f"{UNIT}/b"])
    with patch.object(ServiceBackend, "max_bytes", 1):
        await store.set(lease, *(a_resource(f"{UNIT}/{id}") for id in ("a", "d")))
    await store.append_log(UNIT, "run.ndjson", b"{}\n")
    await store.renew(lease)
    with pytest.raises(LockedError):
        await other.acquire("notes", owner=an_owner(), timeout=0)
    await store.locks()
    await store.get_batch([f"{UNIT}/a", f"{UNIT}/b"])
    await store.all("notes")
    await store.list_scopes("")
    await store.fold(lease)
    await store.release(lease, log=LogEnd(name="run.ndjson", lines=b"{}\n", drop=["none.ndjson"]))
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store.clear_scope(lease, UNIT)
    await other.break_(UNIT)
    lease = await other.acquire(UNIT, owner=an_owner(), timeout=0)
    await other.load(UNIT, lease=lease)
    await other.release(lease)
    assert await store.backups(UNIT) == [name]
    await store.read_backup(UNIT, name)
    await store.read_log(UNIT, "run.ndjson")
    await store.drop_backups(UNIT, name)
    await store.drop_logs(UNIT, "run.ndjson")
    await store.problems("")


async def record() -> None:
    """Print the questions and answers of a run."""
    ask = ServiceClient.ask

    async def asking(self: ServiceClient, method: str, *params: Any, chain: str, **more: Any) -> Any:
        answer = await ask(self, method, *params, chain=chain, **more)
        print(json.dumps([method, params, chain, answer], ensure_ascii=False))
        return answer

    numbers = itertools.count()
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(ServiceClient, "ask", asking),
        patch.object(secrets, "token_hex", lambda size: f"{next(numbers):0{2 * size}x}"),
    ):
        async with opened(Path(folder)) as client:
            await run(client.service.url)


if __name__ == "__main__":
    asyncio.run(record())
