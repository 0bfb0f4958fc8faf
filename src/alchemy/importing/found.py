"""What a source holds, before anything of it is understood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from alchemy.errors import StateDamaged
from alchemy.state import SCOPE_KIND, Json, JsonObject, Status, is_object

Form = Literal["typescript", "flat"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One record of a source.

    Attributes:
        where: its file, or the file and the key in it, for messages.
        id: as the source has it; it may hold `/` where this package's ids may not.
        seq: its place among those of its scope.
        old_props: what was applied last, where `props` were still being applied.
        raw: the record as it was, to be kept aside when it has no counterpart.
    """

    where: str
    fqn: str
    kind: str
    id: str
    status: Status = Status.CREATED
    seq: int = 0
    props: JsonObject = field(default_factory=dict[str, Json])
    old_props: JsonObject | None = None
    output: JsonObject = field(default_factory=dict[str, Json])
    data: JsonObject = field(default_factory=dict[str, Json])
    raw: Json = None

    @property
    def is_scope(self) -> bool:
        """Whether it is a scope's record and not a resource's."""
        return self.kind == SCOPE_KIND


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source as read.

    Attributes:
        root: the folder where its relative paths start.
        units: what was found, by stage (`notes/prod`), in the order of the source.
    """

    path: Path
    form: Form
    root: Path
    units: Mapping[str, Sequence[Found]]


def object_at(record: JsonObject, key: str, where: str) -> JsonObject:
    """Give the object under a key of a record; an absent one, or `null`, is empty.

    Raises:
        StateDamaged: something else is there.
    """
    value = record.get(key)
    if value is None:
        return {}
    if not is_object(value):
        raise broken(where, f"{key!r} is {in_words(value)}, not an object")
    return value


def status_at(record: JsonObject, where: str) -> Status:
    """Give a record's status; one without counts as created."""
    value = record.get("status", "created")
    try:
        return Status(value)
    except ValueError:
        known = ", ".join(Status)
        raise broken(where, f"its status is {value!r}, and not one of {known}") from None


def seq_at(record: JsonObject, where: str, default: int = 0) -> int:
    """Give a record's place among its siblings."""
    value = record.get("seq", default)
    if not isinstance(value, int):
        raise broken(where, f"'seq' is {in_words(value)}, not a whole number")
    return value


def broken(where: str, what: str, *, hint: str | None = None) -> StateDamaged:
    """Say that something in a source is not what it should be."""
    return StateDamaged(f"{where}: {what}", path=where, hint=hint or "nothing was imported; correct the source first")


def in_words(value: Json) -> str:
    """Name the type of a JSON value as a person would."""
    match value:
        case None:
            return "null"
        case str():
            return "a text"
        case bool():
            return "true or false"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return "a number"
