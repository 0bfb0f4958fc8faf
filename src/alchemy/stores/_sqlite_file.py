"""A SQLite file: opening it, transactions that wait for others without blocking, and errors for people."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from alchemy.errors import StateDamaged, StateError
from alchemy.stores._refusals import remedy
from alchemy.stores._sqlite_schema import has_work, migrate

T = TypeVar("T")
BUSY_PATIENCE = 30.0
"""Seconds to wait for another process that is writing: it takes milliseconds, unless somebody has stopped it."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_HINTS = {
    sqlite3.SQLITE_FULL: "make room on that disk, or in the quota, then run again",
    sqlite3.SQLITE_READONLY: "make the file, and the folder it lies in, writable, or choose another place",
    sqlite3.SQLITE_CANTOPEN: "check that the folder exists and may be written to, or choose another place",
    sqlite3.SQLITE_PERM: "check the rights of the file and its folder",
    sqlite3.SQLITE_IOERR: "check that disk, and the room on it, then run again",
    sqlite3.SQLITE_NOMEM: "end other programs, then run again",
    sqlite3.SQLITE_TOOBIG: "SQLite takes values of up to 1 GB",
}


class SQLiteFile:
    """A database in a file, opened on first use.

    Args:
        path: absolute.
        where: the place, for messages.
    """

    def __init__(self, path: str, where: str) -> None:
        self.path = path
        self.where = where
        self._database: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open the file, making it if need be, and make or check its tables. Safe to repeat."""
        fresh = self._database is None
        if fresh:
            await self._patiently(self._connect)
        try:
            if await self.read(lambda database: has_work(database, self.where)):
                while await self.write(lambda database: migrate(database, self.where)):
                    pass
        except BaseException:
            if fresh:
                self.close()
            raise

    def close(self) -> None:
        """Let go of the file. Safe to repeat."""
        database, self._database = self._database, None
        if database is not None:
            database.close()

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something in one transaction, durable when it returns; nothing of it is there when it raises.

        Args:
            work: called again when somebody else was writing.
        """
        return await self._work("BEGIN IMMEDIATE", work)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Read as of one moment; writers are not kept from writing meanwhile."""
        return await self._work("BEGIN", work)

    async def _work(self, begin: str, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._database is None:
            await self.open()

        # No coroutine waits in here: so one connection is enough for all of them.
        def transaction() -> T:
            database = self._opened()
            database.execute(begin)
            try:
                result = work(database)
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
            return result

        return await self._patiently(transaction)

    async def _patiently(self, work: Callable[[], T]) -> T:
        end = time.monotonic() + BUSY_PATIENCE
        pause = _FIRST_PAUSE
        while True:
            try:
                return work()
            except sqlite3.Error as error:
                if _code(error) not in _BUSY or time.monotonic() > end:
                    raise self._refused(error) from error
            except OSError as error:
                raise self._refused_by_system(error) from error
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def _connect(self) -> None:
        if self._database is not None:
            return  # by another task, while this one waited
        try:
            _make(Path(self.path))
        except OSError as error:
            raise self._refused_by_system(error) from error
        database = sqlite3.connect(self.path, timeout=0, isolation_level=None)
        try:
            database.execute("PRAGMA synchronous = FULL")  # a commit is on the disk, and not only in the system's hands
            database.execute("PRAGMA fullfsync = ON")  # and, on macOS, not only in the drive's
            # Not before it is known to be ours: the mode is written into the file.
            # As of one moment, or what somebody makes meanwhile would be seen in part.
            database.execute("BEGIN")
            has_work(database, self.where)
            database.execute("COMMIT")
            database.execute("PRAGMA journal_mode = WAL")
        except BaseException:
            database.close()
            raise
        self._database = database

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            raise StateError(f"{self.where} was let go of in the middle of its use", hint="open it again: init()")
        return self._database

    def _refused_by_system(self, error: OSError) -> StateError:
        hint = remedy(error).replace(" (--state-dir)", "")
        return StateError(f"{self.where} cannot be used: {error.strerror}, {error.filename}", hint=hint)

    def _refused(self, error: sqlite3.Error) -> StateError:
        code = _code(error)
        if code == sqlite3.SQLITE_NOTADB:
            return StateDamaged(
                f"{self.where} is no SQLite database", path=self.path, hint="name another file; this one is as it was"
            )
        if code == sqlite3.SQLITE_CORRUPT:
            return StateDamaged(
                f"{self.where} is damaged: {error}",
                path=self.path,
                hint="put a copy of it back, or save what can be read into a new file: "
                f"sqlite3 {self.path} .recover | sqlite3 NEW",
            )
        if code in _BUSY:
            return StateError(
                f"{self.where} has been kept locked by another process for {BUSY_PATIENCE:g} s",
                hint=f"let that process go on, or end it (fuser {self.path} names it)",
            )
        return StateError(f"{self.where} cannot be used: {error}", hint=_HINTS.get(code, "check that file"))


def _make(path: Path) -> None:
    """Make an empty file that nobody else may read, unless there is one.

    It gets its name after it was closed: closing a file that this process also has open as a database takes away all
    locks on that database.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists():
        return
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    os.close(os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        with contextlib.suppress(OSError):  # it exists by now, or there are no links here: then SQLite makes it
            path.hardlink_to(aside)
    finally:
        aside.unlink()


def _code(error: sqlite3.Error) -> int:
    """Give the primary result code of SQLite; 0 for what the Python module raises by itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
