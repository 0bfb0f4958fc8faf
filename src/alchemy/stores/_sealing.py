"""Records and backups whose contents are encrypted as a whole. Does no I/O; deriving a key takes half a second.

What a store and its tools need stays in clear: names, kinds, statuses, dependencies, order, providers and times. The
rest is one envelope, of the form that secrets have (`crypto`), under the key `sealed`:

```json
{"version":1,"status":"created","kind":"fs::File","fqn":"notes/prod/readme","…":"…","props":{},"output":{},"sealed":{…}}
```

A backup keeps its unit, its time and its operation in clear, and nothing else.
"""

from __future__ import annotations

from typing import Any

import msgspec

from alchemy.crypto import Cipher
from alchemy.errors import StateDamaged, StateError
from alchemy.history import BACKUP_KIND, is_sealed_backup
from alchemy.state import SEALED, VERSION, JsonObject, Record, from_json, is_object, seal, to_json

_OF_RESOURCES = (
    "target",
    "data",
    "props",
    "attempted",
    "output",
    "physical_name",
    "absent",
    "generations",
    "limits",
)
_OF_SCOPES = ("data", "output")
"""A scope's inputs stay in clear: they say which store it has of its own, which must be known to read on."""
_EMPTY: JsonObject = to_json(Record(kind="", id="", fqn=""))


def record_context(fqn: str) -> str:
    """Give what a record's envelope is bound to: no FQN has a colon, so that no secret's envelope can stand for it."""
    return f"record:{fqn}"


def backup_context(unit: str) -> str:
    """Give what a backup's envelope is bound to."""
    return f"backup:{unit}"


def seal_record(record: Record, cipher: Cipher) -> Record:
    """Give a record with its contents encrypted. Raises `StateError` for what cannot be stored."""
    hidden = _OF_SCOPES if record.is_scope else _OF_RESOURCES
    try:
        content = msgspec.json.encode({name: getattr(record, name) for name in hidden})
    except TypeError as error:
        raise StateError(f"{record.fqn} holds something that JSON cannot: {error}") from error
    envelope = cipher.seal(content, context=record_context(record.fqn))
    bare: Any = {name: _EMPTY[name] for name in hidden}
    return msgspec.structs.replace(record, **bare, extra={**record.extra, SEALED: envelope})


def open_record(record: Record, cipher: Cipher) -> Record:
    """Give a record as it was before it was sealed; one that never was is given back.

    Raises:
        SecretError: the password is another, or the record was changed.
    """
    if not record.is_sealed:
        return record
    content = cipher.open(record.extra[SEALED], context=record_context(record.fqn))
    data = {**to_json(record), **_object(content, record.fqn)}
    del data[SEALED]
    return from_json(data, where=record.fqn)


def seal_backup(content: bytes, cipher: Cipher, *, unit: str) -> bytes:
    """Give a unit's backup with its records encrypted; one that is so already is given back."""
    if is_sealed_backup(content):
        return content
    try:
        head = msgspec.json.decode(content)
    except ValueError:
        head = {}
    told = {name: head.get(name) for name in ("made_at", "operation")} if is_object(head) else {}
    shown = {"version": VERSION, "kind": BACKUP_KIND, "unit": unit, **told}
    return seal({**shown, SEALED: cipher.seal(content, context=backup_context(unit))})


def open_backup(content: bytes, cipher: Cipher) -> bytes:
    """Give a backup as it was before it was sealed; one that never was is given back. Raises as `open_record` does."""
    if not is_sealed_backup(content):
        return content
    head: JsonObject = msgspec.json.decode(content)
    return cipher.open(head[SEALED], context=backup_context(str(head.get("unit"))))


def _object(content: bytes, fqn: str) -> JsonObject:
    data = msgspec.json.decode(content)
    if not is_object(data):
        raise StateDamaged(f"what is encrypted in {fqn} is no record", path=fqn, hint="restore it from a backup")
    return data
