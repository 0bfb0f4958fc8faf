"""The import itself: look what is there, compose, keep aside, back up, and write a stage in one commit."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from alchemy import config, state
from alchemy.config import Launch, Settings
from alchemy.crypto import Cipher
from alchemy.engine.session import Session
from alchemy.events import Bus
from alchemy.importing.aside import entries, write_aside
from alchemy.importing.composing import Plan, compose
from alchemy.importing.found import Source
from alchemy.importing.translating import Translated, translate
from alchemy.owner import owner_of
from alchemy.ports import StateStore
from alchemy.state import Application, Record
from alchemy.waiting import take


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
    translations = await _translated(request)
    if store is not None:
        await store.init()
    for translated in translations:
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
    translations = await _translated(request)
    await store.init()
    done: list[Import] = []
    async with AsyncExitStack() as held:
        planned: list[tuple[Session, Plan]] = []
        for translated in translations:
            session = await held.enter_async_context(_held(store, translated.unit, request.settings))
            planned.append((session, await _compose(translated, session.records, request)))
        for session, plan in planned:
            try:
                done.append(await _write(session, plan, request))
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
async def _held(store: StateStore, unit: str, settings: Settings) -> AsyncGenerator[Session]:
    launch = config.launch.get() or Launch()
    emit = Bus(launch.listeners).emit
    lease = await take(store, unit, owner=owner_of("import"), settings=settings, launch=launch, emit=emit)
    try:
        loaded = await store.load(unit, lease=lease)
        yield Session(store, unit, lease, loaded.records, operation="import")
    finally:
        await store.release(lease)


async def _write(session: Session, plan: Plan, request: Request) -> Import:
    """Write one stage: what is kept aside, then the backup, then all records in one commit."""
    store, result = session.store, Import(plan=plan)
    await _ensure_application(store, plan.unit.partition("/")[0])
    kept = entries(plan)
    if kept:
        # Stays when the commit fails: nobody can be sure that it did.
        result.aside = await asyncio.to_thread(write_aside, request.folder, request.source, plan, kept)
    await session.put_all(plan.records)
    if session.backup:
        result.backup = (await store.backups(plan.unit))[-1]
    if session.lease is not None:
        await store.fold(session.lease)
    return result


async def _ensure_application(store: StateStore, app: str) -> None:
    if await store.application(app) is None:
        made = Application(app=app, lineage=secrets.token_hex(16), created_at=state.now())
        await store.create_application(made)
