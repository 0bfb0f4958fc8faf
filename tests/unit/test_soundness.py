"""What must be true of a unit's records: references and order, and which names count as known."""

from __future__ import annotations

from alchemy.order import Clock
from alchemy.ports import Problem
from alchemy.soundness import check_backups, check_records
from alchemy.state import SCOPE_KIND, STAGE_KIND, Generation, Record, Status

UNIT = "notes/prod"


def record(name: str = "", kind: str = "fs::File", **fields: object) -> Record:
    """Give a record of the unit; the unit's own without a name."""
    fqn = f"{UNIT}/{name}" if name else UNIT
    values: dict[str, object] = {"kind": kind, "id": fqn.rpartition("/")[2], "fqn": fqn, **fields}
    return Record(**values)  # type: ignore[arg-type]


def check(*records: Record, unreadable: tuple[str, ...] = ()) -> list[Problem]:
    """Check records as one unit's."""
    by_fqn = {one.fqn: one for one in records}
    return list(check_records(by_fqn, UNIT, place="at {}".format, unreadable=unreadable))


def test_names_that_count_as_known() -> None:
    """Those in state, forgotten by a reset, unreadable, or kept in the store of a nested scope; no other."""
    own = record(kind=STAGE_KIND, output={"ledger": {f"{UNIT}/forgotten": {}}})
    nested = record("far", kind=SCOPE_KIND, props={"state_store": "file:///elsewhere"})
    names = ("there", "forgotten", "unreadable", "far/away", "farther")
    user = record("user", seq=9, deps=[f"{UNIT}/{name}" for name in names])
    (problem,) = check(own, nested, record("there"), user, unreadable=(f"{UNIT}/unreadable",))
    assert problem.fqn == f"{UNIT}/user"
    assert problem.where == f"at {UNIT}/user"
    assert f"{UNIT}/farther," in problem.what
    assert f"{UNIT}/far/away" not in problem.what
    assert problem.remedy


def test_where_only_a_part_of_the_unit_is_kept() -> None:
    """In a nested scope's store what lies outside of it is not missed, and what lies inside is."""
    scope = record("far", kind=SCOPE_KIND)
    user = record("far/user", seq=3, deps=[f"{UNIT}/outside", f"{UNIT}/far/lost"])
    (problem,) = check(scope, user)
    assert f"{UNIT}/far/lost" in problem.what
    assert "outside" not in problem.what


def test_old_generations_are_looked_at() -> None:
    """What a replacement has left behind has an order and references too; the message says which one."""
    old = Generation(
        generation=1, kind="fs::File", provider="", status=Status.CREATED, seq=7, seen=3, deps=[f"{UNIT}/lost"]
    )
    found = check(record(kind=STAGE_KIND), record("a", generation=2, generations=[old]))
    assert len(found) == 2
    assert all("generation 1" in problem.what for problem in found)


def test_a_record_elsewhere() -> None:
    """One of another unit, and one whose id is not what its name ends in, are told."""
    stray = Record(kind="fs::File", id="a", fqn="notes/dev/a")
    wrong = record("b", id="c")
    assert {problem.fqn for problem in check(stray, wrong)} == {"notes/dev/a", f"{UNIT}/b"}


def test_those_that_hold_each_other_are_told_once() -> None:
    """A circle is one problem that names those in it; what only depends on them is not in the way."""
    circle = [record(f"r{n}", seq=n + 1, deps=[f"{UNIT}/r{(n + 1) % 8}"]) for n in range(8)]
    (problem,) = check(record(kind=STAGE_KIND), *circle, record("user", seq=99, deps=[f"{UNIT}/r0"]))
    assert "and" in problem.what
    assert "more" in problem.what
    assert f"{UNIT}/user" not in problem.what


def test_what_a_program_leaves_is_sound() -> None:
    """Ticks of a clock, dependences on what came before, and composites with parts give nothing."""
    clock = Clock()
    records = [record(kind=STAGE_KIND, seq=clock.tick())]
    for n in range(50):
        seq = clock.tick()
        deps = [f"{UNIT}/r{m}" for m in range(max(0, n - 3), n)]
        records.append(record(f"r{n}", seq=seq, seen=clock.tick(), deps=deps))
        records.append(record(f"r{n}/part", seq=clock.tick()))
    assert check(*records) == []


def test_a_backup_under_another_units_name() -> None:
    """What cannot be read is told with its place."""
    (problem,) = check_backups({"b.json": b"{"}, UNIT)
    assert problem.where == "b.json"
    assert problem.remedy
