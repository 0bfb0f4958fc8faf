"""Copying state from one store to another, and out of a store into a file and back.

A stage or test is copied in one commit: after an interruption it is there whole, or not at all, and the same command
goes on from there.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from alchemy import config
from alchemy.config import Launch, Settings
from alchemy.errors import ConfigurationError, StateError
from alchemy.events import Bus
from alchemy.owner import owner_of
from alchemy.ports import Lease, StateStore
from alchemy.state import Application, Record, encode
from alchemy.stores._addresses import place_of
from alchemy.waiting import take


@dataclass(slots=True)
class Copied:
    """What became of one unit.

    Attributes:
        records: how many there are; `backups` likewise.
        already: whether all of them were there before.
        left_out: what was not copied, in words.
    """

    unit: str
    records: int = 0
    backups: int = 0
    already: bool = True
    left_out: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class Contents:
    """What is to be written of a unit."""

    unit: str
    application: Application | None
    records: Mapping[str, Record]


@contextlib.asynccontextmanager
async def held(store: StateStore, unit: str, settings: Settings, operation: str) -> AsyncGenerator[Lease]:
    """Hold a unit for a while, waiting for others as the options say."""
    launch = config.launch.get() or Launch()
    emit = Bus(launch.listeners).emit
    lease = await take(store, unit, owner=owner_of(operation), settings=settings, launch=launch, emit=emit)
    try:
        yield lease
    finally:
        await store.release(lease)


async def copy(source: StateStore, target: StateStore, units: Sequence[str], settings: Settings) -> list[Copied]:
    """Copy units as they are stored, with their application's record and their backups; the source is not changed.

    All are held on both sides, and compared, before the first is written. What is written is read back and compared
    record by record.

    Args:
        settings: how long to wait for whoever holds one of them.

    Raises:
        ConfigurationError: both are one store.
        StateError: the target has something else there; nothing was written. Or what was read back differs.
        LockedError: somebody is at work on one of them; nothing was written.
    """
    if source.url == target.url:
        raise ConfigurationError(f"{source.url} cannot be copied to itself", hint="say another place: --to URL")
    copied: list[Copied] = []
    async with AsyncExitStack() as stack:
        leases: dict[str, Lease] = {}
        contents: list[Contents] = []
        for unit in units:
            await stack.enter_async_context(held(source, unit, settings, "copy"))
            leases[unit] = await stack.enter_async_context(held(target, unit, settings, "copy"))
            application = await source.application(unit.partition("/")[0])
            contents.append(Contents(unit, application, (await source.load(unit)).records))
            await check_free(target, contents[-1])
        for one in contents:
            done = await write(target, leases[one.unit], one)
            await _copy_backups(source, target, leases[one.unit], done)
            await target.fold(leases[one.unit])
            done.left_out += await _left_out(source, one)
            copied.append(done)
    return copied


async def check_free(target: StateStore, contents: Contents) -> None:
    """Refuse to write where there is something else.

    Raises:
        StateError: another application of that name, or records that are not the same ones.
    """
    app = contents.unit.partition("/")[0]
    standing = await target.application(app)
    mine = contents.application
    if standing is not None and mine is not None and standing.lineage != mine.lineage:
        raise StateError(
            f"{target.url} has another application called {app}: its objects have other names",
            hint="choose an empty place",
        )
    there = (await target.load(contents.unit)).records
    others = [fqn for fqn, record in there.items() if not _is_same(record, contents.records.get(fqn))]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise StateError(
            f"{target.url} has other state in {contents.unit}: {others[0]}{more}; nothing was written",
            hint="choose an empty place, or destroy, or reset, what is there",
        )


async def write(target: StateStore, lease: Lease, contents: Contents) -> Copied:
    """Write what is not there yet, in one commit, and compare what is read back.

    Raises:
        StateError: something is not as it was written.
    """
    records = contents.records
    done = Copied(contents.unit, records=len(records))
    if contents.application is not None:
        await target.create_application(contents.application)
    there = (await target.load(contents.unit, lease=lease)).records
    missing = [record for fqn, record in records.items() if fqn not in there]
    if missing:
        done.already = False
        await target.set(lease, *missing)
    back = (await target.load(contents.unit, lease=lease)).records
    for fqn, record in records.items():
        if not _is_same(record, back.get(fqn)):
            raise StateError(
                f"{fqn} is not in {target.url} as it was written", hint="do not use that copy; the source is unchanged"
            )
    return done


async def _copy_backups(source: StateStore, target: StateStore, lease: Lease, done: Copied) -> None:
    unit = lease.unit
    names, there = await source.backups(unit), await target.backups(unit)
    for name in names:
        content = await source.read_backup(unit, name)
        if name not in there:
            done.already = False
            await target.save_backup(lease, name, content)
        if await target.read_backup(unit, name) != content:
            raise StateError(
                f"the backup {name} of {unit} is another in {target.url}", hint="remove it there, then copy again"
            )
    done.backups = len(names)


async def _left_out(source: StateStore, contents: Contents) -> list[str]:
    """Say what belongs to a unit and is not copied."""
    left: list[str] = []
    logs = len(await source.logs(contents.unit))
    if logs:
        left.append(f"its {logs} {'log' if logs == 1 else 'logs'}")
    for fqn, record in contents.records.items():
        url = place_of(record, outer=source.url)
        if url is not None:
            left.append(f"what {fqn} keeps in {url}, where it stays")
    return left


def _is_same(one: Record, other: Record | None) -> bool:
    return other is not None and encode(one) == encode(other)
