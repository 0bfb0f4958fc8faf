"""What may be destroyed now, with intents that are written ahead: many in one commit, while others are deleted."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

import msgspec

from alchemy.engine.deleting import Doomed, intent_of
from alchemy.engine.session import Session
from alchemy.nursery import Latch, Nursery
from alchemy.state import Record


class Intent:
    """A commit of intents to delete, which those who are about to delete wait for."""

    def __init__(self) -> None:
        self._latch = Latch()
        self.error: BaseException | None = None

    @property
    def is_durable(self) -> bool:
        """Whether nobody needs to wait for it any more."""
        return self._latch.done and self.error is None

    async def keep(self, write: Awaitable[None]) -> None:
        """Wait until it is durable, and tell those who wait."""
        try:
            await write
        except BaseException as error:
            self.error = error
        self._latch.set()

    def fail(self, error: Exception) -> None:
        """Tell those who wait, or will, that it was not even begun."""
        self.error = error
        self._latch.set()

    async def durable(self) -> None:
        """Wait until it is. Raises what went wrong."""
        await self._latch.wait()
        if self.error is not None:
            raise self.error


class Next(NamedTuple):
    """What is to be destroyed next; `intent`: state will say so, or says so already."""

    item: Doomed
    intent: Intent | None


class Upcoming:
    """A queue of what may be destroyed.

    Without this, each of those that are deleted at a time would wait for a commit of its own first. Of what is
    written ahead and then does not begin, because the run is stopped, the intent is taken back; a crash leaves it,
    and then it is deleted by the next run as what had begun is.

    Args:
        ahead: so many intents at least are written ahead as long as there are enough, and less than twice as many.
        may_write: whether the intent of one may be written before its turn comes.
    """

    def __init__(self, nursery: Nursery, ahead: int, may_write: Callable[[Doomed], bool]) -> None:
        self._nursery = nursery
        self._depth = ahead
        self._may_write = may_write
        self._rest: deque[Doomed] = deque()
        self._ahead: deque[Next] = deque()

    def __len__(self) -> int:
        return len(self._rest) + len(self._ahead)

    def add(self, items: Iterable[Doomed]) -> None:
        """Append what may be destroyed too."""
        self._rest += items

    def take(self) -> Next:
        """Give the first one."""
        if len(self._ahead) <= self._depth and self._rest:
            self._write(self._depth)
        return self._ahead.popleft()

    def take_back(self) -> None:
        """Let state say of what is left here what it said before, in the order of the writes. Nobody waits for it."""
        before: dict[Session, list[Record]] = {}
        for item, intent in self._ahead:
            if intent is not None and intent.error is None:
                now = item.session.records[item.record.fqn]
                record = msgspec.structs.replace(now, status=item.record.status)
                before.setdefault(item.session, []).append(record)
        for session, records in before.items():
            session.put_all(records)
        self._ahead.clear()

    def _write(self, count: int) -> None:
        """Have the intents written of the next ones."""
        some = [self._rest.popleft() for _ in range(min(max(1, count), len(self._rest)))]
        intents: dict[Session, tuple[Intent, list[Record]]] = {}
        for item in some:
            intent = None
            if self._may_write(item):
                intent, records = intents.setdefault(item.session, (Intent(), []))
                records.append(intent_of(item))
            self._ahead.append(Next(item, intent))
        for session, (intent, records) in intents.items():
            try:
                write = session.put_all(records)
            except Exception as error:  # each of them reports it, as with a write of its own
                intent.fail(error)
            else:
                self._nursery.start(intent.keep(write))
