"""What the tests of the file store share: a unit held without an event loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from alchemy.state import Record, encode
from alchemy.stores._commits import Change, Dropped, Written
from alchemy.stores._disk import Disk
from alchemy.stores._folder import Folder
from alchemy.stores._held import HeldUnit
from alchemy.stores._leases import UnitLock
from alchemy.testing.contract import UNIT, an_owner


class Holder:
    """Holds `notes/prod` in a folder and writes it, in the caller's thread."""

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self.folder = Folder(str(root), disk or Disk())
        self.folder.make()
        lock = self.folder.take(UNIT, an_owner(), 60.0, None)
        assert isinstance(lock, UnitLock), lock
        self.lock = lock
        self.unit = HeldUnit(self.folder.disk, self.folder.unit_folder(UNIT), lock)

    def write(self, *records: Record) -> None:
        """Write records in one commit of its own."""
        self.commit(Written([(record.fqn, encode(record), record.is_scope) for record in records]))

    def drop(self, *fqns: str) -> None:
        """Drop records in one commit of its own."""
        self.commit(Dropped(fqns))

    def commit(self, *changes: Change) -> None:
        """Write changes as one group."""
        self.unit.commit(changes)

    def revs(self) -> dict[str, int]:
        """Give what a reader finds: the revision of every record."""
        return {fqn: record.rev for fqn, record in self.folder.read(UNIT).records.items()}

    def leave(self) -> None:
        """Go without folding, as a process that ends does."""
        self.unit.close()
        self.lock.close()


Hold = Callable[..., Holder]


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Hold]:
    """Hold the unit in a folder (`tmp_path/.alchemy` by default), and let go of it after the test."""
    holders: list[Holder] = []

    def take(root: Path | None = None, disk: Disk | None = None) -> Holder:
        holders.append(Holder(root or tmp_path / ".alchemy", disk))
        return holders[-1]

    yield take
    for holder in holders:
        holder.leave()
