"""Records: what is remembered of every scope and resource, and how a record becomes bytes. Pure.

One record a resource and one a scope, under the same form. A resource's record, as its file shows it:

```json
{
  "version": 1, "status": "created", "kind": "fs::File", "id": "readme", "fqn": "notes/prod/readme",
  "seq": 3, "seen": 4, "deps": [], "provider": "alchemy.fs._file:FileProvider", "target": "machine",
  "data": {}, "props": {"path": "README.txt", "content": "hello"}, "output": {"size": 5},
  "physical_name": null, "generation": 1, "generations": [], "limits": {}, "retain": false, "protect": false,
  "verify": false, "confirmed": 0, "earlier": [], "rev": 2, "fence": 7,
  "created_at": "2026-11-21T09:00:00.000Z", "updated_at": "2026-11-21T09:00:00.000Z",
  "checksum": "5f0c5a8f7e1b2d3c"
}
```
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeGuard

import msgspec

from alchemy.errors import StateDamaged, StateTooNew

VERSION = 1
STAGE_KIND = "alchemy::Stage"
TEST_KIND = "alchemy::Test"
SCOPE_KIND = "alchemy::Scope"
SEALED = "sealed"
"""The key of what is encrypted, in a record or a backup that is encrypted as a whole."""
SCOPE_KINDS = frozenset({STAGE_KIND, TEST_KIND, SCOPE_KIND})

Json = Any
JsonObject = dict[str, Any]


class Status(StrEnum):
    """How far a resource has come, as stored. The `-ing` ones are intents: written before the provider is called."""

    CREATING = "creating"
    CREATED = "created"
    UPDATING = "updating"
    UPDATED = "updated"
    DELETING = "deleting"
    DELETED = "deleted"


STABLE = frozenset({Status.CREATED, Status.UPDATED})


class Place(msgspec.Struct, kw_only=True, frozen=True):
    """A place in the order that an edit has moved a record from, kept until a run of the edited program ends well.

    Attributes:
        confirmed: as in `Record`.
        until: the tick at which the run began that moved it.
        holds: whether its object may still be as it was at this place, made from `deps` and what was seen before `seq`.
    """

    seq: int
    seen: int | None = None
    deps: list[str] = []
    confirmed: int = 0
    until: int
    holds: bool = True


class Generation(msgspec.Struct, kw_only=True):
    """An object that a replacement has left behind, until it is deleted.

    Attributes:
        status: `created`/`updated`, or `creating` when it may never have come to be.
        verify, confirmed, earlier: as in `Record`.
    """

    generation: int
    kind: str
    provider: str
    status: Status
    target: str = ""
    physical_name: str | None = None
    props: JsonObject = {}
    attempted: JsonObject | None = None
    output: JsonObject = {}
    data: JsonObject = {}
    absent: bool = False
    seq: int = 0
    seen: int | None = None
    deps: list[str] = []
    verify: bool = False
    confirmed: int = 0
    earlier: list[Place] = []


class Record(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One resource or one scope, as remembered.

    Attributes:
        version: of this form; older ones are migrated when read, newer ones refused.
        seq: the tick at which the program declared it.
        seen: the tick at which the program's `await` on it returned, or a scope was left; `None`: not yet.
        deps: the FQNs of every resource passed in or named in `depends_on`.
        provider: where the provider class is: `module:Class`, or `file:path#Class`.
        target: the account or local data set that its object lives in.
        data: what a provider or a scope's `set` keeps.
        props: the inputs last *applied*.
        attempted: the inputs being applied, while the status says so; else `None`.
        output: what the provider gave back.
        absent: at the time of the intent nothing was found under the name the user chose.
        generation: 1, and one more for each replacement; `generations` are those still to be deleted.
        limits: `timeout` and `retry` of its calls, where the program says them for this resource: they hold for its
            deletion too, when the program knows of it no more.
        retain: delete the record and leave the object. `protect`: refuse to delete or replace.
        verify: it was restored, or brought back after it had been forgotten: its object is read from the provider
            before the record is skipped, updated or deleted.
        confirmed: the tick at which the last run began that found the object as the program says, where that decides
            what it is made from: others were moved in the same run. 0: not noted.
        earlier: the places that runs of an edited program have moved it from, oldest first; until such a run ends well.
        rev: counts the writes of this record. `fence`: the token it was last written under.
        extra: keys this version does not know, kept as they were; the last field, see `encode`.
    """

    version: int = VERSION
    status: Status = Status.CREATING
    kind: str
    id: str
    fqn: str
    seq: int = 0
    seen: int | None = None
    deps: list[str] = []
    provider: str = ""
    target: str = ""
    data: JsonObject = {}
    props: JsonObject = {}
    attempted: JsonObject | None = None
    output: JsonObject = {}
    physical_name: str | None = None
    absent: bool = False
    generation: int = 1
    generations: list[Generation] = []
    limits: JsonObject = {}
    retain: bool = False
    protect: bool = False
    verify: bool = False
    confirmed: int = 0
    earlier: list[Place] = []
    rev: int = 0
    fence: int = 0
    created_at: str = ""
    updated_at: str = ""
    extra: JsonObject = {}

    @property
    def is_scope(self) -> bool:
        """Whether it is a scope's record and not a resource's."""
        return self.kind in SCOPE_KINDS

    @property
    def is_sealed(self) -> bool:
        """Whether its contents are encrypted as a whole: what is in clear is its name, status, order and times."""
        return SEALED in self.extra

    @property
    def is_stable(self) -> bool:
        """Whether its object is known to be as `props` and `output` say."""
        return self.status in STABLE and not self.verify

    @property
    def needs(self) -> list[str]:
        """The FQNs of every resource that its object is, or may still be, made from."""
        return needs_of(self)

    @property
    def newest_tick(self) -> int:
        """The largest tick in it."""
        return max(self.seq, self.seen or 0, self.confirmed, self.earlier[-1].until if self.earlier else 0)


def needs_of(of: Record | Generation) -> list[str]:
    """Give the FQNs of every resource that an object is, or may still be, made from."""
    held = [place.deps for place in of.earlier if place.holds]
    return sorted({*of.deps, *(fqn for deps in held for fqn in deps)}) if held else of.deps


class Application(msgspec.Struct, kw_only=True, frozen=True):
    """What is written once for an application and never changed.

    Attributes:
        lineage: 128 random bits in hexadecimal: which application this is, whatever it is called.
        min_reader: the oldest version of the form that may read it.
    """

    app: str
    lineage: str
    created_at: str
    kind: str = "alchemy::Application"
    version: int = VERSION
    min_reader: int = VERSION


_ORDERED = tuple(name for name in Record.__struct_fields__ if name != "extra")
KNOWN = frozenset(_ORDERED)
_encoder = msgspec.json.Encoder()
_decode = msgspec.json.decode
_decode_record = msgspec.json.Decoder(Record).decode
_NO_EXTRA = b',"extra":{}}'
_CHECKSUM = b',\n  "checksum": "'


def is_object(data: Json) -> TypeGuard[JsonObject]:
    """Say whether JSON data is an object."""
    return type(data) is dict


def is_array(data: Json) -> TypeGuard[list[Json]]:
    """Say whether JSON data is an array."""
    return type(data) is list


def now() -> str:
    """Give the time as records write it: UTC, milliseconds, `Z`."""
    second, millisecond = divmod(time.time_ns() // 1_000_000, 1000)
    return f"{_to_second(second)}.{millisecond:03d}Z"


@lru_cache(maxsize=1)
def _to_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def to_json(record: Record) -> JsonObject:
    """Turn a record into the object that is stored, unknown keys included."""
    data: JsonObject = {name: getattr(record, name) for name in _ORDERED}
    return {**data, **record.extra} if record.extra else data


def from_json(data: JsonObject, *, where: str) -> Record:
    """Turn a stored object into a record.

    Args:
        data: the object, without its checksum.
        where: what to name in an error: the file, or the store's key.

    Raises:
        StateTooNew: a newer version wrote it.
        StateDamaged: it lacks what every record has, or holds another type there.
    """
    version = data.get("version", VERSION)
    if isinstance(version, int) and version > VERSION:
        raise StateTooNew(
            f"{where} was written in form {version}; this version reads up to {VERSION}",
            hint="upgrade alchemy-iac",
        )
    known, unknown = data, JsonObject()
    if not data.keys() <= KNOWN:
        unknown = {key: value for key, value in data.items() if key not in KNOWN}
        known = {key: value for key, value in data.items() if key in KNOWN}
    try:
        record = msgspec.convert(known, Record)
    except msgspec.ValidationError as error:
        raise StateDamaged(f"{where} is not a record: {error}", path=where, hint="restore it from a backup") from error
    record.extra = unknown
    return record


def encode(record: Record) -> bytes:
    """Give a record as compact JSON, for logs of commits, which have checksums of their own."""
    if record.extra:
        return _encoder.encode(to_json(record))
    return _encoder.encode(record).removesuffix(_NO_EXTRA) + b"}"


def decode(raw: bytes, *, where: str) -> Record:
    """Read what `encode` gave."""
    return _known(raw) or from_json(_object(raw, where), where=where)


def unseal_record(raw: bytes, *, where: str) -> Record:
    """Read a sealed record: what `from_json` gives of what `unseal` gives. Raises what they raise."""
    head, _, tail = raw.rpartition(_CHECKSUM)
    record = _known(head + b"\n}") if tail == _digest(head) + b'"\n}\n' else None
    return record or from_json(unseal(raw, where=where), where=where)


def _known(raw: bytes) -> Record | None:
    """Read a record in one pass if there is nothing unusual about it, as there is not in nearly all."""
    try:
        record = _decode_record(raw)
    except (ValueError, RecursionError):
        return None
    return record if record.version <= VERSION and not record.extra else None


def seal(body: Mapping[str, Json]) -> bytes:
    """Give an object as the indented JSON of a file, with a checksum of its own text as the last key."""
    return seal_encoded(_encoder.encode(body))


def seal_encoded(raw: bytes) -> bytes:
    """Do as `seal` for an object that is compact JSON already, as `encode` gives it."""
    return seal_text(msgspec.json.format(raw, indent=2)[:-2])


def seal_text(head: bytes) -> bytes:
    """Do as `seal` for the text of an object with one key to a line, without its last line break and brace."""
    return b"".join((head, _CHECKSUM, _digest(head), b'"\n}\n'))


def unseal(raw: bytes, *, where: str) -> JsonObject:
    """Read what `seal` wrote.

    Raises:
        StateDamaged: it is not JSON, or was changed after it was written.
    """
    head, mark, tail = raw.rpartition(_CHECKSUM)
    if not mark:
        _object(raw, where)
        raise StateDamaged(
            f"{where} has no checksum: it was not written by alchemy, or cut short",
            path=where,
            hint="undo the edit, or take it back with `alchemy state accept FILE`; or restore it from a backup",
        )
    if tail != _digest(head) + b'"\n}\n':
        _object(raw, where)
        raise StateDamaged(
            f"{where} was changed since alchemy wrote it",
            path=where,
            hint="undo the edit, or take it back with `alchemy state accept FILE`",
        )
    return _object(head + b"\n}", where)


def _digest(head: bytes) -> bytes:
    return hashlib.blake2b(head, digest_size=8).hexdigest().encode()


def _object(raw: bytes, where: str) -> JsonObject:
    try:
        data = _decode(raw)
    except (ValueError, RecursionError) as error:  # msgspec's DecodeError is a ValueError, as is text that is not UTF-8
        raise StateDamaged(f"{where} is not JSON: {error}", path=where, hint="restore it from a backup") from error
    if not is_object(data):
        raise StateDamaged(f"{where} holds no object", path=where, hint="restore it from a backup")
    return data
