"""Taking a chain for a run: waiting for whoever holds it, or taking it from them, and saying what can be done."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable
from dataclasses import replace

from alchemy import config
from alchemy.config import Launch, Settings
from alchemy.errors import ConfigurationError, LockedError
from alchemy.events import Event, Notice, Waiting
from alchemy.ports import Lease, Owner, StateStore


async def take(
    store: StateStore,
    chain: str,
    *,
    owner: Owner,
    settings: Settings,
    launch: Launch,
    emit: Callable[[Event], None],
) -> Lease:
    """Take a chain for a run, as its options say.

    Args:
        settings: `enable_locking`, and `lock_timeout`.
        emit: told whom is waited for, or from whom it was taken.

    Raises:
        LockedError: somebody else still holds it; says with which commands to look, and to unlock. Or a process was
            stopped in the middle of its work on the store, and has to be let go on or ended.
    """
    try:
        return await store.acquire(chain, owner=owner, timeout=0)
    except LockedError as error:
        if not error.since:
            raise  # no lease is in the way, but a process that stands still: the store has waited for it
        holder = error
    patience = settings.lock_timeout
    if not settings.enable_locking:
        return await _take_over(store, chain, owner, holder, patience, emit)
    if patience > 0:
        emit(_waiting(chain, holder, patience))
    try:
        return await store.acquire(chain, owner=owner, timeout=patience)
    except LockedError as error:
        if not error.since:
            raise
        waited = f"; waited {patience:g} s for it" if patience > 0 else ""
        raise _with_remedy(error, waited, commands(store, error.unit, settings, launch)) from None


async def _take_over(
    store: StateStore, chain: str, owner: Owner, holder: LockedError, patience: float, emit: Callable[[Event], None]
) -> Lease:
    """Take a chain away from everybody who holds it, or one above or below it."""
    end = time.monotonic() + patience
    while True:
        await store.break_(holder.unit)
        emit(Notice(level="warning", message=f"the lock of {holder.unit} was taken from {holder.owner}"))
        try:
            return await store.acquire(chain, owner=owner, timeout=0)
        except LockedError as error:
            if time.monotonic() > end:
                raise
            holder = error


def _waiting(chain: str, holder: LockedError, patience: float) -> Waiting:
    return Waiting(
        unit=chain,
        held=holder.unit,
        owner=holder.owner.removesuffix(f", since {holder.since}"),
        since=holder.since,
        deadline=holder.deadline,
        patience=patience,
    )


def _with_remedy(error: LockedError, waited: str, said: list[str]) -> LockedError:
    remedy = f"; or look, and take the lock from it: {'; '.join(said)}" if said else ""
    return LockedError(
        error.message + waited,
        unit=error.unit,
        owner=error.owner,
        since=error.since,
        deadline=error.deadline,
        hint=f"wait for that run to end{remedy}",
    )


def commands(store: StateStore, chain: str, settings: Settings, launch: Launch) -> list[str]:
    """Give the commands that show who holds what, and that take a chain's lock away, as a shell takes them.

    Empty when no other process can reach the store.
    """
    if store.url.startswith("memory:"):
        return []
    place = place_options(store, settings, launch)
    return [
        shlex.join(["alchemy", "scope", "locks", *place]),
        shlex.join(["alchemy", "scope", "unlock", chain, *place]),
    ]


def place_options(store: StateStore, settings: Settings, launch: Launch) -> list[str]:
    """Give the options with which the command line finds a run's state; none where it does so by itself."""
    plain = _plain_settings(launch)
    if settings.state_store is not None:
        if plain is not None and settings.state_store == plain.state_store:
            return []
        return ["--state-store", store.url]
    folder = str(launch.root / settings.state_dir)
    shell = os.environ.get("PWD") or str(launch.root)
    if os.path.realpath(shell) != os.path.realpath(launch.root):
        return ["--state-dir", folder]
    return [] if plain is not None and settings.state_dir == plain.state_dir else ["--state-dir", settings.state_dir]


def _plain_settings(launch: Launch) -> Settings | None:
    """Give the options that hold when nothing is said, neither in the program nor on the command line."""
    before = config.launch.set(replace(launch, options={}))
    try:
        return config.resolve({})
    except ConfigurationError:
        return None
    finally:
        config.launch.reset(before)
