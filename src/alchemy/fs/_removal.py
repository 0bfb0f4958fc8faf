"""Removing files in threads, which wait for the file system side by side."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import Counter
from collections.abc import Awaitable, Mapping
from typing import Any

from alchemy.fs._paths import Folders, folders_of
from alchemy.fs._writing import remove
from alchemy.provider import Context

THREADS = 4
BATCH = 8
"""With 32 deletes at a time, as many as keep all threads at work."""

_Wanted = tuple[str, "asyncio.Future[bool]"]
_Done = tuple["asyncio.Future[bool]", bool, Exception | None]


class Removals:
    """Removes the files of one run. Giving back a file's blocks makes the caller wait, and nothing else: a file
    system that discards them at once takes 0.1 to 0.3 ms for each.

    Handing each file to a pool and back would take the event loop almost as long. So a thread takes several, and
    tells of them together.

    Args:
        folders: the run's.
    """

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._busy: Counter[str] = Counter()
        self._loop = asyncio.get_running_loop()
        self._wanted: queue.SimpleQueue[_Wanted | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    async def remove(self, path: str, data: Mapping[str, Any]) -> bool:
        """Remove a file, and the empty folders made for it; give whether there was one.

        Raises:
            ProviderError: it cannot be removed.
        """
        folder = path.rpartition("/")[0]
        self._busy[folder] += 1
        try:
            existed = await self._unlink(path)
        finally:
            self._busy[folder] -= 1
        if self._busy[folder]:
            self._folders.leave_above(path, data)  # whoever is last there takes them along
        else:
            del self._busy[folder]
            self._folders.remove_above(path, data)
        return existed

    def _unlink(self, path: str) -> asyncio.Future[bool]:
        future: asyncio.Future[bool] = self._loop.create_future()
        self._wanted.put((path, future))
        if len(self._threads) < THREADS:
            thread = threading.Thread(target=self._work, name="alchemy-fs-remove", daemon=True)
            self._threads.append(thread)
            thread.start()
        return future

    async def close(self) -> None:
        """End the threads, after what they have begun."""
        for _ in self._threads:
            self._wanted.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _work(self) -> None:
        while True:
            wanted = self._take()
            done = [_try(path, future) for path, future in wanted[0]]
            if done:
                try:
                    self._loop.call_soon_threadsafe(_tell, done)
                except RuntimeError:  # the loop is closed: nobody waits any more
                    return
            if wanted[1]:
                return

    def _take(self) -> tuple[list[_Wanted], bool]:
        """Wait for something to do; give several at once, and whether it is the end."""
        found: list[_Wanted] = []
        item = self._wanted.get()
        while item is not None:
            found.append(item)
            if len(found) == BATCH:
                return found, False
            try:
                item = self._wanted.get_nowait()
            except queue.Empty:
                return found, False
        return found, True


def _try(path: str, future: asyncio.Future[bool]) -> _Done:
    try:
        return future, remove(path), None
    except Exception as error:
        return future, False, error


def _tell(done: list[_Done]) -> None:
    for future, existed, error in done:
        if future.done():  # cancelled
            continue
        if error is None:
            future.set_result(existed)
        else:
            future.set_exception(error)


def removals_of(ctx: Context[Any]) -> Awaitable[Removals]:
    """Give the run's `Removals`."""

    async def make() -> Removals:
        return Removals(await folders_of(ctx))

    return ctx.shared("alchemy.fs.removals", make)


async def delete_file(ctx: Context[Any], path: str) -> None:
    """Delete a file, whatever it holds by now, and the empty folders made for it; gone already is success."""
    removals = await removals_of(ctx)
    if not await removals.remove(path, ctx.data):
        ctx.log(f"{path} was gone already")
