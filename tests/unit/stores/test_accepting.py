"""Taking back record files that a person has edited."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.stores.test_faults import FilmingDisk

from alchemy.errors import StateDamaged, StateError, StateTooNew
from alchemy.state import STAGE_KIND, Application, Record, seal
from alchemy.stores._disk import Disk
from alchemy.stores._folder import Folder
from alchemy.stores._problems import find_problems
from alchemy.testing.contract import UNIT, a_resource, a_scope

Hold = Callable[..., Any]
API, SITE, PAGE = (f"resources/{name}/state.json" for name in ("api", "site", "site/resources/page"))


@pytest.fixture
def folded(hold: Hold, tmp_path: Path) -> Path:
    """The folder of a unit that was folded and given back."""
    holder = hold()
    holder.folder.create_application(Application(app="notes", lineage="00" * 16, created_at=""))
    holder.write(
        a_scope(UNIT, STAGE_KIND),
        a_scope(f"{UNIT}/db"),
        a_resource(f"{UNIT}/db/main"),
        a_resource(f"{UNIT}/api", rev=4, extra={"later": 1}),
        a_resource(f"{UNIT}/site"),
        a_resource(f"{UNIT}/site/page"),
    )
    holder.unit.fold()
    holder.unit.close()
    holder.lock.release()
    return tmp_path / ".alchemy/notes/prod"


def edit(path: Path, **changes: object) -> None:
    """Change a file as a person does: the checksum stays as it was; `...` removes a key."""
    body = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in body.items() if value is not ...}, indent=1))


def accept(hold: Hold, *paths: Path, force: bool = False, dry_run: bool = False) -> list[Any]:
    """Take files back, as one who holds the unit."""
    holder = hold()
    try:
        found: list[Any] = holder.unit.accept([str(path) for path in paths], force=force, dry_run=dry_run)
    finally:
        holder.unit.close()
        holder.lock.release()
    return found


def read(folded: Path) -> dict[str, Record]:
    """Read the unit, and see that nothing is wrong with the folder."""
    folder = Folder(str(folded.parents[1]), Disk())
    assert list(find_problems(folder, "")) == []
    return folder.read(UNIT).records


def files_in(folded: Path) -> dict[str, bytes]:
    """Give all files of the unit."""
    return {str(path.relative_to(folded)): path.read_bytes() for path in folded.rglob("*") if path.is_file()}


def test_an_edit_becomes_a_commit(folded: Path, hold: Hold) -> None:
    """The record is as edited, written under the new token; unknown keys stay, and the rest is as it was."""
    before = read(folded)
    edit(folded / API, props={"path": "elsewhere"}, seen=9)
    (edited,) = accept(hold, folded / API)
    after = read(folded)
    record = after[f"{UNIT}/api"]
    assert (record.props, record.seen, record.extra) == ({"path": "elsewhere"}, 9, {"later": 1})
    assert (record.rev, record.fence) == (5, 2)
    assert record.updated_at
    assert edited.fqn == f"{UNIT}/api"
    assert {fqn for fqn in after if after[fqn] != before[fqn]} == {f"{UNIT}/api"}
    assert not list(folded.glob("journal*"))
    again = accept(hold, folded / API)
    assert again[0].record.rev == 6


@pytest.mark.parametrize("checksum", ["kept", ..., "0123456789abcdef", 7])
def test_the_checksum_may_be_edited_too(folded: Path, hold: Hold, checksum: object) -> None:
    """Also without the line that says what the file was, the edit is taken when the number of files is right."""
    edit(folded / API, seen=9, **({} if checksum == "kept" else {"checksum": checksum}))
    if checksum == "0123456789abcdef":
        with pytest.raises(StateDamaged, match="another version"):
            accept(hold, folded / API)
        return
    accept(hold, folded / API)
    assert read(folded)[f"{UNIT}/api"].seen == 9


def test_several_are_taken_together_or_not_at_all(folded: Path, hold: Hold) -> None:
    """With another edited file beside it one is refused, which names that; together both are taken."""
    edit(folded / API, seen=9)
    edit(folded / PAGE, seen=8)
    before = files_in(folded)
    with pytest.raises(StateDamaged, match=r"page/state\.json") as refused:
        accept(hold, folded / API)
    assert "together" in str(refused.value)
    assert files_in(folded) == before
    accept(hold, folded / API, folded / PAGE)
    after = read(folded)
    assert (after[f"{UNIT}/api"].seen, after[f"{UNIT}/site/page"].seen) == (9, 8)


def test_the_units_own_record(folded: Path, hold: Hold) -> None:
    """It is taken like others; what it says of the other files is worked out anew."""
    edit(folded / "state.json", data={"color": "red"})
    accept(hold, folded / "state.json")
    assert read(folded)[UNIT].data == {"color": "red"}
    edit(folded / "state.json", manifest=...)
    with pytest.raises(StateDamaged, match="manifest"):
        accept(hold, folded / "state.json")


def test_a_record_of_a_scope_and_of_one_with_children(folded: Path, hold: Hold) -> None:
    """Those above others can be edited too; what is below them stays."""
    edit(folded / "db/state.json", data={"a": 1})
    edit(folded / SITE, seen=7)
    accept(hold, folded / "db/state.json", folded / SITE)
    after = read(folded)
    assert after[f"{UNIT}/db"].data == {"a": 1}
    assert set(after) >= {f"{UNIT}/db/main", f"{UNIT}/site/page"}


def test_a_file_that_was_removed(folded: Path, hold: Hold) -> None:
    """The record is gone from state; so is one whose whole folder was removed."""
    (folded / API).unlink()
    shutil.rmtree((folded / PAGE).parent)
    gone = accept(hold, folded / API, folded / PAGE)
    assert [one.record for one in gone] == [None, None]
    assert set(read(folded)) == {UNIT, f"{UNIT}/db", f"{UNIT}/db/main", f"{UNIT}/site"}


def test_a_file_that_was_added(folded: Path, hold: Hold) -> None:
    """A record put there by hand is taken, with or without a checksum of its own."""
    for name in ("copy", "other"):
        path = folded / f"resources/{name}/state.json"
        path.parent.mkdir()
        body = {**json.loads((folded / API).read_text()), "id": name, "fqn": f"{UNIT}/{name}"}
        del body["checksum"]
        path.write_bytes(seal(body) if name == "copy" else json.dumps(body).encode())
    accept(hold, folded / "resources/copy/state.json", folded / "resources/other/state.json")
    assert set(read(folded)) >= {f"{UNIT}/copy", f"{UNIT}/other"}


def test_a_dry_run_changes_nothing(folded: Path, hold: Hold) -> None:
    """It says what it would take and leaves every file as it is."""
    edit(folded / API, seen=9)
    before = files_in(folded)
    (edited,) = accept(hold, folded / API, dry_run=True)
    assert edited.record.seen == 9
    assert files_in(folded) == before


# -- what cannot be taken ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "position"),
    [
        (b'{\n  "id": "api",\n  "fqn" "x"\n}', ":3:9"),
        (b"", ":1:1"),
        (b'{"id": "api",}', ":1:1"),
        (b'{\n"id": "\xff"}', ":2:8"),
        (b"[" * 100_000, ""),
    ],
)
def test_where_it_is_not_json_is_told(folded: Path, hold: Hold, text: bytes, position: str) -> None:
    """The message has file, line and column as editors know them; nothing is changed."""
    (folded / API).write_bytes(text)
    before = files_in(folded)
    with pytest.raises(StateDamaged, match="is not JSON") as refused:
        accept(hold, folded / API)
    assert f"{folded / API}{position}" in refused.value.message
    assert files_in(folded) == before


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"version": 99}, StateTooNew, "form 99"),
        ({"status": "odd"}, StateDamaged, "is not a record"),
        ({"kind": ...}, StateDamaged, "is not a record"),
        ({"fqn": f"{UNIT}/other"}, StateDamaged, "does not belong there"),
        ({"fqn": "notes/dev/api"}, StateDamaged, "does not belong there"),
        ({"kind": "alchemy::Scope"}, StateDamaged, "does not belong there"),
    ],
)
def test_what_is_no_record_of_that_place_is_refused(
    folded: Path, hold: Hold, changes: dict[str, object], error: type[StateError], said: str
) -> None:
    """The file is named with what is wrong and what to do, and nothing is changed."""
    edit(folded / API, **changes)
    before = files_in(folded)
    with pytest.raises(error, match=said) as refused:
        accept(hold, folded / API)
    assert str(folded / API) in refused.value.message
    assert refused.value.hint
    assert files_in(folded) == before


def test_other_damage_is_not_covered_up(folded: Path, hold: Hold) -> None:
    """A file missing beside the edited one, or another version of one, keeps the edit from being taken."""
    edit(folded / API, seen=9)
    page = (folded / PAGE).read_bytes()
    (folded / PAGE).unlink()
    with pytest.raises(StateDamaged):
        accept(hold, folded / API)
    (folded / PAGE).write_bytes(page)
    site = json.loads((folded / SITE).read_text())
    del site["checksum"]
    (folded / SITE).write_bytes(seal({**site, "rev": 77}))
    with pytest.raises(StateDamaged):
        accept(hold, folded / API)


def test_an_edit_of_what_has_changed_since_is_refused(folded: Path, hold: Hold) -> None:
    """A record that the log has changed after its file was written is named; with force the edit wins."""
    holder = hold()
    holder.write(a_resource(f"{UNIT}/api", rev=9))
    holder.drop(f"{UNIT}/db/main")
    holder.unit.close()
    holder.lock.release()
    edit(folded / SITE, seen=3)
    accept(hold, folded / SITE)  # another one is taken, and folds the log
    assert read(folded)[f"{UNIT}/api"].rev == 9

    holder = hold()
    holder.write(a_resource(f"{UNIT}/api", rev=19))
    holder.drop(f"{UNIT}/site/page")
    holder.unit.close()
    holder.lock.release()
    edit(folded / API, seen=4)
    edit(folded / PAGE, seen=5)
    with pytest.raises(StateError, match=r"out of date.*revision 19") as refused:
        accept(hold, folded / API, folded / PAGE)
    assert "--force" in str(refused.value)
    accept(hold, folded / API, folded / PAGE, force=True)
    after = read(folded)
    assert (after[f"{UNIT}/api"].rev, after[f"{UNIT}/api"].seen) == (20, 4)
    assert after[f"{UNIT}/site/page"].seen == 5


def test_a_crash_at_any_instant_leaves_the_edit_or_what_was(folded: Path, hold: Hold, tmp_path: Path) -> None:
    """Stopped after any step, the state is whole with the edit in it, or the file is still only edited."""
    root, film = folded.parents[1], tmp_path / "film"
    film.mkdir()
    edit(folded / API, seen=9)
    before = files_in(folded)
    disk = FilmingDisk(root, film)
    holder = hold(root, disk)
    holder.unit.accept([str(folded / API)], force=False, dry_run=False)
    disk.shoot()
    taken = 0
    for copy in sorted(film.iterdir()):
        again = hold(copy)
        try:
            assert again.unit.load().records[f"{UNIT}/api"].seen == 9
            taken += 1
        except StateDamaged:
            assert taken == 0
            assert (copy / "notes/prod" / API).read_bytes() == before[API]
            again.unit.accept([str(copy / "notes/prod" / API)], force=False, dry_run=False)
        again.unit.fold()
        assert again.revs()[f"{UNIT}/api"] in (5, 6)
        again.leave()
    assert taken > 3
