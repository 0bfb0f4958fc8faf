"""What the parts of the contract share."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from alchemy.errors import StateError
from alchemy.ports import Lease, StateStore
from alchemy.state import STAGE_KIND, Record
from alchemy.testing.contract.records import UNIT, a_resource, a_scope, an_owner

Open = Callable[[], Awaitable[StateStore]]


class Contract:
    """What every part of the contract needs: handles to the place under test, and records to write."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend(self) -> str:
        """Run on asyncio."""
        return "asyncio"

    @pytest.fixture
    def store(self) -> Callable[[], StateStore]:
        """Open another handle to the place under test, which is empty when a test begins."""
        raise NotImplementedError("a subclass of StateStoreContract gives the fixture `store`")

    @pytest.fixture
    async def open_store(self, store: Callable[[], StateStore]) -> AsyncGenerator[Open]:
        """Open handles that are made ready, and let go of after the test."""
        handles: list[StateStore] = []

        async def open_one() -> StateStore:
            handle = store()
            await handle.init()
            handles.append(handle)
            return handle

        yield open_one
        for handle in handles:
            # What a test has left unawaited on purpose is told here at last.
            with contextlib.suppress(StateError):
                await handle.deinit()

    @staticmethod
    def _tree() -> list[Record]:
        """A unit with nested scopes, a composite with a child, and a scope within that."""
        return [
            a_scope(UNIT, STAGE_KIND),
            a_resource(f"{UNIT}/api"),
            a_resource(f"{UNIT}/site"),
            a_resource(f"{UNIT}/site/page"),
            a_scope(f"{UNIT}/site/assets"),
            a_resource(f"{UNIT}/site/assets/logo"),
            a_scope(f"{UNIT}/database"),
            a_resource(f"{UNIT}/database/main-db"),
            a_scope(f"{UNIT}/database/tables"),
            a_resource(f"{UNIT}/database/tables/notes"),
        ]

    @staticmethod
    async def _fill(store: StateStore, *records: Record, unit: str = UNIT, keep: bool = False) -> Lease:
        """Write records under a lease of their own."""
        lease = await store.acquire(unit, owner=an_owner(), timeout=0)
        await store.set(lease, *records)
        if not keep:
            await store.release(lease)
        return lease
