"""Removing record files: at once in several threads, or by another process while the run goes on."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO

from alchemy.stores import _sweeper
from alchemy.stores._disk import Disk
from alchemy.stores._guards import guard_path
from alchemy.stores._layout import RECORD
from alchemy.stores._leases import UnitLock
from alchemy.stores._sweeper import DONE, remove_record

THREADS = 8
"""Measured on ext4 with two cores, from 1 to 32, while nothing else is to be done."""
BATCH = 32


def remove_records(disk: Disk, paths: Sequence[str]) -> set[str]:
    """Remove record files and their folders unless something else is in them; give the folders that names went from.

    The first failure is raised when all has been tried that could be.
    """

    def remove(some: Sequence[str]) -> set[str]:
        return {remove_record(disk, path) for path in some}

    if len(paths) <= BATCH:
        return remove(paths)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="alchemy-remove") as pool:
        return set[str]().union(*pool.map(remove, [paths[n::THREADS] for n in range(THREADS)]))


class Remover:
    """Has record files of a held unit removed by another process, while this one has its own work.

    Not by threads: each of the four system calls that a record takes would have to win back the interpreter's
    lock, which costs the event loop as much time as is gained.

    Args:
        folder: the unit's.
        lock: under which it is held.
    """

    def __init__(self, folder: str, lock: UnitLock) -> None:
        self._folder = folder
        self._lock = lock
        self._given: list[str] = []
        self._names: queue.SimpleQueue[list[str] | None] = queue.SimpleQueue()
        self._process = self._start()

    def add(self, paths: Sequence[str]) -> None:
        """Have files removed; returns at once."""
        start = len(self._folder) + 1
        folders = [path[start:].rpartition("/")[0] for path in paths]
        self._given += folders
        self._names.put(folders)

    def finish(self) -> tuple[list[str], set[str]]:
        """Wait until everything has been tried, and end.

        Returns:
            The files that may be left, and the folders that names went from.
        """
        left = self._end()
        above = {f"{self._folder}/{folder}".rpartition("/")[0] for folder in self._given}
        return [f"{self._folder}/{folder}/{RECORD}" for folder in left], above

    def stop(self) -> None:
        """End after what is being removed this moment."""
        if self._process is not None:
            self._process.kill()
            self._end()

    def _end(self) -> list[str]:
        self._names.put(None)
        process = self._process
        if process is None:
            return self._given
        assert process.stdout is not None
        with process:
            said = process.stdout.read().decode().split()
            self._feeder.join()
        return said[:-1] if said[-1:] == [DONE] else self._given

    def _start(self) -> subprocess.Popen[bytes] | None:
        program = _interpreter()
        if program is None:
            return None
        content = self._lock.content
        arguments = [str(os.getpid()), guard_path(self._lock.path), self._lock.path, str(content.token)]
        try:
            process = subprocess.Popen(
                [program, "-I", "-S", _sweeper.__file__, *arguments],
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # an interrupt from the keyboard is for this process alone
            )
        except OSError:
            return None  # the fold removes them
        assert process.stdin is not None
        name = f"alchemy-remove {content.unit}"
        self._feeder = threading.Thread(target=self._feed, args=(process.stdin,), name=name, daemon=True)
        self._feeder.start()
        return process

    def _feed(self, pipe: IO[bytes]) -> None:
        # A thread of its own, because the pipe is full when the other process cannot keep up.
        with contextlib.suppress(OSError), contextlib.closing(pipe):
            while (names := self._names.get()) is not None:
                lines = [" ".join(names[start : start + BATCH]) for start in range(0, len(names), BATCH)]
                pipe.write("".join(f"{line}\n" for line in lines).encode())
                pipe.flush()
            pipe.write(f"{DONE}\n".encode())


def _interpreter() -> str | None:
    """Give what runs Python files; not a program that has Python within it, which would run itself."""
    program = sys.executable or ""
    plain = os.path.basename(program).startswith(("python", "pypy"))  # noqa: PTH119
    whole = not getattr(sys, "frozen", False) and os.path.exists(_sweeper.__file__)  # noqa: PTH110
    return program if plain and whole else None
