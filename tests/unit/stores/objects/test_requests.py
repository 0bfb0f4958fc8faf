"""How many requests a run makes: what docs/stores/s3.md says."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.unit.stores.objects.scripted import Objects, ScriptedBucket

from alchemy.stores.backend import Commit, Taken
from alchemy.stores.objects.backend import ObjectBackend
from alchemy.testing.contract import an_owner

pytestmark = pytest.mark.anyio
UNIT = "notes/prod"


async def test_what_a_run_asks_for() -> None:
    """A run that changes nothing makes a dozen requests, whatever the size of the stage; a commit is one."""
    objects = Objects()
    for run in range(3):
        bucket = ScriptedBucket(objects)
        asked = _Asked(bucket)
        backend = ObjectBackend(lambda bucket=bucket: bucket, url="test:", prefix="", missing="")  # type: ignore[misc]
        await backend.open()
        assert asked.since() == ({"create": 1, "get": 1} if run else {"create": 2, "get": 1})
        taken = await backend.take(UNIT, owner=an_owner(), ttl=60, nonce=str(run))
        assert isinstance(taken, Taken)
        assert taken.rows is not None
        reads = {1: 2, 2: 2}.get(run, 0)  # the snapshot, and the release after it
        found = asked.since()
        assert found.pop("get", 0) == reads
        assert found == {"list": 5, "create": 1}
        if run < 2:
            rows = {f"{UNIT}/r{number}": b"{}" for number in range(1000)}
            await backend.commit(taken.lease, UNIT, Commit(f"c{run}", None, (), rows))
            assert asked.since() == {"create": 1}
            await backend.renew(taken.lease, ttl=60)
            assert asked.since() == {"create": 1}
        else:
            assert len(taken.rows) == 1000
        await backend.fold(taken.lease, UNIT)
        folded = asked.since()
        assert folded.pop("delete", 0) <= 3
        assert folded == ({"list": 3, "create": 1} if run < 2 else {"list": 1})
        await backend.release(taken.lease)
        assert asked.since() == {"create": 1}


class _Asked:
    """Counts a bucket's requests by their kind."""

    def __init__(self, bucket: ScriptedBucket) -> None:
        self._bucket = bucket

    def since(self) -> dict[str, int]:
        """Give the requests since it was asked last."""
        found = Counter(request.partition(" ")[0] for request in self._bucket.requests)
        self._bucket.requests.clear()
        return dict(found)
