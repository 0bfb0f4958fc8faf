"""The ledger: what a reset has forgotten is kept, and struck out when there is a record again."""

from __future__ import annotations

import pytest

from alchemy.engine.ledger import LEDGER, forget, forgotten, recall, strike, take_back
from alchemy.errors import StateDamaged
from alchemy.state import SCOPE_KIND, STAGE_KIND, Generation, Record, Status


def own(**output: object) -> Record:
    """Give a unit's own record."""
    return Record(kind=STAGE_KIND, id="dev", fqn="app/dev", status=Status.CREATED, output=dict(output))


def thing(id: str, **given: object) -> Record:
    """Give a resource's record."""
    record = Record(kind="t::Thing", id=id, fqn=f"app/dev/{id}", status=Status.CREATED)
    for name, value in given.items():
        setattr(record, name, value)
    return record


def test_forgotten_records_come_back_to_be_verified() -> None:
    """Whole records, old generations included; what else the unit's record holds stays as it was."""
    unit = own(salts={"app/dev": "00"})
    old = Generation(generation=1, kind="t::Thing", provider="m:P", status=Status.CREATED, output={"object_id": "0"})
    forget(unit, [thing("a", output={"object_id": "1"}, generations=[old], extra={"later": 1}), thing("b")])
    known = forgotten(unit)
    assert list(known) == ["app/dev/a", "app/dev/b"]
    assert known["app/dev/a"].verify
    assert known["app/dev/a"].generations[0].verify
    assert (known["app/dev/a"].output, known["app/dev/a"].extra) == ({"object_id": "1"}, {"later": 1})
    back = take_back(unit, "app/dev/a")
    assert back is not None
    assert back.fqn == "app/dev/a"
    assert list(forgotten(unit)) == ["app/dev/b"]
    assert take_back(unit, "app/dev/a") is None
    assert strike(unit, {"app/dev/b"})
    assert unit.output == {"salts": {"app/dev": "00"}}
    assert not strike(unit, {"app/dev/b"})


def test_scopes_are_not_kept_in_the_ledger() -> None:
    """They have no object; and nothing to keep leaves the record alone."""
    unit = own()
    forget(unit, [Record(kind=SCOPE_KIND, id="s", fqn="app/dev/s")])
    assert unit.output == {}


def test_recall_leaves_the_entry() -> None:
    """It stays until a record of that name was written."""
    unit = own()
    forget(unit, [thing("a")])
    recalled = recall(unit, "app/dev/a")
    assert recalled is not None
    assert recalled.verify
    assert LEDGER in unit.output
    assert recall(unit, "app/dev/b") is None
    assert recall(None, "app/dev/a") is None
    assert forgotten(None) == {}


def test_an_entry_that_is_no_record_is_named() -> None:
    """A damaged ledger is an error, and not an empty one."""
    with pytest.raises(StateDamaged, match="app/dev: app/dev/a in the ledger is not a record"):
        forgotten(own(ledger={"app/dev/a": {"kind": 3}}))
