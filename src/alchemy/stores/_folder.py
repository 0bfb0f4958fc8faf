"""What is done to the `.alchemy` folder as a whole, and to units without holding them. Blocks."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from alchemy.errors import StateDamaged, StateError, StateTooNew
from alchemy.history import stamp
from alchemy.owner import owner_of
from alchemy.ports import Lease, Owner
from alchemy.state import VERSION, Application, seal, unseal
from alchemy.stores._archive import Archive
from alchemy.stores._disk import Disk
from alchemy.stores._finding import app_folders, find_apps, name_app, name_unit, unit_folders
from alchemy.stores._folding import make_folders
from alchemy.stores._guards import guard, guard_path, reading
from alchemy.stores._layout import BACKUPS, LOGS, RECORD, is_unit, quote_scope, unit_path
from alchemy.stores._leases import UnitLock
from alchemy.stores._lockfile import Held, Sighting
from alchemy.stores._locks import Locks
from alchemy.stores._reading import Reading, check_version, list_journals, read_unit
from alchemy.stores._tree import read_file

GITIGNORE = ".gitignore"
PUT_ASIDE = ".aside"


class Folder:
    """An `.alchemy` folder.

    Args:
        root: its absolute path; it need not exist.
    """

    def __init__(self, root: str, disk: Disk) -> None:
        self.root = root
        self.disk = disk
        self._locks = Locks(root, disk)

    def make(self) -> None:
        """Make the folder, hidden from git."""
        try:
            make_folders(self.disk, self.root)
            ignore = f"{self.root}/{GITIGNORE}"
            if not os.path.exists(ignore):  # noqa: PTH110
                self.disk.write_file(ignore, b"*\n", sync=False)
        except OSError as error:
            raise StateError(
                f"{self.root} cannot be used for state: {error.strerror or error}",
                hint="choose a folder that can be written to",
            ) from error

    def unit_folder(self, unit: str) -> str:
        """Give a unit's folder."""
        return f"{self.root}/{unit_path(unit)}"

    def aside(self, unit: str) -> str:
        """Give the folder for what is put aside of a damaged unit this moment."""
        return f"{self.root}/{PUT_ASIDE}/{unit_path(unit)}-{stamp(datetime.now(UTC))}"

    def lock_path(self, chain: str) -> str:
        """Give a chain's lock file."""
        return self._locks.path(chain)

    def read(self, unit: str) -> Reading:
        """Read a unit while nobody folds it."""
        folder, lock = self.unit_folder(unit), self.lock_path(unit)
        while True:
            with reading(lock) as guarded:
                found = read_unit(folder, unit)
            if guarded:
                return found
            with reading(lock) as guarded:
                if not guarded:
                    return found  # still nobody has ever written here

    def application(self, app: str) -> Application | None:
        """Read an application's record."""
        path = f"{self.root}/{quote_scope(app)}/{RECORD}"
        try:
            raw = read_file(path)
        except FileNotFoundError:
            return None
        body = unseal(raw, where=path)
        try:
            application = msgspec.convert(body, Application)
        except msgspec.ValidationError as error:
            raise StateDamaged(
                f"{path} is not an application's record: {error}", path=path, hint="restore it from a backup"
            ) from error
        if application.min_reader > VERSION:
            raise StateTooNew(
                f"{path} can only be read by a version that knows form {application.min_reader};"
                f" this one knows up to {VERSION}",
                hint="upgrade alchemy-iac",
            )
        return application

    def create_application(self, application: Application) -> Application:
        """Write an application's record unless there is one; give the one that stands."""
        standing = self.application(application.app)
        if standing is not None:
            return standing
        folder = f"{self.root}/{quote_scope(application.app)}"
        aside = f"{folder}/{RECORD}.{os.getpid()}-{threading.get_ident()}.new"
        make_folders(self.disk, folder)
        self.disk.write_file(aside, seal(msgspec.to_builtins(application)), sync=True)
        try:
            self.disk.link(aside, f"{folder}/{RECORD}")
            self.disk.sync_folder(folder)
        except FileExistsError:
            pass  # somebody was quicker: theirs stands
        finally:
            self.disk.unlink(aside)
        standing = self.application(application.app)
        assert standing is not None
        return standing

    def take(
        self, chain: str, owner: Owner, ttl: float, sightings: Mapping[str, Sighting] | None = None
    ) -> UnitLock | Held:
        """Try once to take a chain; give the lock, or what stands in its way says of itself."""
        return self._locks.take(
            chain, owner=owner, ttl=ttl, floor=lambda: self._floor(chain), sightings=sightings or {}
        )

    def take_briefly(self, unit: str, owner: Owner, ttl: float) -> UnitLock | Held:
        """Try once to take a unit for one commit under a lease on a chain above or below it."""
        return self._locks.take_briefly(unit, owner=owner, ttl=ttl, floor=lambda: self._floor(unit))

    def break_(self, chain: str) -> None:
        """Take a chain away from its holder."""
        self._locks.break_(chain, owner_of("unlock"))

    def locks(self) -> Sequence[Lease]:
        """List the leases that are held now."""
        return self._locks.held()

    def apps(self) -> Sequence[str]:
        """List the applications that have a record or units, sorted."""
        found: list[str] = []
        for app, path in find_apps(self.root):
            if os.path.exists(f"{path}/{RECORD}") or self.units(app):  # noqa: PTH110
                found.append(app)
        return sorted(found)

    def units(self, app: str) -> Sequence[str]:
        """List the units of an application that have records, sorted; also one that is damaged."""
        found = [(name_unit(path, app), path) for path in unit_folders(f"{self.root}/{quote_scope(app)}")]
        return sorted(unit for unit, path in found if unit is not None and self._has_records(path, unit))

    def unit_at(self, path: str) -> str:
        """Give the unit in whose folder a file lies.

        Raises:
            StateError: it lies in none.
        """
        path = os.path.abspath(path)  # noqa: PTH100
        for app_folder in app_folders(self.root):
            for folder in unit_folders(app_folder):
                if path.startswith(f"{folder}/"):
                    unit = name_unit(folder, name_app(app_folder))
                    if unit is not None:
                        return unit
        raise StateError(f"{path} is not a file of a stage in {self.root}", hint="name a record's state.json")

    def logs(self, unit: str) -> Archive:
        """Give a unit's logs."""
        return Archive(self.disk, unit, self.unit_folder(unit), LOGS)

    def backups(self, unit: str) -> Archive:
        """Give a unit's backups."""
        return Archive(self.disk, unit, self.unit_folder(unit), BACKUPS)

    def drop(self, unit: str, archive: Archive, names: Sequence[str]) -> None:
        """Remove some of a unit's logs or backups, while its holder writes nothing."""
        path = self.lock_path(unit)
        if os.path.exists(guard_path(path)):  # noqa: PTH110
            with guard(path, exclusive=True):
                archive.drop(names)
        else:
            archive.drop(names)

    def _floor(self, chain: str) -> int:
        """Refuse a unit that only a newer version may write; give the highest token that its files know of."""
        if not is_unit(chain):
            return 0
        folder = self.unit_folder(chain)
        fence = self._check_writable(folder, chain)
        return max([fence, *(token for token, _ in list_journals(folder))])

    def _check_writable(self, folder: str, unit: str) -> int:
        """Refuse a unit that only a newer version may write; give the fence in its own record."""
        path = f"{folder}/{RECORD}"
        try:
            body = unseal(read_file(path), where=path)
        except (FileNotFoundError, StateDamaged):
            return 0  # one that is damaged can be taken, or nobody could put it in order; but it cannot be loaded
        check_version(body, "min_reader", path, unit)
        check_version(body, "min_writer", path, unit)
        fence = body.get("fence", 0)
        return fence if isinstance(fence, int) else 0

    def _has_records(self, folder: str, unit: str) -> bool:
        if list_journals(folder):
            try:
                return bool(self.read(unit).records)
            except (StateDamaged, StateTooNew):
                return True  # whoever reads it hears of it
        if os.path.exists(f"{folder}/{RECORD}"):  # noqa: PTH110
            return True
        # A stage that lost its own file is damaged, not gone. One that was destroyed leaves nothing else behind.
        with os.scandir(folder) as entries:
            kept = [entry.path for entry in entries if entry.name not in (BACKUPS, LOGS) and entry.is_dir()]
        return any(RECORD in files for path in kept for _, _, files in os.walk(path))
