"""A chain in the hands of a file store: what writes it, and what keeps its lease."""

from __future__ import annotations

import asyncio

from alchemy.stores._chains import HeldChain
from alchemy.stores._commits import Committer
from alchemy.stores._folder import Folder
from alchemy.stores._held import HeldUnit
from alchemy.stores._layout import is_unit
from alchemy.stores._leases import UnitLock
from alchemy.stores._renewal import Renewal


class Holding:
    """A chain that a store holds, with the threads that write it and renew its lease."""

    def __init__(self, loop: asyncio.AbstractEventLoop, folder: Folder, lock: UnitLock) -> None:
        chain = lock.content.unit
        self.lock = lock
        self.unit: HeldUnit | HeldChain = (
            HeldUnit(folder.disk, folder.unit_folder(chain), lock) if is_unit(chain) else HeldChain(folder, lock)
        )
        self.committer = Committer(loop, self.unit.commit, f"alchemy-commit {chain}")
        self._renewal = Renewal(loop, ttl=lock.content.ttl, renew=lock.renew, give_up=lock.lose, name=chain)

    def close(self) -> None:
        """Write what is queued, then let everything go."""
        self._renewal.stop()
        self.committer.stop()
        self.unit.close()
        self.lock.release()

    def abandon(self, *, kept: bool) -> None:
        """Let go without giving back; see `FileStore.abandon`."""
        self._renewal.stop()
        if not kept:
            self.lock.close()  # whatever is written from now on is refused
        self.committer.stop()
        self.unit.abandon()
        self.lock.close()
