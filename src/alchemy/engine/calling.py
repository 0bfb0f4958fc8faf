"""Calling providers: only while the unit is held, with a deadline, and again when a failure may pass."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from alchemy.engine.run import Run, Stopped
from alchemy.engine.session import Session
from alchemy.errors import LeaseLost, ProviderError
from alchemy.events import Action, ResourceRetrying

T = TypeVar("T")
MAX_DELAY = 60.0
_MAKING = ("create", "update", "replace")


async def ensure_held(run: Run, session: Session) -> None:
    """Make sure that the unit is held still: to be awaited before every call.

    Raises:
        Stopped: it is not, or that was known before; `run.lost` says why.
    """
    if run.lost is None:
        try:
            await session.ensure_held()
        except LeaseLost as error:
            run.lose(error)
    if run.lost is not None:
        raise Stopped from run.lost


async def _settle_others(run: Run, session: Session) -> None:
    """Wait for what was written to other stores than that of an intent, which is durable already.

    Else a kill might leave an object behind to which no record leads, for that of its scope was still to be written;
    or one whose record says another order than theirs.
    """
    for other in {id(other): other for other in run.sessions.values() if other is not session}.values():
        await other.settle()


async def call_provider(
    run: Run,
    session: Session,
    handler: Callable[[], Awaitable[T]],
    *,
    fqn: str,
    action: Action,
    retries: int,
    delay: float,
    timeout: float | None,
    before_retry: Callable[[ProviderError], Awaitable[T | None]] | None = None,
) -> T:
    """Call a provider's handler: with a deadline, and again when it failed in a way that may pass.

    Args:
        session: what must be held for it.
        retries: how often again; `delay` seconds before the first, doubled each time, with jitter.
        timeout: seconds for one call.
        before_retry: looks, after a failure, whether the call had taken effect; what it gives is the result.

    Raises:
        ProviderError: `ambiguous` when this call, or one before it, may have taken effect.
        Stopped: the unit is no longer held; nothing (more) was called.
    """
    attempt = 0
    uncertain = False
    while True:
        if action in _MAKING and len(run.sessions) > 1:
            await _settle_others(run, session)
        await ensure_held(run, session)
        try:
            if timeout is None:
                return await handler()
            async with asyncio.timeout(timeout):
                return await handler()
        except TimeoutError as raised:
            limit = f"longer than {timeout:g} s" if timeout else "too long"
            raise ProviderError(f"{action} took {limit}", ambiguous=True) from raised
        except ProviderError as raised:
            uncertain = raised.ambiguous = uncertain or raised.ambiguous
            if not raised.retryable or attempt >= retries or run.stopping:
                raise
            failed = raised
        pause = failed.retry_after or min(MAX_DELAY, delay * 2**attempt) * random.uniform(0.5, 1.0)
        attempt += 1
        run.emit(ResourceRetrying(fqn=fqn, action=action, attempt=attempt, delay=round(pause, 3), error=failed.message))
        await asyncio.sleep(pause)
        if run.stopping:
            raise failed
        if before_retry is not None and uncertain:
            try:
                found = await before_retry(failed)
            except ProviderError as raised:
                raised.ambiguous = True
                raise
            if found is not None:
                return found
