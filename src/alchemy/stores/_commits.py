"""Group commit: many calls of `set` become one write, made by one thread, told to the loop at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from typing import NamedTuple

from alchemy.errors import StateError
from alchemy.stores._layout import one_unit

PATIENCE = 0.02
"""Seconds for which a change that nobody waits for may stay in memory alone."""


class Written(NamedTuple):
    """Records to be written in one commit, each as FQN, encoded record, is it a scope's; and what is dropped."""

    records: list[tuple[str, bytes, bool]]
    dropped: tuple[str, ...] = ()


class Dropped(NamedTuple):
    """Records to be dropped in one commit."""

    fqns: tuple[str, ...]


class Cleared(NamedTuple):
    """A chain of which everything is to be dropped, and what is written, in one commit; as in `Written`."""

    chain: str
    records: list[tuple[str, bytes, bool]]


class Saved(NamedTuple):
    """A backup to be kept."""

    name: str
    content: bytes


Change = Written | Dropped | Cleared | Saved


def unit_written(chain: str, change: Change) -> str:
    """Give the unit that a change made under a lease on `chain` goes to. Raises `StateError` when there are several."""
    match change:
        case Written(records, dropped):
            fqns = [*(fqn for fqn, _, _ in records), *dropped]
        case Dropped(dropped):
            fqns = [*dropped]
        case Cleared(cleared, records):
            fqns = [cleared, *(fqn for fqn, _, _ in records)]
        case Saved():
            fqns = []
    return one_unit(chain, fqns)


class Group:
    """Changes that become durable together. Belongs to the loop, except for `changes` while it is being written.

    Args:
        hurry: called when somebody waits for it.
    """

    __slots__ = ("changes", "done", "error", "hurry", "untold", "waiters")

    def __init__(self, hurry: Callable[[], None] | None = None) -> None:
        self.hurry = hurry
        self.changes: list[Change] = []
        self.waiters: list[asyncio.Future[None]] = []
        self.done = False
        self.error: Exception | None = None
        self.untold = 0

    def wait(self, waiter: asyncio.Future[None]) -> None:
        """Have a future completed when it is done."""
        self.waiters.append(waiter)
        if self.hurry is not None:
            self.hurry()
            self.hurry = None

    def settle(self, error: Exception | None) -> None:
        """Wake everybody who waits for it."""
        self.done = True
        self.error = error
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)
        self.waiters.clear()


class Ack:
    """What `set` returns: awaiting it waits until its commit is durable. Cancelling that wait harms no commit."""

    __slots__ = ("_earlier", "_group", "_told")

    def __init__(self, group: Group, earlier: Group | None) -> None:
        self._group = group
        self._earlier = earlier
        self._told = False

    def __await__(self) -> Generator[object, None, None]:
        group = self._group
        if not group.done:
            waiter = asyncio.get_running_loop().create_future()
            group.wait(waiter)
            yield from waiter
        if group.error is not None:
            if not self._told:
                self._told = True
                group.untold -= 1
            raise group.error
        if self._earlier is not None and self._earlier.untold:
            self._earlier.untold = 0
            raise _untold(self._earlier)


class Committer:
    """Takes changes from the loop and has them written by a thread, in the order of the calls.

    Args:
        write: called in the thread with all changes that have come together; an error it raises is the whole group's.
        name: of the thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, write: Callable[[list[Change]], None], name: str) -> None:
        self._loop = loop
        self._write = write
        self._name = name
        self._open = Group(self._hurry)
        self._last: Group | None = None
        self._failed: Group | None = None
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._hurried = False

    def add(self, change: Change) -> Ack:
        """Queue a change."""
        with self._lock:
            group = self._open
            group.changes.append(change)
            group.untold += 1
            if len(group.changes) == 1:
                self._wake.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        failed = self._failed
        return Ack(group, failed if failed is not None and failed.untold else None)

    async def flush(self) -> None:
        """Wait until nothing is queued; raise what went wrong with a change that nobody awaited."""
        while True:
            with self._wake:
                group = self._open if self._open.changes else self._last
            if group is None or group.done:
                break
            waiter = self._loop.create_future()
            group.wait(waiter)
            await waiter
        self.tell()

    def tell(self) -> None:
        """Raise what went wrong with a change that nobody awaited; once."""
        failed = self._failed
        if failed is not None and failed.untold:
            failed.untold = 0
            raise _untold(failed)

    def _hurry(self) -> None:
        """Somebody waits. Whoever else is about to write in this turn of the loop shall be in the same commit."""
        self._loop.call_soon(self._wake_up)

    def _wake_up(self) -> None:
        with self._wake:
            self._hurried = True
            self._wake.notify()

    def stop(self) -> None:
        """Have what is queued written, and end the thread. Blocks."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._open.changes:
                    if self._stopping:
                        return
                    self._wake.wait()
                # Nobody may be waiting for them: then they go along with what somebody waits for.
                self._wake.wait_for(lambda: self._hurried or self._stopping, timeout=PATIENCE)
                self._hurried = False
                group, self._open = self._open, Group(self._hurry)
                self._last = group
            error: Exception | None = None
            try:
                self._write(group.changes)
            except Exception as caught:  # whatever it is, those who wait for this group must hear of it
                error = caught
            group.changes = []
            try:
                self._loop.call_soon_threadsafe(self._settle, group, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                group.done = True

    def _settle(self, group: Group, error: Exception | None) -> None:
        if error is not None:
            if self._failed is not None:
                group.untold += self._failed.untold
            self._failed = group
        group.settle(error)


def _untold(group: Group) -> Exception:
    assert group.error is not None
    if isinstance(group.error, StateError):
        return group.error
    return StateError(f"an earlier write failed: {group.error}")
