"""How things are destroyed, scope by scope: their retries and timeouts, and how many at a time."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext

from alchemy.config import Settings
from alchemy.engine.run import Run
from alchemy.finalizing import PER_SCOPE, Finalize
from alchemy.names import parent
from alchemy.state import JsonObject, Record


class Limits:
    """The options for destroying, as the records of nested scopes and resources say them, under those of the run.

    Options that were given to `finalize(...)` itself are stronger than what a scope says; a resource's own are the
    strongest.
    """

    def __init__(self, run: Run, options: Finalize) -> None:
        self._run = run
        self._options = options
        self._settings: dict[str, Settings] = {}
        self._lanes: dict[str, AbstractAsyncContextManager[None]] = {}

    def retries(self, record: Record) -> int:
        """Say how often a failed call for this record is tried again."""
        retries: int = record.limits.get("retry", self._within(parent(record.fqn)).max_retries)
        return retries

    def timeout(self, record: Record) -> float | None:
        """Say how many seconds a call for this record may take."""
        timeout: float | None = record.limits.get("timeout", self._within(parent(record.fqn)).timeout)
        return timeout

    def delay(self, record: Record) -> float:
        """Say how many seconds to wait before the first retry."""
        return self._within(parent(record.fqn)).retry_delay

    def lane(self, chain: str) -> AbstractAsyncContextManager[None]:
        """Give what lets as many at a time pass as the nearest scope around that has a strategy of its own says."""
        lane = self._lanes.get(chain)
        if lane is None:
            lane = self._lanes[chain] = self._lane(chain)
        return lane

    def _lane(self, chain: str) -> AbstractAsyncContextManager[None]:
        if chain in ("", self._run.unit) or self._options.says_strategy:
            return nullcontext()  # as many as there are workers
        record = self._scope(chain)
        if record is None or "destroy_strategy" not in record.props:
            return self.lane(parent(chain))
        settings = self._within(chain)
        match settings.destroy_strategy:
            case "sequential":
                return asyncio.Semaphore(1)
            case "batched":
                return asyncio.Semaphore(settings.batch_size)
            case "parallel":
                return nullcontext()

    def _within(self, chain: str) -> Settings:
        settings = self._settings.get(chain)
        if settings is None:
            settings = self._settings[chain] = self._options.within(self._said(chain))
        return settings

    def _said(self, chain: str) -> JsonObject:
        """Gather what the scopes around something say, the nearest strongest."""
        said: JsonObject = {}
        while chain and chain != self._run.unit:
            record = self._scope(chain)
            if record is not None:
                said = {**{name: record.props[name] for name in PER_SCOPE if name in record.props}, **said}
            chain = parent(chain)
        return said

    def _scope(self, chain: str) -> Record | None:
        record = self._run.session_for(parent(chain)).get(chain)
        return record if record is not None and record.is_scope else None
