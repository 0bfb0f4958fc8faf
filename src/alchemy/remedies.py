"""What to do about state that is damaged, or gone: the command that brings it back, and not only that there is one."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from typing import Any

import msgspec

from alchemy.errors import StateDamaged, StateError
from alchemy.events import RunStarted, from_json
from alchemy.ports import StateStore


async def with_remedy(damage: StateDamaged, store: StateStore, unit: str, place: Sequence[str] = ()) -> StateDamaged:
    """Give the same error with the command that helps, now that the unit and its backups are known.

    Args:
        place: the options that say where the state is, if the command line would not find it by itself.
    """
    backups: Sequence[str] = ()
    with contextlib.suppress(StateError, OSError):
        backups = await store.backups(unit)
    if backups:
        known = f"the newest of {len(backups)} backups" if len(backups) > 1 else "the only backup"
        does = f"{known}: {_restoring(unit, backups, place)}"
    else:
        command = shlex.join(["alchemy", "scope", "rebuild", unit, *place])
        does = f"there is no backup, but what the program declares can be read back: {command}"
    hint = f"{damage.hint}; {does}" if damage.hint else does
    return StateDamaged(damage.message, path=damage.path, hint=hint)


async def what_is_gone(store: StateStore, unit: str, place: Sequence[str] = ()) -> str | None:
    """Say of a unit without any record that it had some, by its backups; `None`: it had none, or was destroyed.

    To be asked before the run that asks has a log.
    """
    backups = await store.backups(unit)
    if not backups:
        return None
    logs = await store.logs(unit)
    if logs and _phase(await store.read_log(unit, logs[-1])) == "destroy":
        return None
    return (
        f"{unit} has no records, though it has backups and was not destroyed: this run begins anew. "
        f"If the records were removed by hand, stop, and bring them back: {_restoring(unit, backups, place)}"
    )


def _restoring(unit: str, backups: Sequence[str], place: Sequence[str]) -> str:
    return shlex.join(["alchemy", "scope", "restore", unit, "--backup", backups[-1], *place])


def _phase(log: bytes) -> str | None:
    """Give what the run did whose log this is; `None` when the log does not say."""
    try:
        event = from_json(msgspec.json.decode(log.partition(b"\n")[0], type=dict[str, Any]))
    except msgspec.DecodeError:
        return None
    return event.phase if isinstance(event, RunStarted) else None
