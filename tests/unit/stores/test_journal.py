"""The log of commits: what is read of a journal that was cut, changed, or written to by two holders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alchemy.errors import StateDamaged
from alchemy.stores._disk import Disk
from alchemy.stores._folder import Folder
from alchemy.stores._journal import START, Journal, chain, scan
from alchemy.testing.contract import UNIT, a_resource

Hold = Callable[..., Any]
FRAMES = 4


def scans(folder: Path) -> list[Any]:
    """Read all journals in a folder."""
    found = [(int(path.stem.partition("-")[2]), path) for path in folder.glob("journal-*.ndjson")]
    return [scan(str(path), token, path.read_bytes()) for token, path in sorted(found)]


def journal(folder: Path, token: int, n: int = 0, head: str = START) -> Journal:
    """Open a journal to be written."""
    return Journal(Disk(), str(folder), token=token, n=n, head=head)


@pytest.fixture
def written(hold: Hold, tmp_path: Path) -> tuple[Path, list[int], Folder]:
    """A unit with nothing but a journal of four commits: its path, where each frame ends, and the folder."""
    holder = hold()
    path = tmp_path / ".alchemy/notes/prod/journal-1.ndjson"
    ends: list[int] = []
    for rev in range(1, FRAMES + 1):
        holder.write(a_resource(f"{UNIT}/a", rev=rev))
        ends.append(path.stat().st_size)
    holder.leave()
    return path, ends, holder.folder


def read_rev(folder: Folder) -> int:
    """Give the revision that a reader finds; 0 for none."""
    record = folder.read(UNIT).records.get(f"{UNIT}/a")
    return record.rev if record else 0


def test_a_journal_cut_anywhere_is_an_exact_prefix(written: tuple[Path, list[int], Folder]) -> None:
    """After any number of bytes exactly the commits that are whole are there, and a cut one is told."""
    path, ends, folder = written
    raw = path.read_bytes()
    for size in range(len(raw) + 1):
        path.write_bytes(raw[:size])
        whole = sum(end <= size for end in ends)
        assert read_rev(folder) == whole
        assert bool(folder.read(UNIT).notices) == (size not in (0, *ends))


def test_a_byte_changed_anywhere_is_noticed(written: tuple[Path, list[int], Folder]) -> None:
    """A changed byte is damage when a good commit follows; else the last commit does not count."""
    path, ends, folder = written
    raw = path.read_bytes()
    for position in range(len(raw)):
        for flip in (0x01, 0x20, 0x80):
            path.write_bytes(raw[:position] + bytes([raw[position] ^ flip]) + raw[position + 1 :])
            if position < ends[-2]:
                with pytest.raises(StateDamaged, match=r"journal-1\.ndjson is damaged"):
                    folder.read(UNIT)
            else:
                assert read_rev(folder) == FRAMES - 1


def test_damage_stops_the_holder_too(written: tuple[Path, list[int], Folder], hold: Hold) -> None:
    """With a bad commit before a good one nothing is loaded, written, cut or folded."""
    path, ends, _ = written
    raw = bytearray(path.read_bytes())
    raw[ends[0] + 5] ^= 1
    path.write_bytes(raw)
    holder = hold()
    for attempt in (holder.unit.load, holder.unit.fold, lambda: holder.write(a_resource(f"{UNIT}/a", rev=9))):
        with pytest.raises(StateDamaged):
            attempt()
    assert path.read_bytes() == raw
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("by", ["load", "write", "fold"])
def test_the_holder_sets_a_torn_commit_aside(written: tuple[Path, list[int], Folder], hold: Hold, by: str) -> None:
    """What was cut short is kept in a file of its own and told, and the log goes on from the last whole commit."""
    path, ends, _ = written
    raw = path.read_bytes()
    path.write_bytes(raw[:-7])
    holder = hold()
    if by == "load":
        reading = holder.unit.load()
        (aside,) = path.parent.glob("journal.torn-*")
        assert reading.notices == [
            f"the last commit in {path} was cut short (it was never confirmed); it was set aside as {aside}"
        ]
    elif by == "fold":
        holder.unit.fold()
    holder.write(a_resource(f"{UNIT}/b", rev=5))
    (aside,) = path.parent.glob("journal.torn-2-*")
    assert aside.read_bytes() == raw[ends[-2] : -7]
    assert holder.revs() == {f"{UNIT}/a": FRAMES - 1, f"{UNIT}/b": 5}
    assert holder.folder.read(UNIT).notices == []
    holder.unit.fold()
    assert holder.revs() == {f"{UNIT}/a": FRAMES - 1, f"{UNIT}/b": 5}


def test_what_a_paused_holder_appends_after_a_takeover_does_not_count(tmp_path: Path) -> None:
    """The next holder's first frame says where it goes on; frames behind that place in the old journal are ignored."""
    old = journal(tmp_path, 1)
    old.append(b"[1]")
    old.append(b"[2]")
    new = journal(tmp_path, 2, n=old.n, head=old.head)
    new.append(b"[3]")
    old.append(b"[99]")
    old.append(b"[98]")
    for one in (old, new):
        one.close()
    linked = chain(scans(tmp_path), n=0, head=START)
    assert [frame.payload for frame in linked.frames] == [b"[1]", b"[2]", b"[3]"]
    assert (linked.n, linked.head) == (new.n, new.head)


def test_a_torn_end_that_somebody_went_on_from_is_no_news(tmp_path: Path) -> None:
    """A cut commit of an earlier journal is not told once a later journal goes on from before it."""
    old, garbage = journal(tmp_path, 1), b'{"n":2,"fence":1'
    old.append(b"[1]")
    new = journal(tmp_path, 2, n=1, head=old.head)
    path = tmp_path / "journal-1.ndjson"
    path.write_bytes(path.read_bytes() + garbage)
    assert len(chain(scans(tmp_path), n=0, head=START).torn) == 1
    new.append(b"[2]")
    for one in (old, new):
        one.close()
    assert chain(scans(tmp_path), n=0, head=START).torn == []


def test_a_missing_journal_is_noticed(tmp_path: Path) -> None:
    """Commits that go on from ones that are not there are damage, whichever way they are missing."""
    first = journal(tmp_path, 1)
    first.append(b"[1]")
    second = journal(tmp_path, 2, n=first.n, head=first.head)
    second.append(b"[2]")
    for one in (first, second):
        one.close()
    both = scans(tmp_path)
    with pytest.raises(StateDamaged, match="journal-2"):
        chain(both[1:], n=0, head=START)
    with pytest.raises(StateDamaged, match="journal-1"):
        chain(both, n=0, head="f" * 16)
    assert chain(both, n=1, head=first.head).frames[0].payload == b"[2]"
    assert chain(both, n=2, head=second.head).frames == []


def test_a_journal_under_another_name_does_not_count(tmp_path: Path) -> None:
    """A journal that was renamed to another holder's is not taken for theirs."""
    one = journal(tmp_path, 1)
    one.append(b"[1]")
    one.close()
    (tmp_path / "journal-1.ndjson").rename(tmp_path / "journal-5.ndjson")
    assert chain(scans(tmp_path), n=0, head=START).frames == []
