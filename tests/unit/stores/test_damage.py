"""A small state cut short at every byte and with every bit flipped: an exact prefix of the commits, or an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.stores.test_faults import FilmingDisk

from alchemy.errors import StateDamaged, StateError
from alchemy.state import STAGE_KIND, Application, unseal
from alchemy.stores._disk import Disk
from alchemy.stores._folder import Folder
from alchemy.stores._journal import START, chain, scan
from alchemy.testing.contract import UNIT, a_resource, a_scope

Hold = Callable[..., Any]
Revs = dict[str, int]


@pytest.fixture
def small(hold: Hold, tmp_path: Path) -> tuple[Path, list[Revs]]:
    """A unit with four record files and a log of three commits by two holders, and what each commit left."""
    holder = hold()
    holder.folder.create_application(Application(app="notes", lineage="00" * 16, created_at=""))
    holder.write(a_scope(UNIT, STAGE_KIND), *(a_resource(f"{UNIT}/{name}", rev=1) for name in ("a", "a/b", "c")))
    holder.unit.fold()
    states = [holder.revs()]
    holder.write(a_resource(f"{UNIT}/a", rev=2))
    states.append(holder.revs())
    holder.drop(f"{UNIT}/c")
    states.append(holder.revs())
    holder.leave()
    second = hold()
    second.write(a_resource(f"{UNIT}/d", rev=3))
    states.append(second.revs())
    second.leave()
    return tmp_path / ".alchemy/notes/prod", states


def damaged(raw: bytes) -> list[bytes]:
    """Give a file cut short at every byte, and with a bit of every byte flipped, each time another one."""
    cuts = [raw[:size] for size in range(len(raw))]
    flips = [raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :] for at in range(len(raw))]
    return cuts + flips


def check(folder: Folder, path: Path, allowed: list[Revs]) -> bool:
    """Read: one of the states, or an error that names the file, or its folder, and a remedy; gives whether it read."""
    try:
        found = {fqn: record.rev for fqn, record in folder.read(UNIT).records.items()}
    except StateError as error:
        assert str(path.parents[0]) in error.message or str(folder.unit_folder(UNIT)) in error.message  # noqa: PT017
        assert error.hint  # noqa: PT017
        return False
    assert found in allowed, path
    return True


def test_every_file_damaged_at_every_byte(small: tuple[Path, list[Revs]]) -> None:
    """Damage to a record file is always an error; damage to the log an error or an exact prefix."""
    unit, states = small
    folder = Folder(str(unit.parents[1]), Disk())
    files = sorted(path for path in unit.rglob("*") if path.is_file() and path.name != "journal.reserve")
    assert len(files) == 6
    for path in files:
        raw = path.read_bytes()
        read = [check(folder, path, states) for content in damaged(raw) if path.write_bytes(content) >= 0]
        assert any(read) == (path.name == "journal-2.ndjson")  # a later one goes on from the other
        path.write_bytes(raw)
    assert check(folder, unit, states[-1:])


def test_a_fold_stopped_half_way_and_then_damaged(hold: Hold, tmp_path: Path) -> None:
    """While the log and the files together hold the state, damage to either is an error or leaves the state whole."""
    root, film = tmp_path / ".alchemy", tmp_path / "film"
    film.mkdir()
    disk = FilmingDisk(root, film)
    disk.shoot = lambda: None  # type: ignore[method-assign]
    holder = hold(root, disk)
    holder.write(a_scope(UNIT, STAGE_KIND), a_resource(f"{UNIT}/a", rev=1), a_resource(f"{UNIT}/b", rev=1))
    holder.unit.fold()
    states = [holder.revs()]
    holder.write(a_resource(f"{UNIT}/a", rev=2), a_resource(f"{UNIT}/c", rev=2))
    states.append(holder.revs())
    del disk.shoot
    holder.unit.fold()
    copies = sorted(film.iterdir())
    for copy in copies[len(copies) // 2 :: 6]:
        folder = Folder(str(copy), Disk())
        for path in sorted(path for path in (copy / "notes/prod").rglob("*.[jn]*") if path.is_file()):
            raw = path.read_bytes()
            for content in damaged(raw)[::3]:
                path.write_bytes(content)
                check(folder, path, states)
            path.write_bytes(raw)


def test_every_bit_of_a_record_file(small: tuple[Path, list[Revs]]) -> None:
    """A flipped bit anywhere in a sealed file, the application's too, is an error that names it."""
    unit, _ = small
    for path in (unit / "state.json", unit / "resources/a/state.json", unit.parent / "state.json"):
        raw = path.read_bytes()
        for at in range(len(raw)):
            for bit in range(8):
                with pytest.raises(StateDamaged, match=r"state\.json"):
                    unseal(raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :], where=str(path))


def test_every_bit_of_the_log(hold: Hold, tmp_path: Path) -> None:
    """A flipped bit leaves the commits before it, or is an error when a commit after it is whole."""
    holder = hold()
    path = tmp_path / ".alchemy/notes/prod/journal-1.ndjson"
    ends: list[int] = []
    for rev in range(3):
        holder.write(a_resource(f"{UNIT}/a", rev=rev))
        ends.append(path.stat().st_size)
    raw = path.read_bytes()
    whole = [frame.payload for frame in chain([scan("j", 1, raw)], n=0, head=START).frames]
    for at in range(len(raw)):
        for bit in range(8):
            found = scan("j", 1, raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :])
            if at < ends[-2]:
                with pytest.raises(StateDamaged, match=r"^j is damaged"):
                    chain([found], n=0, head=START)
            else:
                assert [frame.payload for frame in chain([found], n=0, head=START).frames] == whole[:-1]
