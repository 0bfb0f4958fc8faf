"""How things are destroyed, scope by scope: their retries and timeouts, and how many at a time."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import NamedTuple

from alchemy.config import Settings
from alchemy.engine.run import Run
from alchemy.finalizing import PER_SCOPE, Finalize
from alchemy.names import parent
from alchemy.state import JsonObject, Record


class CallLimits(NamedTuple):
    """What holds for a call.

    Attributes:
        retries: how often again when it failed.
        delay: seconds before the first retry.
        timeout: seconds that it may take.
    """

    retries: int
    delay: float
    timeout: float | None


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

    def of(self, record: Record) -> CallLimits:
        """Say what holds for calls for this record."""
        within = self._within(parent(record.fqn))
        own = record.limits
        if not own:
            return CallLimits(within.max_retries, within.retry_delay, within.timeout)
        return CallLimits(own.get("retry", within.max_retries), within.retry_delay, own.get("timeout", within.timeout))

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
