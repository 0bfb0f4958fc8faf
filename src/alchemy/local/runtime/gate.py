"""Keeps requests to the simulators apart from the moments when workerd is replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Closed(Exception):
    """workerd did not come (back) up in time."""


class Gate:
    """Many may be inside while it is open. Closing waits for them, for a while. It starts closed."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._inside = 0

    @asynccontextmanager
    async def inside(self, *, seconds: float) -> AsyncGenerator[None]:
        """Enter, waiting at most `seconds` for it to open.

        Raises:
            Closed: it did not.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._open.wait()
        except TimeoutError:
            raise Closed from None
        self._inside += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if self._inside == 0:
                self._empty.set()

    def open(self) -> None:
        """Let everybody in."""
        self._open.set()

    async def close(self, *, seconds: float) -> None:
        """Let nobody in any more, and wait at most `seconds` for those inside to leave."""
        self._open.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            return
