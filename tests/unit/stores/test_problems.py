"""What `problems` finds in a folder that somebody, or a crash, has been at."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alchemy.history import encode_backup
from alchemy.ports import Problem
from alchemy.state import STAGE_KIND, Application, seal, unseal
from alchemy.stores._disk import Disk
from alchemy.stores._folder import Folder
from alchemy.stores._problems import find_problems
from alchemy.testing.contract import UNIT, a_resource, a_scope

Hold = Callable[..., Any]
BACKUP = "state-2026-11-21T09-00-00-000Z.json"
RECORDS = [
    a_scope(UNIT, STAGE_KIND),
    a_scope(f"{UNIT}/db"),
    a_resource(f"{UNIT}/db/main", seq=1, seen=2),
    a_resource(f"{UNIT}/api", seq=3, seen=4, deps=[f"{UNIT}/db/main"]),
    a_resource(f"{UNIT}/site", seq=5),
    a_resource(f"{UNIT}/site/page", seq=6),
    a_resource(f"{UNIT}/{'x' * 128}{'é' * 20}", seq=7),
]
API = "resources/api/state.json"


@pytest.fixture
def sound(hold: Hold, tmp_path: Path) -> Path:
    """The folder of a unit that was folded and given back, with a backup and a log; nothing is wrong with it."""
    holder = hold()
    holder.folder.create_application(Application(app="notes", lineage="00" * 16, created_at=""))
    holder.write(*RECORDS)
    holder.folder.backups(UNIT).save(
        BACKUP, encode_backup(unit=UNIT, made_at="2026-11-21", operation="deploy", records=RECORDS)
    )
    holder.folder.logs(UNIT).append("a.ndjson", b"{}\n")
    holder.unit.fold()
    holder.unit.close()
    holder.lock.release()
    assert problems(tmp_path) == []
    return tmp_path / ".alchemy/notes/prod"


def problems(root: Path, chain: str = "") -> list[Problem]:
    """Look for problems; a look changes nothing."""
    folder = Folder(str(root / ".alchemy"), Disk())
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    found = list(find_problems(folder, chain))
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    assert all(problem.where and problem.what and problem.remedy for problem in found)
    return found


def told(tmp_path: Path, chain: str = "") -> set[str]:
    """Give which files problems are told of, relative to the root."""
    return {str(Path(problem.where).relative_to(tmp_path / ".alchemy")) for problem in problems(tmp_path, chain)}


def edit(path: Path, **changes: object) -> None:
    """Change a file as a person does, without its checksum."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def reseal(path: Path, **changes: object) -> None:
    """Change a file and give it a right checksum."""
    path.write_bytes(seal({**unseal(path.read_bytes(), where=""), **changes}))


def replace_by_folder(path: Path) -> None:
    """Put a folder where a file was."""
    path.unlink()
    path.mkdir()


def end(holder: Any) -> None:
    """End a run without folding."""
    holder.unit.close()
    holder.lock.release()


DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "not JSON": (API, lambda path: path.write_bytes(path.read_bytes().replace(b"{", b"", 1))),
    "empty": (API, lambda path: path.write_bytes(b"")),
    "not text": (API, lambda path: path.write_bytes(b"\xff\xfe\x00")),
    "edited": (API, lambda path: edit(path, seq=9)),
    "no checksum": (API, lambda path: path.write_text('{"id": "api"}')),
    "newer": (API, lambda path: reseal(path, version=99)),
    "no record": (API, lambda path: reseal(path, kind=7)),
    "another's": (API, lambda path: shutil.copy(path.parents[1] / "site/state.json", path)),
    "missing": (API, lambda path: path.unlink()),
    "a folder": (API, replace_by_folder),
    "of a scope": ("db/state.json", lambda path: edit(path, seq=9)),
    "of a child": ("resources/site/resources/page/state.json", lambda path: edit(path, seq=9)),
    "copied": ("resources/copy/state.json", lambda path: shutil.copytree(path.parents[1] / "api", path.parent)),
    "the unit's own": ("state.json", lambda path: edit(path, seq=9)),
    "a newer unit": ("state.json", lambda path: reseal(path, min_reader=99)),
    "no manifest": ("state.json", lambda path: reseal(path, manifest=None)),
    "the unit's own missing": ("state.json", lambda path: path.unlink()),
    "a backup": (f"backups/{BACKUP}", lambda path: path.write_bytes(path.read_bytes()[:-40])),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_told_and_nothing_else(sound: Path, tmp_path: Path, damage: str) -> None:
    """Each kind of damage names its file once, at every chain that it lies in, and at none beside it."""
    name, harm = DAMAGES[damage]
    path = sound / name
    harm(path)
    (problem,) = problems(tmp_path)
    assert problem.where == str(path)
    for chain in ("notes", UNIT):
        assert problems(tmp_path, chain) == [problem]
    assert problems(tmp_path, "notes/dev") == []
    assert problems(tmp_path, "other") == []
    if problem.fqn is not None and problem.fqn != UNIT:
        assert problems(tmp_path, problem.fqn) == [problem]
        assert problems(tmp_path, f"{UNIT}/elsewhere") == []


def test_several_damages_are_all_told(sound: Path, tmp_path: Path) -> None:
    """One bad file hides no other, also not one that is missing."""
    edit(sound / API, seq=9)
    edit(sound / "db/state.json", seq=9)
    (sound / "resources/site/resources/page/state.json").unlink()
    (sound / f"backups/{BACKUP}").write_bytes(b"{")
    (tmp_path / ".alchemy/locks/notes/prod.lock").write_bytes(b"{")
    assert told(tmp_path) == {
        f"notes/prod/{API}",
        "notes/prod/db/state.json",
        "notes/prod/resources/site/resources/page/state.json",
        f"notes/prod/backups/{BACKUP}",
        "locks/notes/prod.lock",
    }


def test_what_is_missing_without_a_trace_is_told(sound: Path, tmp_path: Path) -> None:
    """A record whose whole folder is gone is told at the unit's, with the name of whoever depends on it."""
    shutil.rmtree(sound / "db")
    found = problems(tmp_path)
    assert any(problem.where == str(sound) and f"{UNIT}/db/main" in problem.what for problem in found)
    assert any(problem.fqn == f"{UNIT}/api" for problem in found)


def test_an_exchanged_record_is_told(sound: Path, tmp_path: Path) -> None:
    """An older version of a record, put back with its right checksum, does not fit what was written."""
    reseal(sound / API, rev=7)
    (problem,) = problems(tmp_path)
    assert problem.where == str(sound)
    assert "another version" in problem.what


def test_what_nobody_may_read_is_told(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, or a folder, that the operating system refuses is told with its reason; the rest is looked at."""
    edit(sound / "db/state.json", seq=9)
    refused = {str(sound / API), str(sound / "resources/site")}
    real_open, real_scandir = os.open, os.scandir

    def refuse(path: Any, *args: Any, **kwargs: Any) -> Any:
        if path in refused:
            raise PermissionError(13, "Permission denied", path)
        return real_open(path, *args, **kwargs)

    def refuse_scan(path: Any = ".") -> Any:
        if path in refused:
            raise PermissionError(13, "Permission denied", path)
        return real_scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        patch.setattr(os, "scandir", refuse_scan)
        found = list(find_problems(Folder(str(tmp_path / ".alchemy"), Disk()), ""))
    where = {problem.where for problem in found}
    assert where >= {*refused, str(sound / "db/state.json")}
    assert all("Permission denied" in problem.what for problem in found if problem.where in refused)


# -- the log of commits ------------------------------------------------------------------------------------------------


def test_an_unfolded_log_is_sound(sound: Path, hold: Hold, tmp_path: Path) -> None:
    """After a kill the log is there and nothing is wrong; while the holder lives neither."""
    holder = hold()
    holder.write(a_resource(f"{UNIT}/api", rev=2), a_resource(f"{UNIT}/new"))
    holder.drop(f"{UNIT}/site/page")
    assert problems(tmp_path) == []
    end(holder)
    assert problems(tmp_path) == []


def test_a_torn_commit_is_told_unless_it_is_being_written(sound: Path, hold: Hold, tmp_path: Path) -> None:
    """Half a commit is a problem once its writer is gone; set aside, the file that keeps it is."""
    holder = hold()
    holder.write(a_resource(f"{UNIT}/api", rev=2))
    (journal,) = sound.glob("journal-*")
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole[: len(whole) // 2])
    assert problems(tmp_path) == []
    end(holder)
    assert told(tmp_path) == {f"notes/prod/{journal.name}"}
    after = hold()
    after.unit.load()
    after.unit.fold()
    end(after)
    (aside,) = told(tmp_path)
    assert "journal.torn-" in aside


@pytest.mark.parametrize("which", ["a bad commit", "a missing journal", "a newer record"])
def test_a_damaged_log_is_told(sound: Path, hold: Hold, tmp_path: Path, which: str) -> None:
    """A commit that cannot be read before a good one, or that is missing, names the journal."""
    for rev in (2, 3):
        holder = hold()
        holder.write(a_resource(f"{UNIT}/api", rev=rev))
        is_last = rev == 3 and which == "a newer record"
        holder.write(a_resource(f"{UNIT}/api", rev=rev, version=99 if is_last else 1))
        end(holder)
    first, second = sorted(sound.glob("journal-*"))
    if which == "a bad commit":
        raw = bytearray(first.read_bytes())
        raw[20] ^= 1
        first.write_bytes(raw)
    elif which == "a missing journal":
        first.unlink()
    expected = {"a bad commit": first, "a missing journal": second, "a newer record": sound}[which]
    assert told(tmp_path) == {str(expected.relative_to(tmp_path / ".alchemy"))}


# -- leftovers ---------------------------------------------------------------------------------------------------------


def test_leftovers_are_told_unless_somebody_is_at_work(sound: Path, hold: Hold, tmp_path: Path) -> None:
    """Unfinished files, empty folders and the reserve are told when no run is there to finish them."""
    names = ["state.json.new", f"backups/{BACKUP}.new", "journal.reserve", "resources/api/state.json.new"]
    for name in names:
        (sound / name).write_bytes(b"x")
    (sound / "resources/gone").mkdir()
    (tmp_path / ".alchemy/notes/state.json.1-2.new").write_bytes(b"x")
    holder = hold()
    assert told(tmp_path) == {"notes/state.json.1-2.new"}
    end(holder)
    names += ["resources/gone"]
    assert told(tmp_path) == {"notes/state.json.1-2.new", *(f"notes/prod/{name}" for name in names)}


# -- applications, locks and odd names ---------------------------------------------------------------------------------


def test_a_lost_application_is_told(sound: Path, tmp_path: Path) -> None:
    """Without the application's record nothing could be found again by name."""
    path = sound.parent / "state.json"
    path.write_bytes(b"{")
    assert told(tmp_path) == {"notes/state.json"}
    path.unlink()
    assert told(tmp_path, UNIT) == {"notes/state.json"}


def test_a_lock_that_cannot_be_read_is_told(sound: Path, tmp_path: Path) -> None:
    """A broken lock file is named at its own stage only."""
    assert sound.exists()
    lock = tmp_path / ".alchemy/locks/notes/prod.lock"
    lock.write_bytes(b"\xff")
    assert told(tmp_path, UNIT) == {"locks/notes/prod.lock"}
    assert told(tmp_path, "notes/dev") == set()


def test_a_unit_whose_name_was_cut_is_told(hold: Hold, tmp_path: Path) -> None:
    """When nothing can say what a folder with a cut name is, that is told, and the others are looked at."""
    folder = tmp_path / ".alchemy/notes" / ("x" * 180 + "~" + "0" * 16)
    folder.mkdir(parents=True)
    (folder / "state.json").write_bytes(b"{")
    hold().write(a_resource(f"{UNIT}/a", deps=[f"{UNIT}/b"]), a_scope(UNIT))
    found = problems(tmp_path)
    assert any(folder.name in problem.where for problem in found)
    assert any(problem.fqn == f"{UNIT}/a" for problem in found)


def test_a_damaged_unit_is_listed(sound: Path, hold: Hold, tmp_path: Path) -> None:
    """A unit whose log is damaged does not vanish from the list of units."""
    holder = hold()
    holder.write(a_resource(f"{UNIT}/api", rev=2))
    holder.write(a_resource(f"{UNIT}/api", rev=3))
    end(holder)
    (journal,) = sound.glob("journal-*")
    journal.write_bytes(b"x" + journal.read_bytes()[1:])
    assert list(Folder(str(tmp_path / ".alchemy"), Disk()).units("notes")) == [UNIT]


def test_a_stage_without_its_own_file_is_listed(sound: Path, tmp_path: Path) -> None:
    """A stage that lost its `state.json` is damaged, not gone; one of which only backups and logs are left is gone."""
    folder = Folder(str(tmp_path / ".alchemy"), Disk())
    (sound / "state.json").unlink()
    assert list(folder.units("notes")) == [UNIT]
    shutil.rmtree(sound / "resources")
    assert list(folder.units("notes")) == [UNIT]
    shutil.rmtree(sound / "db")
    assert list(folder.units("notes")) == []
    assert (sound / "backups").is_dir()
