"""The password of state: whether it is the right one, and another one in its place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from alchemy.crypto import Cipher
from alchemy.engine.ledger import LEDGER
from alchemy.engine.run import Run
from alchemy.engine.session import Session
from alchemy.errors import ConfigurationError, SecretError
from alchemy.names import is_within
from alchemy.state import Generation, Json, JsonObject, Record, is_array, is_object
from alchemy.stores._sealed import SealedStore
from alchemy.upkeep.stores import Stores
from alchemy.upkeep.working import Upkeep, work_on

Change = Callable[[Json, str], Json]
"""Gives an envelope for an envelope; told the FQN that it is bound to."""
_PARTS = ("props", "attempted", "output", "data")


@dataclass(slots=True)
class Verdict:
    """What a password opens of one unit.

    Attributes:
        opened: how many secrets, and records that are encrypted as a whole.
        refused: why something does not open, in words; the first of each record.
        apart: scopes with a password of their own, of which nothing is known.
    """

    unit: str
    opened: int = 0
    refused: list[str] = field(default_factory=list[str])
    apart: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class Rekeyed:
    """What became of one unit.

    Attributes:
        records: how many were written; 0 when all of it was under the new password already, or nothing is encrypted.
        backups: those that are still under the old password, by name.
        apart: scopes with a password of their own: they keep it.
    """

    unit: str
    records: int = 0
    backups: list[str] = field(default_factory=list[str])
    apart: list[str] = field(default_factory=list[str])


async def check(stores: Stores, unit: str, password: str) -> Verdict:
    """Try to open everything that is encrypted in a unit; nothing is locked or written.

    Args:
        stores: opened with the same password.
    """
    verdict = Verdict(unit)
    try:
        contents = await stores.contents(unit)
    except SecretError as error:
        verdict.refused.append(error.message)
        return verdict
    cipher = Cipher(password)
    verdict.refused += [error.message for error in contents.unreadable.values() if isinstance(error, SecretError)]
    verdict.apart = _apart(contents.records.get(unit), unit)
    store = stores.first
    verdict.opened += len(contents.records) if isinstance(store, SealedStore) and store.seals(unit) else 0

    def work() -> None:
        for record in contents.records.values():
            try:
                for envelope, context in envelopes_in(record):
                    if not any(is_within(context, chain) for chain in verdict.apart):
                        cipher.open(envelope, context=context)
                        verdict.opened += 1
            except SecretError as error:
                verdict.refused.append(error.message)

    await asyncio.to_thread(work)
    return verdict


async def rekey(unit: str, new: str, **options: Any) -> Rekeyed:
    """Encrypt everything of a unit with another password: secrets of records, of old generations and of what a reset
    has forgotten, scopes' data, and records that are encrypted as a whole. In one commit a store; what is under the new
    password already stays, so that it may be said again after an interruption.

    Args:
        new: the new password; the old one is among the options.
        options: as for `alchemy(...)`.

    Raises:
        ConfigurationError: there is no old password, or it is the new one.
        SecretError: something opens with neither; nothing was written.
        LockedError, StateError: nothing was written.
    """
    done = Rekeyed(unit)

    async def work(upkeep: Upkeep) -> None:
        await _rekey(upkeep.run, new, done)

    await work_on(unit, work, also=new, **options)
    return done


async def _rekey(run: Run, new: str, done: Rekeyed) -> None:
    old = run.settings.password
    if old is None or old == new:
        raise ConfigurationError(
            "there is no password to begin with" if old is None else "the new password is the old one",
            hint="ALCHEMY_PASSWORD is the old one, ALCHEMY_NEW_PASSWORD the new one",
        )
    done.apart = _apart(run.session.get(run.unit), run.unit)
    sessions = list({id(session): session for session in run.sessions.values()}.values())
    sessions.reverse()  # the unit's own last: it says by which key the others are opened
    changes = await asyncio.to_thread(_changes, run, sessions, Cipher(old), new, done.apart)
    for session, records in zip(sessions, changes, strict=True):
        if not records:
            continue
        await session.back_up()
        done.backups += await session.store.backups(session.unit)
        if isinstance(session.store, SealedStore):
            await session.store.use_password(new, session.unit)
        await session.rewrite(records)
        done.records += len(records)


def _changes(run: Run, sessions: list[Session], before: Cipher, new: str, apart: list[str]) -> list[list[Record]]:
    """Give the records of each session that are to be written. Raises `SecretError` when something does not open."""
    own = run.session.get(run.unit)
    salts, keys = (_said(own, what).get(run.unit) for what in ("salts", "keys"))
    after = Cipher(new, salt=bytes.fromhex(salts)) if salts and keys else Cipher(new)
    if keys and after.fingerprint != keys:
        after = Cipher(new)  # not begun yet

    def change(envelope: Json, context: str) -> Json:
        if any(is_within(context, chain) for chain in apart):
            return envelope
        try:
            plaintext = before.open(envelope, context=context)
        except SecretError as error:
            if not _opens(after, envelope, context):
                raise error from None
            return envelope
        return after.seal(plaintext, context=context)

    changes: list[list[Record]] = []
    for session in sessions:
        store = session.store
        sealed = store.under_first(session.unit) if isinstance(store, SealedStore) else frozenset[str]()
        records: list[Record] = []
        for fqn, record in session.records.items():
            now = with_envelopes(record, change)
            if record is own and keys and after.fingerprint != keys:
                now = _with_key(now, run.unit, after)
            if now is not record or fqn in sealed:
                records.append(now)
        changes.append(records)
    return changes


def _opens(cipher: Cipher, envelope: Json, context: str) -> bool:
    try:
        cipher.open(envelope, context=context)
    except SecretError:
        return False
    return True


def _said(own: Record | None, what: str) -> JsonObject:
    by_scope: Json = own.output.get(what) if own is not None else None
    return by_scope if is_object(by_scope) else {}


def _with_key(own: Record, unit: str, cipher: Cipher) -> Record:
    salts, keys = (_said(own, what) for what in ("salts", "keys"))
    output = {
        **own.output,
        "salts": {**salts, unit: cipher.salt.hex()},
        "keys": {**keys, unit: cipher.fingerprint},
    }
    return msgspec.structs.replace(own, output=output)


def _apart(own: Record | None, unit: str) -> list[str]:
    """Name the scopes that have a password of their own."""
    return sorted({*_said(own, "salts"), *_said(own, "keys")} - {unit})


def envelopes_in(record: Record) -> Iterator[tuple[Json, str]]:
    """Give every envelope in a record, with the FQN that it is bound to."""
    found: list[tuple[Json, str]] = []

    def take(envelope: Json, context: str) -> Json:
        found.append((envelope, context))
        return envelope

    with_envelopes(record, take)
    yield from found


def with_envelopes(record: Record, change: Change) -> Record:
    """Give a record with other envelopes; the same object when none is another."""
    changed = _parts(record, record.fqn, change)
    old = [(one, _parts(one, record.fqn, change)) for one in record.generations]
    if any(parts for _, parts in old):
        changed["generations"] = [msgspec.structs.replace(one, **parts) for one, parts in old]
    return msgspec.structs.replace(record, **changed) if changed else record


def _parts(of: Record | Generation, fqn: str, change: Change) -> dict[str, Any]:
    """Give those parts of a record, or of an old generation, that are other ones."""
    changed: dict[str, Any] = {}
    for name in _PARTS:
        data = getattr(of, name)
        now = _walk(data, fqn, change)
        if name == "output" and is_object(now) and is_object(now.get(LEDGER)):
            now = {**now, LEDGER: {entry: _walk(kept, entry, change) for entry, kept in now[LEDGER].items()}}
        if now != data:
            changed[name] = now
    return changed


def _walk(data: Json, context: str, change: Change) -> Json:
    if is_object(data):
        if data.keys() == {"@secret"}:
            payload = data["@secret"]
            if is_object(payload) and "data" in payload:
                return {"@secret": {**payload, "data": change(payload["data"], context)}}
            return {"@secret": change(payload, context)}
        return {key: item if key == LEDGER else _walk(item, context, change) for key, item in data.items()}
    if is_array(data):
        return [_walk(item, context, change) for item in data]
    return data
