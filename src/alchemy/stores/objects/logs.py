"""The logs of a store, by the folders they lie in, and what there is in a bucket."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from alchemy.names import unit_of
from alchemy.stores.objects.bucket import Bucket
from alchemy.stores.objects.entries import decode_row
from alchemy.stores.objects.keys import APPLICATION, LEASE, UNITS, Keys, unquote
from alchemy.stores.objects.log import Log


class Logs:
    """Every log is known once, so that one process writes to it through one mutex.

    Args:
        place: for messages: the store's URL.
    """

    def __init__(self, bucket: Bucket, keys: Keys, *, place: str) -> None:
        self.bucket = bucket
        self.keys = keys
        self.place = place
        self._known: dict[str, Log] = {}

    def of(self, chain: str) -> Log:
        """Give the log in which leases on a chain stand: its unit's, or the application's own."""
        name = unit_of(chain) if "/" in chain else chain
        return self._at(self.keys.place(name), name)

    async def units(self, app: str) -> Sequence[Log]:
        """Give the logs of an application's units, each as of now."""
        return await self._units(self.keys.app(app), app)

    async def everything(self) -> Sequence[Log]:
        """Give all logs there are, each as of now."""
        folders = [self._in_root(quoted) for quoted in await self._apps()]
        found = await asyncio.gather(*(self._units(folder, None) for folder in folders))
        own = [self._at(f"{folder}/{LEASE}", None) for folder in folders]
        await asyncio.gather(*(_look(log) for log in own))
        return [*own, *(log for logs in found for log in logs)]

    async def applications(self) -> Sequence[str]:
        """List the applications that have a record, or units with records."""
        names = await asyncio.gather(*(self._application(quoted) for quoted in await self._apps()))
        return [name for name in names if name is not None]

    async def _application(self, quoted: str) -> str | None:
        folder = self._in_root(quoted)
        content = await self.bucket.get(f"{folder}/{APPLICATION}")
        if content is not None:
            return unquote(quoted) or decode_row(content, f"{self.place}, {folder}").app
        units = [log for log in await self._units(folder, None) if log.count and log.name]
        return (units[0].name or "").partition("/")[0] if units else None

    async def _units(self, folder: str, app: str | None) -> Sequence[Log]:
        logs: list[Log] = []
        for quoted in await self.bucket.folders(f"{folder}/{UNITS}"):
            rest = unquote(quoted)
            logs.append(self._at(f"{folder}/{UNITS}/{quoted}", f"{app}/{rest}" if app and rest else None))
        await asyncio.gather(*(_look(log) for log in logs))
        return [log for log in logs if log.name is not None]

    async def _apps(self) -> Sequence[str]:
        return await self.bucket.folders(self.keys.root)

    def _in_root(self, quoted: str) -> str:
        return f"{self.keys.root}/{quoted}" if self.keys.root else quoted

    def _at(self, folder: str, name: str | None) -> Log:
        folds = folder.split("/")[-2:-1] == [UNITS]
        log = self._known.setdefault(folder, Log(self.bucket, folder, name=name, place=self.place, folds=folds))
        log.name = log.name or name
        return log


async def _look(log: Log) -> None:
    async with log.mutex:
        await log.look()
