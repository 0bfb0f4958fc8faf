"""Backups: their names, their form, and that a changed one is noticed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from alchemy.errors import StateDamaged, StateError, StateTooNew
from alchemy.history import KEPT, backup_name, decode_backup, encode_backup, is_backup_name, surplus
from alchemy.state import STAGE_KIND, Record, seal, unseal

MOMENT = datetime(2024, 1, 15, 10, 30, tzinfo=UTC)


def a_backup() -> bytes:
    """Give a backup of a stage with one resource, which has a key that this version does not know."""
    records = [
        Record(kind=STAGE_KIND, id="prod", fqn="notes/prod"),
        Record(kind="fs::File", id="a", fqn="notes/prod/a", props={"path": "é"}, extra={"later": 1}),
    ]
    return encode_backup(unit="notes/prod", made_at="2024-01-15T10:30:00.000Z", operation="deploy", records=records)


def test_a_name_is_its_moment_in_utc() -> None:
    """As the requirement writes it, wherever the clock stands."""
    assert backup_name(MOMENT) == "state-2024-01-15T10-30-00-000Z.json"
    assert backup_name(MOMENT.astimezone(timezone(timedelta(hours=5)))) == backup_name(MOMENT)
    assert is_backup_name(backup_name(MOMENT))


def test_names_are_unique_within_a_millisecond_and_sort_by_age() -> None:
    """One that is taken becomes the next that is free, and sorts after it."""
    names: list[str] = []
    for n in range(5):
        names.append(backup_name(MOMENT + timedelta(microseconds=n), names))
    assert len(set(names)) == 5
    assert names == sorted(names)
    assert backup_name(MOMENT, [backup_name(MOMENT)], step=timedelta(milliseconds=-1)) < names[0]


def test_the_newest_are_kept() -> None:
    """Those beyond the newest twenty are surplus, oldest first; a file of another name is left alone."""
    names = [backup_name(MOMENT + timedelta(days=n)) for n in range(KEPT + 3)]
    assert surplus([*reversed(names), "before-the-move.json"]) == names[:3]
    assert surplus(names[:KEPT]) == []
    assert surplus(names, 0) == names


def test_a_backup_comes_back_as_it_was() -> None:
    """Unit, moment, operation, and every record with keys that are not known here."""
    backup = decode_backup(a_backup(), where="b.json")
    assert (backup.unit, backup.made_at, backup.operation) == ("notes/prod", "2024-01-15T10:30:00.000Z", "deploy")
    assert list(backup.records) == ["notes/prod", "notes/prod/a"]
    assert backup.records["notes/prod/a"].props == {"path": "é"}
    assert backup.records["notes/prod/a"].extra == {"later": 1}


def test_a_backup_cut_short_or_changed_anywhere_is_noticed() -> None:
    """At every byte: an error that names the file, and never another backup."""
    raw = a_backup()
    for size in range(len(raw) - 1):
        with pytest.raises(StateDamaged, match=r"^b\.json"):
            decode_backup(raw[:size], where="b.json")
    for position in range(len(raw)):
        for bit in range(8):
            changed = raw[:position] + bytes([raw[position] ^ 1 << bit]) + raw[position + 1 :]
            with pytest.raises(StateError, match=r"^b\.json"):
                decode_backup(changed, where="b.json")


@pytest.mark.parametrize(
    "change",
    [{"kind": "alchemy::Application"}, {"unit": 7}, {"records": {}}, {"records": [1]}, {"records": [{"id": "a"}]}],
)
def test_what_is_no_backup_is_refused(change: dict[str, object]) -> None:
    """A sealed file that is something else is named."""
    raw = seal({**unseal(a_backup(), where=""), **change})
    with pytest.raises(StateDamaged, match=r"^b\.json"):
        decode_backup(raw, where="b.json")


def test_a_newer_backup_is_refused() -> None:
    """One of a later form says that it takes a newer version."""
    with pytest.raises(StateTooNew, match=r"^b\.json .*form 99"):
        decode_backup(seal({**unseal(a_backup(), where=""), "version": 99}), where="b.json")
