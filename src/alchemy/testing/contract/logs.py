"""What a store promises of runs' logs."""

from __future__ import annotations

import pytest

from alchemy.errors import StateError
from alchemy.ports import LogEnd
from alchemy.state import Application
from alchemy.testing.contract.base import Contract, Open
from alchemy.testing.contract.records import UNIT, an_owner


class LogContract(Contract):
    """Tests of logs."""

    async def test_logs(self, open_store: Open) -> None:
        """Lines are added in order and read back whole by any handle, oldest log first; logs are not state."""
        one, two = await open_store(), await open_store()
        assert list(await one.logs(UNIT)) == []
        await one.append_log(UNIT, "2026-11-22T09-00-00-000Z.ndjson", b'{"b":1}\n')
        await one.append_log(UNIT, "2026-11-21T09-00-00-000Z.ndjson", b'{"a":1}\n')
        await one.append_log(UNIT, "2026-11-21T09-00-00-000Z.ndjson", b'{"a":2}\n{"a":3}\n')
        names = ["2026-11-21T09-00-00-000Z.ndjson", "2026-11-22T09-00-00-000Z.ndjson"]
        assert list(await two.logs(UNIT)) == names
        assert await two.read_log(UNIT, names[0]) == b'{"a":1}\n{"a":2}\n{"a":3}\n'
        assert list(await two.list_scopes("notes")) == []
        assert await two.all(UNIT) == {}

    @pytest.mark.parametrize("end", ["held", "lost", "given back"])
    async def test_a_unit_is_given_back_with_the_end_of_a_log(self, open_store: Open, end: str) -> None:
        """The last lines are added, also when the lease is lost, and old logs go; one without new lines is not made."""
        one, two = await open_store(), await open_store()
        old, log, other = (f"2026-11-2{day}T09-00-00-000Z.ndjson" for day in "123")
        await one.append_log(UNIT, old, b"{}\n")
        await one.append_log(UNIT, log, b'{"a":1}\n')
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        if end == "lost":
            await two.break_(UNIT)
        elif end == "given back":
            await one.release(lease)
        await one.release(lease, log=LogEnd(name=log, lines=b'{"a":2}\n{"a":3}\n', drop=[old, "none.ndjson"]))
        assert list(await two.locks()) == []
        assert list(await two.logs(UNIT)) == [log]
        assert await two.read_log(UNIT, log) == b'{"a":1}\n{"a":2}\n{"a":3}\n'
        lease = await two.acquire(UNIT, owner=an_owner(), timeout=0)
        known = (await two.load(UNIT, lease=lease)).logs
        assert known is None or known == [log]
        await two.release(lease, log=LogEnd(name=other))
        assert list(await one.logs(UNIT)) == [log]

    async def test_the_application_is_the_same_after_a_unit_was_taken(self, open_store: Open) -> None:
        """What may come along with a lease is what others have written, and nothing where there is nothing."""
        one, two = await open_store(), await open_store()
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        assert await one.application("notes") is None
        made = await one.create_application(Application(app="notes", lineage="00" * 16, created_at=""))
        assert await one.application("notes") == made
        await one.release(lease)
        await two.release(await two.acquire(UNIT, owner=an_owner(), timeout=0))
        assert await two.application("notes") == made

    async def test_a_log_that_is_not_there(self, open_store: Open) -> None:
        """Reading an unknown log is an error that names it."""
        with pytest.raises(StateError, match=r"nothing\.ndjson"):
            await (await open_store()).read_log(UNIT, "nothing.ndjson")

    @pytest.mark.parametrize("name", ["", "..", "../state.json", "a/b", ".hidden", "a\0b", "a\n", "x" * 300])
    async def test_a_log_stays_in_its_place(self, open_store: Open, name: str) -> None:
        """A name that would lead elsewhere is refused for writing and for reading."""
        one = await open_store()
        with pytest.raises(StateError):
            await one.append_log(UNIT, name, b"{}\n")
        with pytest.raises(StateError):
            await one.read_log(UNIT, name)
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        for log in (LogEnd(name=name, lines=b"{}\n"), LogEnd(name="a.ndjson", lines=b"{}\n", drop=[name])):
            with pytest.raises(StateError):
                await one.release(lease, log=log)
        await one.release(lease)
        assert list(await one.logs(UNIT)) == []
