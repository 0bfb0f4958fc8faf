"""What a store promises of the place where it is, and of applications' records."""

from __future__ import annotations

import asyncio

from alchemy.state import Application
from alchemy.testing.contract.base import Contract, Open
from alchemy.testing.contract.records import UNIT, a_resource


class PlaceContract(Contract):
    """Tests of the place and of applications' records."""

    async def test_init_and_deinit_may_be_repeated(self, open_store: Open) -> None:
        """Making ready twice and letting go twice is no error, and what was acknowledged stays."""
        one = await open_store()
        await one.init()
        await self._fill(one, a_resource(f"{UNIT}/readme"))
        await one.deinit()
        await one.deinit()
        assert await (await open_store()).list(UNIT) == ["readme"]

    async def test_the_url_is_told(self, open_store: Open) -> None:
        """A store says where it is, as a URL without credentials."""
        url = (await open_store()).url
        assert ":" in url
        assert "@" not in url

    async def test_an_application_is_written_once(self, open_store: Open) -> None:
        """The first record stands, whoever comes later is given it."""
        one, two = await open_store(), await open_store()
        first = Application(app="notes", lineage="00" * 16, created_at="2026-11-21T09:00:00.000Z")
        assert await one.application("notes") is None
        assert await one.create_application(first) == first
        later = Application(app="notes", lineage="ff" * 16, created_at="2027-01-01T00:00:00.000Z")
        assert await two.create_application(later) == first
        assert await two.application("notes") == first
        assert await two.application("other") is None

    async def test_of_many_writers_of_an_application_one_wins(self, open_store: Open) -> None:
        """Handles that create it at the same time are all given the same record."""
        handles = [await open_store() for _ in range(8)]
        wanted = [Application(app="notes", lineage=f"{n:032x}", created_at="") for n in range(8)]
        pairs = zip(handles, wanted, strict=True)
        given = await asyncio.gather(*(handle.create_application(one) for handle, one in pairs))
        assert len({one.lineage for one in given}) == 1
        assert await handles[0].application("notes") == given[0]
