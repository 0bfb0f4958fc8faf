"""Records, chains and owners that the tests of stores write."""

from __future__ import annotations

import os

from alchemy.ports import Owner
from alchemy.state import SCOPE_KIND, JsonObject, Record, Status, to_json

UNIT = "notes/prod"

ODD_IDS = (
    *(
        "A",
        "a",
        "%41",
        "%",
        "~",
        "-",
        "_x",
        "x.y",
        ".hidden",
        "...",
        "con",
        "a b",
        "a'b\"c",
        "a*b?c",
        "#",
        "é",
        "日本語",
        "💾",
    ),
    *("x" * 128, "X" * 128, "ß" * 128, "💾" * 128, "💾" * 127 + "é"),
    *("resources", "scopes", "backups", "logs", "locks", "state.json", "state.json.new", "journal-1.ndjson", "test"),
)


def an_owner(operation: str = "deploy") -> Owner:
    """Give this process as an owner."""
    return Owner(user="tester", host="here", pid=os.getpid(), operation=operation)


def a_resource(fqn: str, **fields: object) -> Record:
    """Give a resource's record; `fields` as in `Record`."""
    values: dict[str, object] = {
        "kind": "fs::File",
        "id": fqn.rpartition("/")[2],
        "fqn": fqn,
        "status": Status.CREATED,
        "provider": "alchemy.fs._file:FileProvider",
        "props": {"path": "README.txt"},
        "output": {"size": 5},
        "created_at": "2026-11-21T09:00:00.000Z",
    }
    return Record(**(values | fields))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def a_scope(chain: str, kind: str = SCOPE_KIND) -> Record:
    """Give a scope's record."""
    return a_resource(chain, kind=kind, provider="", props={}, output={})


def plain(records: dict[str, Record] | object) -> dict[str, JsonObject]:
    """Give records as what is stored, so that they can be compared."""
    assert isinstance(records, dict)
    return {fqn: to_json(record) for fqn, record in records.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
