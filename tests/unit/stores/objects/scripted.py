"""A bucket in memory whose requests wait to be let through, and all orders in which those of two processes go."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from alchemy.stores.objects.bucket import Found

START = datetime(2026, 11, 21, tzinfo=UTC)


@dataclass
class Objects:
    """What all processes share; each write is a second after the one before."""

    contents: dict[str, tuple[bytes, datetime]] = field(default_factory=dict[str, tuple[bytes, datetime]])
    clock: datetime = START

    def write(self, key: str, content: bytes) -> None:
        """Write an object."""
        self.clock += timedelta(seconds=1)
        self.contents[key] = (content, self.clock)


class ScriptedBucket:
    """A `Bucket` over shared objects.

    Args:
        gate: awaited before each request that may change something, and before the others if `reads`.
        twice: every create is sent a second time, as when its answer was lost, and only the second answer arrives.
    """

    def __init__(
        self,
        objects: Objects,
        gate: Callable[[], Awaitable[None]] | None = None,
        *,
        reads: bool = False,
        twice: bool = False,
    ) -> None:
        self.objects = objects
        self.requests: list[str] = []
        self._gate = gate
        self._reads = reads
        self._twice = twice

    async def create(self, key: str, content: bytes) -> bool:
        """Write an object unless there is one."""
        for _ in range(2 if self._twice else 1):
            await self._wait(f"create {key}", writes=True)
            free = key not in self.objects.contents
            if free:
                self.objects.write(key, content)
        return free

    async def put(self, key: str, content: bytes) -> None:
        """Write an object."""
        await self._wait(f"put {key}", writes=True)
        self.objects.write(key, content)

    async def get(self, key: str) -> bytes | None:
        """Read an object."""
        await self._wait(f"get {key}")
        return self.objects.contents[key][0] if key in self.objects.contents else None

    async def modified(self, key: str) -> datetime | None:
        """Say when an object was written."""
        await self._wait(f"head {key}")
        return self.objects.contents[key][1] if key in self.objects.contents else None

    async def list(self, folder: str, *, after: str | None = None) -> Sequence[Found]:
        """List the objects below a folder."""
        await self._wait(f"list {folder}")
        found = [(key, written) for key, (_, written) in self.objects.contents.items()]
        return sorted(Found(*one) for one in found if one[0].startswith(f"{folder}/") and one[0] > (after or ""))

    async def folders(self, folder: str) -> Sequence[str]:
        """List the folders directly in a folder."""
        await self._wait(f"folders {folder}")
        start = f"{folder}/" if folder else ""
        below = [key.removeprefix(start) for key in self.objects.contents if key.startswith(start)]
        return sorted({key.partition("/")[0] for key in below if "/" in key})

    async def delete(self, keys: Collection[str]) -> None:
        """Delete objects."""
        for key in keys:
            await self._wait(f"delete {key}", writes=True)
            self.objects.contents.pop(key, None)

    async def _wait(self, request: str, *, writes: bool = False) -> None:
        self.requests.append(request)
        if self._gate is not None and (writes or self._reads):
            await self._gate()


class Turns:
    """Lets one request of two processes through at a time, in the order told; after that nobody is interrupted."""

    def __init__(self, order: Sequence[int]) -> None:
        self.taken: list[tuple[int, frozenset[int]]] = []
        """Who was let through, and who else could have been."""
        self._order = order
        self._waiting: dict[int, list[asyncio.Future[None]]] = {0: [], 1: []}
        self._running = {0, 1}
        self._changed = asyncio.Event()

    def gate(self, who: int) -> Callable[[], Awaitable[None]]:
        """Give what one process's requests wait for."""

        async def wait() -> None:
            turn = asyncio.get_running_loop().create_future()
            self._waiting[who].append(turn)
            self._changed.set()
            await turn

        return wait

    async def run(self, *programs: Callable[[], Awaitable[Any]]) -> None:
        """Run two processes to their ends."""

        async def whole(who: int) -> None:
            try:
                await programs[who]()
            finally:
                self._running.discard(who)
                self._changed.set()

        async with asyncio.TaskGroup() as group:
            for who in (0, 1):
                group.create_task(whole(who))
            while self._running:
                if all(self._waiting[who] for who in self._running):
                    who = self._next()
                    self._waiting[who].pop(0).set_result(None)
                    for _ in range(6):
                        await asyncio.sleep(0)
                else:
                    self._changed.clear()
                    await self._changed.wait()

    def _next(self) -> int:
        able = frozenset(self._running)
        place = len(self.taken)
        last = self.taken[-1][0] if self.taken else 0
        wanted = self._order[place] if place < len(self._order) else last
        who = wanted if wanted in able else min(able)
        self.taken.append((who, able))
        return who


async def explore(run: Callable[[Turns], Awaitable[None]], *, switches: int) -> int:
    """Run something in every order with at most so many switches from one process to the other.

    Returns:
        How many orders there were.
    """
    todo: list[list[int]] = [[], [1]]
    count = 0
    while todo:
        order = todo.pop()
        turns = Turns(order)
        await run(turns)
        count += 1
        trace = [who for who, _ in turns.taken]
        # Beyond what was told nobody was switched from as long as they could go on: branch at each of these places.
        for place in range(len(order), len(trace)):
            who, able = turns.taken[place]
            branch = [*trace[:place], 1 - who]
            if 1 - who in able and sum(a != b for a, b in itertools.pairwise(branch)) <= switches:
                todo.append(branch)
    return count
