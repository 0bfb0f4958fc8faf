"""What a store promises of runs' logs."""

from __future__ import annotations

import pytest

from alchemy.errors import StateError
from alchemy.testing.contract.base import Contract, Open
from alchemy.testing.contract.records import UNIT


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
        assert list(await one.logs(UNIT)) == []
