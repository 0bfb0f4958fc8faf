"""The import itself: look what is there, compose, keep aside, back up, and write a stage in one commit."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from alchemy import state
from alchemy.config import Settings
from alchemy.crypto import Cipher
from alchemy.history import backup_name, encode_backup
from alchemy.importing.aside import entries, write_aside
from alchemy.importing.composing import Plan, compose
from alchemy.importing.found import Source
from alchemy.importing.translating import Translated, translate
from alchemy.owner import owner_of
from alchemy.ports import Lease, StateStore
from alchemy.state import Application, Record


@dataclass(slots=True, kw_only=True)
class Import:
    """What became of one stage.

    Attributes:
        aside: the file that what has no counterpart is kept in; `None` when there is nothing of that kind.
        backup: the name of the backup that was made before; `None` when the stage held nothing.
    """

    plan: Plan
    aside: Path | None = None
    backup: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be imported, and by which passwords.

    Attributes:
        password: what secrets are encrypted with from now on; `source_password`: what they are encrypted with now.
        folder: where what has no counterpart is kept.
    """

    source: Source
    settings: Settings
    folder: Path
    password: str | None = field(default=None, repr=False)
    source_password: str | None = field(default=None, repr=False)


async def dry_run(store: StateStore | None, request: Request) -> list[Plan]:
    """Say what an import would do; nothing is locked, and nothing is written.

    Args:
        store: where it would be written; `None`: that place does not exist yet.

    Raises:
        AlchemyError: what the import itself would raise.
    """
    plans: list[Plan] = []
    for translated in await _translated(request):
        records = {} if store is None else (await store.load(translated.unit)).records
        plans.append(await _compose(translated, records, request))
    return plans


async def run_import(store: StateStore, request: Request) -> list[Import]:
    """Import every stage of a source: all of a stage, or nothing of it.

    All stages are held, read and composed before the first is written, so that what can be known to fail fails
    before. A stage that held something is backed up first.

    Raises:
        AlchemyError: nothing was written, except for the stages named in the error's notes.
    """
    done: list[Import] = []
    async with AsyncExitStack() as held:
        planned: list[tuple[Lease, Mapping[str, Record], Plan]] = []
        for translated in await _translated(request):
            lease = await held.enter_async_context(_held(store, translated.unit, request.settings))
            loaded = await store.load(lease.unit, lease=lease)
            planned.append((lease, loaded.records, await _compose(translated, loaded.records, request)))
        for lease, records, plan in planned:
            try:
                done.append(await _write(store, lease, records, plan, request))
            except BaseException as error:
                for earlier in done:
                    error.add_note(f"{earlier.plan.unit} was imported before")
                raise
    return done


async def _translated(request: Request) -> list[Translated]:
    password = request.source_password
    cipher = Cipher(password) if password is not None else None

    def work() -> list[Translated]:
        source = request.source
        return [translate(unit, found, cipher=cipher, root=source.root) for unit, found in source.units.items()]

    return await asyncio.to_thread(work)


async def _compose(translated: Translated, records: Mapping[str, Record], request: Request) -> Plan:
    return await asyncio.to_thread(compose, translated, records, password=request.password)


@contextlib.asynccontextmanager
async def _held(store: StateStore, unit: str, settings: Settings) -> AsyncGenerator[Lease]:
    lease = await store.acquire(unit, owner=owner_of("import"), timeout=settings.lock_timeout)
    try:
        yield lease
    finally:
        await store.release(lease)


async def _write(
    store: StateStore, lease: Lease, records: Mapping[str, Record], plan: Plan, request: Request
) -> Import:
    """Write one stage: the backup, then what is kept aside, then all records in one commit."""
    result = Import(plan=plan)
    await _ensure_application(store, plan.unit.partition("/")[0])
    if records:
        result.backup = await _back_up(store, lease, records)
    kept = entries(plan)
    if kept:
        # Stays when the commit fails: nobody can be sure that it did.
        result.aside = await asyncio.to_thread(write_aside, request.folder, request.source, plan, kept)
    await _commit(store, lease, plan)
    await store.fold(lease)
    return result


async def _back_up(store: StateStore, lease: Lease, records: Mapping[str, Record]) -> str:
    moment = datetime.now(UTC)
    name = backup_name(moment, await store.backups(lease.unit))
    made_at = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    content = encode_backup(unit=lease.unit, made_at=made_at, operation="import", records=records.values())
    await store.save_backup(lease, name, content)
    return name


async def _commit(store: StateStore, lease: Lease, plan: Plan) -> None:
    for record in plan.records:
        record.rev += 1
        record.fence = lease.token
        record.updated_at = state.now()
        record.created_at = record.created_at or record.updated_at
    await store.set(lease, *plan.records)


async def _ensure_application(store: StateStore, app: str) -> None:
    if await store.application(app) is None:
        made = Application(app=app, lineage=secrets.token_hex(16), created_at=state.now())
        await store.create_application(made)
