"""What lies beside a unit's records and is not state: its logs and its backups. Blocks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from alchemy.errors import StateError
from alchemy.stores._disk import Disk
from alchemy.stores._folding import drop_files, make_folders
from alchemy.stores._layout import ASIDE, BACKUPS, LOGS
from alchemy.stores._refusals import no_such
from alchemy.stores._sweeper import remove_folder
from alchemy.stores._tree import read_file

_WORDS = {LOGS: "log", BACKUPS: "backup"}


class Archive:
    """The logs, or the backups, of a unit. Names are to be checked before.

    Args:
        above: the unit's folder.
        what: `LOGS` or `BACKUPS`.
    """

    def __init__(self, disk: Disk, unit: str, above: str, what: str) -> None:
        self._disk = disk
        self._unit = unit
        self._above = above
        self._folder = f"{above}/{what}"
        self._word = _WORDS[what]

    def names(self) -> Sequence[str]:
        """List what there is, oldest first."""
        try:
            found = os.listdir(self._folder)  # noqa: PTH208
        except FileNotFoundError:
            return []
        return sorted(name for name in found if not name.endswith(ASIDE))

    def read(self, name: str) -> bytes:
        """Read one whole."""
        try:
            return read_file(f"{self._folder}/{name}")
        except FileNotFoundError as error:
            raise self._unknown(name) from error

    def append(self, name: str, data: bytes) -> None:
        """Add to one, or begin it; does not wait for the disk."""
        try:
            fd = self._open(name)
        except FileNotFoundError:
            fd = self._open(name)  # the folder was empty, and somebody has removed it this moment
        try:
            self._disk.append(fd, data)
        finally:
            os.close(fd)

    def save(self, name: str, data: bytes) -> None:
        """Write one whole, durable on return; what stands under that name stays. To be called under the guard."""
        path = f"{self._folder}/{name}"
        if os.path.exists(path):  # noqa: PTH110
            raise StateError(f"{path} is there already: no backup was made", hint="try again")
        try:
            make_folders(self._disk, self._folder)
            self._disk.write_file(path + ASIDE, data, sync=True)
            self._disk.replace(path + ASIDE, path)
        except OSError:
            with contextlib.suppress(OSError):
                self.drop([name + ASIDE])
            raise
        self._disk.sync_folder(self._folder)

    def drop(self, names: Sequence[str]) -> None:
        """Remove some, and the folders that hold nothing any more. To be called under the guard."""
        drop_files(self._disk, self._folder, names)
        # Who adds to a log meanwhile makes them again, see `append`; the others are kept out by the guard.
        if remove_folder(self._disk, self._folder):
            remove_folder(self._disk, self._above)

    def _open(self, name: str) -> int:
        make_folders(self._disk, self._folder)
        return self._disk.open_append(f"{self._folder}/{name}")

    def _unknown(self, name: str) -> StateError:
        return no_such(f"{self._unit} has no {self._word}", name, self.names())
