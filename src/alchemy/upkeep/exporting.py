"""State in one file: written for safe-keeping or for another store, and read back.

```json
{
  "version": 1, "kind": "alchemy::Export", "made_at": "2026-11-21T09:00:00.000Z",
  "applications": [{"app": "notes", "lineage": "…"}],
  "records": [{"version": 1, "fqn": "notes/prod", "…": "…"}, {"version": 1, "fqn": "notes/prod/api", "…": "…"}],
  "checksum": "5f0c5a8f7e1b2d3c"
}
```

Secrets, and records that are encrypted as a whole, are in it as they are stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from alchemy import state
from alchemy.config import Settings
from alchemy.errors import StateDamaged, StateTooNew
from alchemy.names import unit_of
from alchemy.ports import StateStore
from alchemy.state import VERSION, Application, Record, from_json, is_array, is_object, seal, to_json, unseal
from alchemy.upkeep.copying import Contents, Copied, check_free, held, write

EXPORT_KIND = "alchemy::Export"


async def export(store: StateStore, units: Sequence[str]) -> bytes:
    """Give units as one file, as they are stored; each as it is at one moment. Nothing is locked.

    Raises:
        StateError: one cannot be read.
    """
    records: list[Record] = []
    applications: list[Application] = []
    for unit in units:
        records += (await store.load(unit)).records.values()
    for app in dict.fromkeys(unit.partition("/")[0] for unit in units):
        application = await store.application(app)
        if application is not None:
            applications.append(application)
    return seal(
        {
            "version": VERSION,
            "kind": EXPORT_KIND,
            "made_at": state.now(),
            "applications": [msgspec.to_builtins(application) for application in applications],
            "records": [to_json(record) for record in records],
        }
    )


def is_export(path: Path) -> bool:
    """Say whether a file is, or was, such an export."""
    try:
        head = msgspec.json.decode(path.read_bytes())
    except (OSError, ValueError):
        return False
    return is_object(head) and head.get("kind") == EXPORT_KIND


def read_export(path: Path) -> list[Contents]:
    """Read an export: what it holds, by unit.

    Raises:
        StateDamaged: it was changed since, or cut short.
        StateTooNew: a newer version wrote it.
    """
    body = unseal(path.read_bytes(), where=str(path))
    version, listed, told = body.get("version"), body.get("records"), body.get("applications")
    if isinstance(version, int) and version > VERSION:
        raise StateTooNew(
            f"{path} was written in form {version}; this version reads up to {VERSION}", hint="upgrade alchemy-iac"
        )
    if not is_array(listed) or not is_array(told):
        raise StateDamaged(f"{path} lacks its records", path=path, hint="export again")
    try:
        applications = {one.app: one for one in (msgspec.convert(data, Application) for data in told)}
    except msgspec.ValidationError as error:
        raise StateDamaged(f"{path} holds no application's record: {error}", path=path, hint="export again") from error
    units: dict[str, dict[str, Record]] = {}
    for data in listed:
        record = from_json(data if is_object(data) else {}, where=str(path))
        units.setdefault(unit_of(record.fqn), {})[record.fqn] = record
    return [Contents(unit, applications.get(unit.partition("/")[0]), records) for unit, records in units.items()]


async def check_import(store: StateStore, contents: Sequence[Contents]) -> None:
    """Refuse what `import_export` would refuse; writes and locks nothing."""
    for one in contents:
        await check_free(store, one)


async def import_export(store: StateStore, contents: Sequence[Contents], settings: Settings) -> list[Copied]:
    """Write what an export holds into a store; each unit in one commit, all held and compared before the first.

    Raises:
        StateError: the store has something else there; nothing was written.
        LockedError: somebody is at work on one of them; nothing was written.
    """
    done: list[Copied] = []
    async with AsyncExitStack() as stack:
        leases = [await stack.enter_async_context(held(store, one.unit, settings, "import")) for one in contents]
        await check_import(store, contents)
        for lease, one in zip(leases, contents, strict=True):
            done.append(await write(store, lease, one))
            await store.fold(lease)
    return done
