"""Backups: what one looks like, what it is called, and how many are kept. Pure.

A backup is a file as records are, with its checksum as the last key, and each record on a line of its own:

```json
{
  "version": 1,
  "kind": "alchemy::Backup",
  "unit": "notes/prod",
  "made_at": "2026-11-21T09:00:00.000Z",
  "operation": "deploy",
  "records": [
    {"version":1,"status":"created","…":"…"},
    {"version":1,"status":"created","…":"…"}
  ],
  "checksum": "5f0c5a8f7e1b2d3c"
}
```

Secrets are in it as they are in the records: encrypted. Where whole records are (option `encrypt_state`), there is
`sealed` in place of `records`: an envelope of the backup's text as it would be.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from alchemy.errors import StateDamaged, StateError, StateTooNew
from alchemy.state import SEALED, VERSION, Record, encode, from_json, is_array, is_object, seal_text, unseal

BACKUP_KIND = "alchemy::Backup"
KEPT = 20
"""Backups of a unit that are kept; older ones go after a successful run."""
_NAME = re.compile(r"state-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-\d{3}Z\.json")
_HINT = "choose another backup"


class Backup(msgspec.Struct, kw_only=True, frozen=True):
    """A unit as it was.

    Attributes:
        unit: `notes/prod`.
        made_at: when; UTC, ISO 8601.
        operation: what was about to change the unit: `deploy`, `destroy`, `reset`, `restore`, …
        records: by FQN, the unit's own included.
    """

    unit: str
    made_at: str
    operation: str
    records: Mapping[str, Record]


def stamp(moment: datetime) -> str:
    """Give a moment as names of files write it: `2026-11-21T09-00-00-000Z`."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return text.replace(":", "-").replace(".", "-")


MOMENT = timedelta(milliseconds=1)
"""What names of backups tell apart."""


def backup_name(moment: datetime, taken: Collection[str] = (), *, step: timedelta = MOMENT) -> str:
    """Name a backup after its moment, or the nearest one after it whose name is not taken, in steps.

    Names sort as their moments do.
    """
    while (name := f"state-{stamp(moment)}.json") in taken:
        moment += step
    return name


def is_backup_name(name: str) -> bool:
    """Say whether `backup_name` gives such names."""
    return _NAME.fullmatch(name) is not None


def moment_of(name: str) -> datetime:
    """Give the moment that a name from `backup_name` stands for."""
    day, _, time = name.removeprefix("state-").removesuffix("Z.json").partition("T")
    hour, minute, second, millisecond = time.split("-")
    return datetime.fromisoformat(f"{day}T{hour}:{minute}:{second}.{millisecond}+00:00")


def is_sealed_backup(raw: bytes) -> bool:
    """Say whether a backup is encrypted as a whole."""
    try:
        head = msgspec.json.decode(raw)
    except ValueError:
        return False
    return is_object(head) and is_object(head.get(SEALED))


def surplus(names: Iterable[str], keep: int = KEPT) -> Sequence[str]:
    """List the backups to drop so that the newest `keep` stay. What somebody has named otherwise is left alone."""
    ours = sorted(name for name in names if is_backup_name(name))
    return ours[: max(0, len(ours) - keep)]


def encode_backup(*, unit: str, made_at: str, operation: str, records: Iterable[Record]) -> bytes:
    """Give a backup's bytes."""
    head = {"version": VERSION, "kind": BACKUP_KIND, "unit": unit, "made_at": made_at, "operation": operation}
    text = msgspec.json.format(msgspec.json.encode(head), indent=2)[:-2]
    lines = b",\n    ".join(map(encode, records))
    return seal_text(b'%s,\n  "records": [\n    %s\n  ]' % (text, lines))


def decode_backup(raw: bytes, *, where: str) -> Backup:
    """Read what `encode_backup` gave.

    Args:
        where: what to name in an error: the file, or the store's key.

    Raises:
        StateTooNew: a newer version wrote it.
        StateDamaged: it was cut short or changed since, or is no backup.
        StateError: it is encrypted.
    """
    try:
        body = unseal(raw, where=where)
    except StateDamaged as error:
        raise StateDamaged(error.message, path=where, hint=_HINT) from error
    version, listed = body.get("version"), body.get("records")
    if isinstance(version, int) and version > VERSION:
        raise StateTooNew(
            f"{where} was written in form {version}; this version reads up to {VERSION}", hint="upgrade alchemy-iac"
        )
    facts = [body.get(name) for name in ("unit", "made_at", "operation")]
    if body.get("kind") == BACKUP_KIND and SEALED in body:
        raise StateError(f"{where} is encrypted", hint="set ALCHEMY_PASSWORD to the password it was encrypted with")
    if body.get("kind") != BACKUP_KIND or not is_array(listed) or not all(isinstance(fact, str) for fact in facts):
        raise StateDamaged(f"{where} is not a backup", path=where, hint=_HINT)
    records = [from_json(data, where=where) for data in listed if is_object(data)]
    if len(records) != len(listed):
        raise StateDamaged(f"{where} holds something that is no record", path=where, hint=_HINT)
    unit, made_at, operation = map(str, facts)
    return Backup(unit=unit, made_at=made_at, operation=operation, records={record.fqn: record for record in records})
