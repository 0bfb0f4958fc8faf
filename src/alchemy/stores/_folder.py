"""What is done to the `.alchemy` folder as a whole, and to units without holding them. Blocks."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

import msgspec

from alchemy.errors import StateDamaged, StateError, StateTooNew
from alchemy.names import RESERVED_STAGE, unit_of
from alchemy.ports import Lease, Owner
from alchemy.state import VERSION, Application, seal, unseal
from alchemy.stores._archive import Archive
from alchemy.stores._disk import Disk
from alchemy.stores._folding import make_folders
from alchemy.stores._journal import commits_of, scan
from alchemy.stores._layout import BACKUPS, LOCKS, LOGS, NOT_APPS, RECORD, quote_scope, unit_path, unquote
from alchemy.stores._leases import (
    Held,
    Sighting,
    UnitLock,
    break_lock,
    guard,
    guard_path,
    is_alive,
    read_lock,
    reading,
    take,
)
from alchemy.stores._reading import Reading, check_version, list_journals, peek, read_unit
from alchemy.stores._tree import read_file

GITIGNORE = ".gitignore"


class Folder:
    """An `.alchemy` folder.

    Args:
        root: its absolute path; it need not exist.
    """

    def __init__(self, root: str, disk: Disk) -> None:
        self.root = root
        self.disk = disk

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

    def lock_path(self, unit: str) -> str:
        """Give a unit's lock file."""
        return f"{self.root}/{LOCKS}/{unit_path(unit)}.lock"

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

    def take(self, unit: str, owner: Owner, ttl: float, sighting: Sighting | None) -> UnitLock | Held:
        """Try once to take a unit; give the lock, or what its holder says of itself."""
        path, folder = self.lock_path(unit), self.unit_folder(unit)
        make_folders(self.disk, path.rpartition("/")[0])
        with guard(path, exclusive=True):
            fence = self._check_writable(folder, unit)
            floor = max([fence, *(token for token, _ in list_journals(folder))])
            return take(path, unit=unit, owner=owner, ttl=ttl, floor=floor, sighting=sighting)

    def break_(self, unit: str) -> None:
        """Take a unit away from its holder."""
        path = self.lock_path(unit)
        if read_lock(path) is not None:
            with guard(path, exclusive=True):
                break_lock(path)

    def locks(self, host: str) -> Sequence[Lease]:
        """List the leases that are held now."""
        found: list[Lease] = []
        for path in self._lock_files(f"{self.root}/{LOCKS}"):
            with reading(path):
                content = read_lock(path)
                if content is not None and is_alive(path, content, host):
                    found.append(content.lease())
        return sorted(found, key=lambda lease: lease.unit)

    def apps(self) -> Sequence[str]:
        """List the applications that have a record or units, sorted."""
        found: list[str] = []
        for name in _folders(self.root):
            if name not in NOT_APPS and not name.startswith("."):
                path = f"{self.root}/{name}"
                app = unquote(name) or _cut_app(path) or name
                if os.path.exists(f"{path}/{RECORD}") or self.units(app):  # noqa: PTH110
                    found.append(app)
        return sorted(found)

    def units(self, app: str) -> Sequence[str]:
        """List the units of an application that have records, sorted."""
        above = f"{self.root}/{quote_scope(app)}"
        found: list[str] = []
        for prefix, chain in (("", app), (f"{RESERVED_STAGE}/", f"{app}/{RESERVED_STAGE}")):
            for name in _folders(f"{above}/{prefix}"):
                path = f"{above}/{prefix}{name}"
                if prefix == "" and name == RESERVED_STAGE:
                    continue
                own = unquote(name)
                unit = f"{chain}/{own}" if own is not None else _cut_unit(path)
                if unit is not None and self._has_records(path, unit):
                    found.append(unit)
        return sorted(found)

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

    def _check_writable(self, folder: str, unit: str) -> int:
        """Refuse a unit that only a newer version may write; give the fence in its own record."""
        path = f"{folder}/{RECORD}"
        try:
            body = unseal(read_file(path), where=path)
        except FileNotFoundError:
            return 0
        check_version(body, "min_reader", path, unit)
        check_version(body, "min_writer", path, unit)
        fence = body.get("fence", 0)
        return fence if isinstance(fence, int) else 0

    def _has_records(self, folder: str, unit: str) -> bool:
        if list_journals(folder):
            return bool(self.read(unit).records)
        return os.path.exists(f"{folder}/{RECORD}")  # noqa: PTH110

    def _lock_files(self, folder: str) -> list[str]:
        found: list[str] = []
        for name in _folders(folder):
            found.extend(self._lock_files(f"{folder}/{name}"))
        try:
            found.extend(f"{folder}/{name}" for name in os.listdir(folder) if name.endswith(".lock"))  # noqa: PTH208
        except FileNotFoundError:
            return []
        return found


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _cut_app(folder: str) -> str | None:
    """Find out what an application is called whose folder's name was cut."""
    try:
        return msgspec.convert(unseal(read_file(f"{folder}/{RECORD}"), where=folder), Application).app
    except FileNotFoundError:
        below = (f"{folder}/{name}" for name in _folders(folder) if name != RESERVED_STAGE)
        tests = (f"{folder}/{RESERVED_STAGE}/{name}" for name in _folders(f"{folder}/{RESERVED_STAGE}"))
        units = (_cut_unit(path) for path in (*below, *tests))
        return next((unit.partition("/")[0] for unit in units if unit is not None), None)


def _cut_unit(folder: str) -> str | None:
    """Find out what a unit is called whose folder's name was cut."""
    try:
        body = unseal(read_file(f"{folder}/{RECORD}"), where=folder)
    except FileNotFoundError:
        body = {}
    name = body.get("fqn", body.get("unit"))
    if isinstance(name, str):
        return name
    for token, journal in list_journals(folder):
        path = f"{folder}/{journal}"
        for frame in scan(path, token, read_file(path)).frames:
            for commit in commits_of(frame, where=path):
                for raw in commit.set:
                    return unit_of(peek(raw).fqn)
    return None
