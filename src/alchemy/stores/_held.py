"""A unit in the hands of its holder: what its files hold, and every write to them. Runs in threads."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence

from alchemy.errors import LeaseLost, StateDamaged, StateError
from alchemy.stores._accepting import Edited, read_edited, sealed_again, take_back
from alchemy.stores._archive import Archive
from alchemy.stores._commits import Change, Saved
from alchemy.stores._contents import Contents
from alchemy.stores._disk import Disk
from alchemy.stores._folding import (
    RESERVE,
    TORN,
    carry_out,
    drop_files,
    make_folders,
    remove_unit,
    write_head,
)
from alchemy.stores._guards import guard
from alchemy.stores._journal import (
    DiskFull,
    Fold,
    Journal,
    fold_payload,
    gone_payload,
    journal_name,
    set_payload,
)
from alchemy.stores._layout import BACKUPS
from alchemy.stores._leases import UnitLock
from alchemy.stores._reading import Manifest, Reading, hash_sums, list_journals, read_unit
from alchemy.stores._refusals import NO_FILES, NO_SPACE, remedy
from alchemy.stores._removal import Remover
from alchemy.stores._salvage import salvage
from alchemy.stores._tree import read_file

RESERVE_BYTES = 256 * 1024
MANY_FREED = 200
"""With this many record files of dropped records, they begin to be removed; fewer are left to the fold."""


class HeldUnit:
    """Writes one unit. Its methods block; they are called one at a time.

    Args:
        folder: the unit's.
        lock: as taken.
    """

    def __init__(self, disk: Disk, folder: str, lock: UnitLock) -> None:
        self.lock = lock
        self._disk = disk
        self._folder = folder
        self._unit = lock.content.unit
        self._files: Contents | None = None
        self._mutex = threading.Lock()
        self._failure: StateError | None = None
        self._remover: Remover | None = None
        self._reserved = False

    def load(self) -> Reading:
        """Read the unit, and bring in order what a crash has left."""
        with self._mutex:
            self._forget()
            with guard(self.lock.path, exclusive=True):
                self.lock.check()
                reading = self._open()
                self.lock.extend()  # reading much takes long
                return reading

    def commit(self, changes: Sequence[Change]) -> None:
        """Write changes as one frame of the journal; they are durable on return."""
        with self._mutex:
            self._check()
            if self._files is None:
                with guard(self.lock.path, exclusive=True), self._poisoning("read", lambda: self._folder):
                    self.lock.check()
                    self._open()
            files = self._files
            assert files is not None
            with guard(self.lock.path, exclusive=False), self._poisoning("write to", lambda: files.journal.path):
                self.lock.check()
                notes = self._take_in(changes, files)
                if not notes:
                    return
                gone = sorted(files.freed) if len(files.freed) >= MANY_FREED else []
                if gone:
                    notes.append(gone_payload({fqn: files.sums[fqn] for fqn in gone}))
                files.journal.append(b"[%s]" % b",".join(notes))
            if gone:
                self._remove(gone, files)

    def fold(self) -> None:
        """Turn the journals into record files; nothing is touched when there is nothing to fold."""
        with self._mutex:
            self._check()
            if self._files is None and not list_journals(self._folder):
                with guard(self.lock.path, exclusive=False):
                    self.lock.check()  # there may be nothing because somebody has removed it
                return
            if self._files is not None:
                self._finish_removal(self._files)
            with (
                guard(self.lock.path, exclusive=True),
                self._poisoning("fold the journal into", lambda: self._folder),
            ):
                self.lock.check()
                if self._files is None:
                    self._open()
                files = self._files
                assert files is not None
                if files.changes or files.journals:
                    self._fold(files)
                self.lock.extend()  # it could not be renewed all the while

    def accept(self, paths: Sequence[str], *, force: bool, dry_run: bool) -> list[Edited]:
        """Take back record files that were edited, in one commit, and fold; see `_accepting`."""
        with self._mutex:
            self._check()
            self._forget()
            with guard(self.lock.path, exclusive=True):
                self.lock.check()
                named = dict.fromkeys(os.path.abspath(path) for path in paths)  # noqa: PTH100
                edits = [read_edited(path, self._folder, self._unit) for path in named]
                reading = take_back(self._folder, self._unit, edits, force=force)
                if not dry_run:
                    with self._poisoning("fold the journal into", lambda: self._folder):
                        self._take_in_edits(edits, reading)
            return edits

    def _take_in_edits(self, edits: Sequence[Edited], reading: Reading) -> None:
        self._begin(reading)
        files = self._files
        assert files is not None
        written: list[bytes] = []
        for edit in edits:
            raw = sealed_again(edit, token=self.lock.content.token)
            files.accept(edit.fqn, raw)
            if raw is not None:
                written.append(raw)
        self._fold(files, written, [edit.fqn for edit in edits if edit.record is None])

    def salvage(self, aside: str) -> bool:
        """Put what is damaged aside, see `_salvage`; gives `False` when nothing is, and then does nothing."""
        with self._mutex:
            self._check()
            self._forget()
            with guard(self.lock.path, exclusive=True):
                self.lock.check()
                try:
                    read_unit(self._folder, self._unit)
                except StateDamaged:
                    with self._poisoning("put aside what is in", lambda: self._folder):
                        salvage(self._disk, self._folder, self._unit, aside=aside, token=self.lock.content.token)
                    return True
        return False

    def close(self) -> None:
        """Let go of the journal, and leave what is not removed yet."""
        with self._mutex:
            self._forget()
            self._release_reserve()

    def abandon(self) -> None:
        """Let go of the journal and leave everything on the disk as it is, as the end of the process does."""
        with self._mutex:
            self._forget()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _open(self) -> Reading:
        return self._begin(read_unit(self._folder, self._unit))

    def _begin(self, reading: Reading) -> Reading:
        """Go on from what was read, and bring in order what a crash has left."""
        chain = reading.chain
        with self._poisoning("bring in order", lambda: self._folder):
            reading.notices = [self._set_aside(torn.path, torn.good) for torn in chain.torn]
        journal = Journal(self._disk, self._folder, token=self.lock.content.token, n=chain.n, head=chain.head)
        self._files = Contents(self._folder, self._unit, reading, journal)
        return reading

    def _set_aside(self, path: str, good: int) -> str:
        """Move the torn end of a journal to a file of its own."""
        tail = read_file(path)[good:]
        aside = f"{self._folder}/{TORN}{self.lock.content.token}-{time.time_ns() // 1_000_000}"
        self._disk.write_file(aside, tail, sync=True)
        fd = self._disk.open_append(path)
        try:
            self._disk.truncate(fd, good)
            self._disk.fdatasync(fd)
        finally:
            os.close(fd)
        self._disk.sync_folder(self._folder)
        return f"the last commit in {path} was cut short (it was never confirmed); it was set aside as {aside}"

    def _prepare(self) -> None:
        """Make the folder, and the reserve that lets what is in flight be recorded on a full disk."""
        try:
            make_folders(self._disk, self._folder)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise DiskFull from error
            raise
        try:
            self._disk.reserve(f"{self._folder}/{RESERVE}", RESERVE_BYTES)
        except OSError:
            self._release_reserve(always=True)  # nearly full, or not to be had here: go on without
        self._reserved = True

    def _release_reserve(self, *, always: bool = False) -> None:
        if self._reserved or always:
            with contextlib.suppress(OSError):  # the next fold drops it
                drop_files(self._disk, self._folder, [RESERVE])

    def _take_in(self, changes: Sequence[Change], files: Contents) -> list[bytes]:
        """Save backups, and take the other changes into account; give those as the journal has them."""
        for change in changes:
            if isinstance(change, Saved):
                # Before anything is taken into account: should it be refused, nothing of the group has happened.
                self._save(change)
        rest = [change for change in changes if not isinstance(change, Saved)]
        if rest and not self._reserved:
            self._prepare()
        return [files.note(change) for change in rest]

    def _save(self, backup: Saved) -> None:
        try:
            Archive(self._disk, self._unit, self._folder, BACKUPS).save(backup.name, backup.content)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            raise DiskFull(f"the backup {backup.name} of {self._unit}") from error

    def _remove(self, gone: Sequence[str], files: Contents) -> None:
        """Have files removed, which is announced: from here on they count as not there."""
        if self._remover is None:
            self._remover = Remover(self._folder, self.lock)
        self._remover.add(files.give_up(gone))

    def _finish_removal(self, files: Contents) -> None:
        """Wait for the files that are being removed. Not to be called under the guard, which is needed for it."""
        if self._remover is not None:
            left, folders = self._remover.finish()
            files.strays += left
            files.empty += folders
            self._remover = None

    def _fold(self, files: Contents, written: Sequence[bytes] = (), dropped: Sequence[str] = ()) -> None:
        """Fold. What is `written` and `dropped`, and in `changes` already, becomes a commit with it."""
        moved = [*written, *files.take_along()]
        plan = files.plan()
        fold = Fold(count=len(plan.sums), hash=hash_sums(plan.sums.values()))
        journal = files.journal
        make_folders(self._disk, self._folder)
        journal.append(b"[%s,%s]" % (set_payload(moved, dropped), fold_payload(fold)))
        carry_out(self._disk, self._folder, plan)
        manifest = Manifest(count=fold.count, hash=fold.hash, commit=journal.n, sum=journal.head)
        write_head(self._disk, self._folder, self._unit, files.own, manifest)
        journal.close()
        done = [*files.journals, journal_name(self.lock.content.token), RESERVE]
        if plan.sums or files.own is not None:
            drop_files(self._disk, self._folder, done)
        else:
            remove_unit(self._disk, self._folder, done)
        self._reserved = False
        self._files = None

    def _poisoning(self, doing: str, what: Callable[[], str]) -> _Poisoning:
        return _Poisoning(self, doing, what)

    def fail(self, error: BaseException, doing: str, what: str) -> StateError:
        """Decide what an error means for the writes to come."""
        self._forget()
        if isinstance(error, DiskFull):
            self._release_reserve()
            return StateError(
                f"the disk is full: {error.args[0] if error.args else f'a commit to {what}'} was not written",
                hint="make room, then run again: what was written before is whole",
            )
        if isinstance(error, OSError) and error.errno in NO_FILES:
            return StateError(
                f"cannot {doing} {what}: {error.strerror}",
                hint=f"{remedy(error)}: what was confirmed before is whole",
            )
        if isinstance(error, LeaseLost):
            self._failure = error
        elif isinstance(error, OSError):
            self._failure = StateError(
                f"cannot {doing} {what}: {error.strerror or error}; nothing more is written in this run",
                hint=f"{remedy(error)}: what was confirmed before is whole",
            )
        assert self._failure is not None
        return self._failure

    def _forget(self) -> None:
        """The next write has to read again what is there; so nothing is removed any more."""
        if self._remover is not None:
            self._remover.stop()
            self._remover = None
        if self._files is not None:
            self._files.journal.close()
            self._files = None


class _Poisoning:
    """Turns what a disk refuses into the store's own errors. A refused sync is never tried again: the kernel may
    have dropped the data and would report success the second time."""

    def __init__(self, held: HeldUnit, doing: str, what: Callable[[], str]) -> None:
        self._held = held
        self._doing = doing
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (OSError, DiskFull, LeaseLost)):
            raise self._held.fail(error, self._doing, self._what()) from error
