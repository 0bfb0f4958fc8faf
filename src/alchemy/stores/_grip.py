"""A chain in the hands of a `BackedStore`: what writes it, what renews it, and how sure it is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from functools import partial

from alchemy.errors import AlchemyError, LeaseLost
from alchemy.ports import Lease
from alchemy.stores._batches import batches
from alchemy.stores._clocks import elapsed
from alchemy.stores._commits import Change, Committer, Saved, unit_written
from alchemy.stores._patience import persist
from alchemy.stores._portal import Portal
from alchemy.stores._refusals import NameTaken, backup_exists
from alchemy.stores._renewal import Renewal
from alchemy.stores.backend import Backend


class Grip:
    """A held chain, with the threads that write what lies within it and renew its lease.

    After a failure nothing more is written: what was called later must not be there without what was called before.

    Args:
        loop: in which it is used.
        taken: by `elapsed`, from before it was asked for.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        portal: Portal,
        backend: Backend,
        lease: Lease,
        *,
        ttl: float,
        taken: float,
        patience: float,
    ) -> None:
        self.lease = lease
        self._portal = portal
        self._backend = backend
        self._ttl = ttl
        self._renewed = taken
        self._patience = patience
        self._mutex = threading.Lock()
        self._lost: LeaseLost | None = None
        self._failure: AlchemyError | None = None
        self.written: dict[str, None] = {}
        """The units that were written to since they were folded."""
        self.committer = Committer(loop, self._commit, f"alchemy-commit {lease.unit}")
        self._renewal = Renewal(loop, ttl=ttl, renew=self._renew, give_up=self._give_up, name=lease.unit)

    def is_sure(self) -> bool:
        """Say whether it was renewed less than a ttl ago. Raises `LeaseLost` when it is known to be lost."""
        self.check()
        return elapsed() - self._renewed < self._ttl

    def check(self) -> None:
        """Raise `LeaseLost` when it is known to be lost."""
        if self._lost is not None:
            raise self._lost

    async def renew(self) -> Lease:
        """Move the deadline; runs in the portal. Raises `LeaseLost`."""
        self.check()
        asked = elapsed()
        try:
            lease = await persist(lambda: self._backend.renew(self.lease, ttl=self._ttl), patience=self._patience)
        except LeaseLost as error:
            self._lost = error
            raise
        self.check()  # given up meanwhile
        self.lease, self._renewed = lease, max(self._renewed, asked)
        return lease

    def stop(self) -> None:
        """Write what is queued, and renew no more. Blocks."""
        self.committer.stop()
        self._renewal.stop()

    def abandon(self, *, kept: bool) -> None:
        """Let go as the end of the process would; what is queued is written if it is `kept`. Blocks."""
        self._renewal.stop()
        if not kept:
            self._failure = LeaseLost(f"{self.lease.unit} was abandoned")
        self.committer.stop()

    def _commit(self, changes: Sequence[Change]) -> None:
        with self._mutex:
            if self._failure is not None:
                raise self._failure
            try:
                self.check()
                self._portal.call(self._write(changes))
            except LeaseLost as error:
                self._lost = self._lost or error
                self._failure = error
                raise
            except NameTaken:
                raise
            except AlchemyError as error:
                self._failure = error
                raise

    async def _write(self, changes: Sequence[Change]) -> None:
        backend, lease = self._backend, self.lease
        limits = (backend.max_changes, backend.max_bytes)
        for step in batches(changes, lease.unit, max_changes=limits[0], max_bytes=limits[1]):
            if isinstance(step, Saved):
                await self._save(step)
            else:
                unit, commit = step.unit, step.commit()
                self.written[unit] = None
                await persist(partial(backend.commit, lease, unit, commit), patience=self._patience)

    async def _save(self, backup: Saved) -> None:
        unit = unit_written(self.lease.unit, backup)
        made = await persist(
            lambda: self._backend.save(self.lease, unit, "backups", backup.name, backup.content),
            patience=self._patience,
        )
        if not made:
            raise backup_exists(unit, backup.name)

    def _renew(self) -> None:
        self._portal.call(self.renew())

    def _give_up(self, why: str) -> None:
        self._lost = LeaseLost(f"{self.lease.unit} {why}", hint="nothing more was written; run again")
