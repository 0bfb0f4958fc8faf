"""Requests and reloads, kept apart."""

from __future__ import annotations

import asyncio

import pytest

from alchemy.local.runtime.gate import Closed, Gate

pytestmark = pytest.mark.anyio


async def test_a_closed_gate_lets_nobody_in() -> None:
    """It starts closed; whoever waits is let in when it opens, or told."""
    gate = Gate()
    with pytest.raises(Closed):
        async with gate.inside(seconds=0.01):
            pytest.fail("it was closed")
    gate.open()
    async with gate.inside(seconds=0.01):
        pass


async def test_closing_waits_for_those_inside() -> None:
    """Closing returns when the last has left, and at the latest after its own time."""
    gate = Gate()
    gate.open()
    leave = asyncio.Event()

    async def visitor() -> None:
        async with gate.inside(seconds=1):
            await leave.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(visitor())
        await asyncio.sleep(0)
        await gate.close(seconds=0.01)  # gives up: the visitor stays
        closing = group.create_task(gate.close(seconds=60))
        await asyncio.sleep(0)
        assert not closing.done()
        leave.set()
    assert closing.done()
