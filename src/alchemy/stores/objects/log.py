"""A log in a bucket: numbered slots that are created once, and snapshots. The proof: docs/decisions/object-stores.md.

What is known of a log is kept; a look costs one listing from the newest known slot on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from alchemy.errors import StateDamaged
from alchemy.stores._clocks import elapsed
from alchemy.stores.backend import Unreachable
from alchemy.stores.objects.bucket import Bucket, Found
from alchemy.stores.objects.entries import (
    FORMAT,
    Entry,
    Hold,
    Image,
    apply,
    decode_entry,
    decode_image,
    encode,
    is_spent,
)
from alchemy.stores.objects.keys import slot_key, slot_number

_TRIES = 8
_STREAK = 8
_LONG = 64
"""So many entries since the snapshot are worth a new one, though they hold nothing but leases."""


class Log:
    """One log. To be used under its `mutex`, except for `name` and `folder`.

    Args:
        name: the unit's chain, or the application's; `None` when only its folder is known, until it was read.
        folder: in the bucket.
        place: for messages: the store's URL.
        folds: whether it may have snapshots; what has few entries and no rows needs none.
    """

    def __init__(self, bucket: Bucket, folder: str, *, name: str | None, place: str, folds: bool = True) -> None:
        self.name = name
        self._folds = folds
        self.mutex = asyncio.Lock()
        self.head = 0
        self.newest: Entry | None = None
        self.seen_at: dict[int, datetime] = {}
        """When slots were written, by the service's clock, as far as it is known."""
        self.in_doubt = False
        """A write has had no answer: what is known may be too old by it."""
        self._bucket = bucket
        self._slots, self._snaps, self._place = f"{folder}/log", f"{folder}/snap", f"{place}, {folder}"
        self._knock = f"{folder}/knock"
        self._rows: dict[str, bytes] | None = None
        self._snap = 0
        self._spent: list[int] = []
        self._changed = False
        self._wary = False
        self._streak = 0
        self._heard = b""
        self._pending: tuple[int, str] | None = None

    @property
    def holds(self) -> Mapping[str, Hold]:
        """The newest lease on each chain, as of the head."""
        return self.newest.holds if self.newest is not None else {}

    @property
    def borrowed(self) -> Mapping[str, int]:
        """In an application's log, the units that may be written to under its leases."""
        return self.newest.borrowed if self.newest is not None else {}

    @property
    def count(self) -> int:
        """How many rows the unit has, as of the head."""
        return self.newest.rows if self.newest is not None else 0

    @property
    def rows(self) -> dict[str, bytes]:
        """The unit's rows as of the head; after `look(rows=True)`."""
        assert self._rows is not None
        return self._rows

    async def look(self, *, rows: bool = False) -> None:
        """Find the head.

        Args:
            rows: follow every entry to it, so that `rows` are known too.
        """
        rows = rows or self._rows is not None
        if self.head and (self._rows is not None) == rows:
            found = await self._after(self.head)
            if not found or await self._follow(found):
                self.in_doubt = False
                return
        for _ in range(_TRIES):
            if await self._begin(rows=rows):
                self.in_doubt = False
                return
        raise StateDamaged(
            f"{self._place}: slots of the log are missing that no snapshot covers",
            path=self._place,
            hint="bring back what was deleted there from the bucket's versions, or restore a copy of the bucket",
        )

    async def append(self, entry: Entry, *, holder: bool) -> bool:
        """Try to write the slot after the head. After `False` the head is another one, and was looked for.

        Args:
            entry: follows what is known to be the newest.
            holder: it is written under a lease that stands in this log. Nobody else's slot is ever emptied before
                it; others have to look whether they have written to a slot that had been used and was emptied.

        Raises:
            Unreachable: it may stand there or not; `look` before anything else.
        """
        if self.in_doubt:
            await self.look()
            return False
        slot = self.head + 1
        try:
            landed = await self._write(slot, entry, wary=self._wary or not holder)
            if holder:
                await self._give_way()
        except BaseException:
            self.in_doubt = self._wary = True
            self._pending = (slot, entry.nonce)
            raise
        if landed:
            self._wary = False
            self._advance(slot, entry)
        return landed

    async def insist(self, next_entry: Callable[[], Entry | None]) -> None:
        """Write an entry that the holder has not asked for, although they may write all the time.

        Args:
            next_entry: gives it as of the head, or `None` when it is no longer needed.
        """
        key = self._knock
        tries = 0
        while (entry := next_entry()) is not None and not await self.append(entry, holder=False):
            tries += 1
            if tries == 2:
                await self._bucket.put(key, entry.nonce.encode())
        if tries >= 2:
            await self._bucket.delete([key])

    async def _give_way(self) -> None:
        """Pause after a while of writing without one if somebody has asked for it: their look and write take longer
        than the next write here. Each is heard once, so that nobody waits for those who are gone.
        """
        self._streak += 1
        if self._streak % _STREAK == 0:
            began = elapsed()
            knock = await self._bucket.get(self._knock)
            if knock is not None and knock != self._heard:
                self._heard = knock
                await asyncio.sleep(min(max(20 * (elapsed() - began), 0.2), 3.0))

    async def landed(self, nonce: str) -> bool:
        """Say whether the write that got no answer last was of that nonce, and stands."""
        if self._pending is None or self._pending[1] != nonce:
            return False
        content = await self._bucket.get(slot_key(self._slots, self._pending[0]))
        return content is not None and self._entry(content, self._pending[0]).nonce == nonce

    async def _write(self, slot: int, entry: Entry, *, wary: bool) -> bool:
        key = slot_key(self._slots, slot)
        if not await self._bucket.create(key, encode(entry)):
            # It may be one's own: a request whose answer is lost is sent again below here.
            content = await self._bucket.get(key)
            stands = None if content is None else self._entry(content, slot)
            if stands is None or stands.nonce != entry.nonce:
                await self.look()
                return False
        if wary and await self._after(slot):
            await self.look()
            return False
        return True

    async def fold(self) -> None:
        """Write a snapshot as of the head if that saves anything, and delete what is not needed any more."""
        newest = self.newest
        if newest is None or not (self._changed or self.head - self._snap > _LONG):
            return
        spent = self._spent
        if spent:
            there = {self._number(found) for found in await self._after(spent[0] - 1)}
            spent = [slot for slot in spent if slot in there]
        image = Image(
            format=FORMAT, newest=msgspec.structs.replace(newest, write=None), rows=self.rows, spent=tuple(spent)
        )
        content = await asyncio.to_thread(encode, image)
        top = slot_key(self._snaps, self.head)
        await self._bucket.create(top, content)  # one that is there says the same
        older = [found.key for found in await self._bucket.list(self._snaps) if found.key < top]
        # The head stays, so that above every slot that was emptied there is one that is not; so does the snapshot
        # before, which somebody may just have found.
        gone = [slot_key(self._slots, slot) for slot in spent if slot < self.head]
        await self._bucket.delete(gone + older[:-1])
        self._snap, self._changed = self.head, False
        self._spent = [slot for slot in self._spent if slot == self.head]

    async def _begin(self, *, rows: bool) -> bool:
        """Look for the head from the newest snapshot on; `False` when somebody folded meanwhile."""
        snaps = await self._bucket.list(self._snaps) if self._folds else None
        snap = self._number(snaps[-1]) if snaps else 0
        # Later than the slot of the same number, which is no longer listed: whoever wrote it is judged mildly.
        written = {snap: snaps[-1].modified} if snaps else {}
        found = await self._after(snap)
        if not rows:
            if found or snap:
                self.seen_at |= written
                return await self._skip_to(self._number(found[-1]) if found else snap, found)
            self.head, self.newest = 0, None
            return True
        slots = [self._number(one) for one in found]
        if slots != list(range(snap + 1, snap + 1 + len(slots))):
            return False
        image, entries = await self._read(slot_key(self._snaps, snap) if snap else None, slots)
        if entries is None or (snap and image is None):
            return False
        self._restart(snap, image)
        self.seen_at |= written
        self._note(found)
        return self._replay(slots, entries)

    async def _follow(self, found: Sequence[Found]) -> bool:
        """Go on from what is known; `False` when that is no longer possible."""
        if self._rows is None:
            return await self._skip_to(self._number(found[-1]), found)
        slots = [self._number(one) for one in found]
        if slots != list(range(self.head + 1, self.head + 1 + len(slots))):
            return False
        _, entries = await self._read(None, slots)
        if entries is None:
            return False
        self._note(found)
        return self._replay(slots, entries)

    async def _skip_to(self, slot: int, found: Sequence[Found]) -> bool:
        content = await self._bucket.get(slot_key(self._slots, slot))
        if content is None:
            return False
        self.newest, self.head, self._rows = self._entry(content, slot), slot, None
        self.name = self.newest.log
        self._note(found)
        return True

    async def _read(self, image: str | None, slots: Sequence[int]) -> tuple[Image | None, list[Entry] | None]:
        """Read a snapshot and slots at once; `None` for the slots when one is gone."""
        keys = [*([image] if image else []), *(slot_key(self._slots, slot) for slot in slots)]
        contents = await asyncio.gather(*(self._bucket.get(key) for key in keys))
        first = None
        if image:
            raw = contents.pop(0)
            first = None if raw is None else await asyncio.to_thread(decode_image, raw, f"{self._place}, {image}")
        entries: list[Entry] = []
        for slot, content in zip(slots, contents, strict=True):
            if content is None:
                return first, None
            entries.append(self._entry(content, slot))
        return first, entries

    def _restart(self, snap: int, image: Image | None) -> None:
        self._snap, self._changed = snap, False
        self._rows = dict(image.rows) if image is not None else {}
        self._spent = [*image.spent] if image is not None else []
        self.head, self.newest = snap, image.newest if image is not None else None
        self.seen_at = {}
        if image is not None:
            self.name = image.newest.log

    def _replay(self, slots: Sequence[int], entries: Sequence[Entry]) -> bool:
        for slot, entry in zip(slots, entries, strict=True):
            if entry.before != (self.newest.nonce if self.newest is not None else ""):
                return False
            self._advance(slot, entry)
        return True

    def _advance(self, slot: int, entry: Entry) -> None:
        if is_spent(entry, self.holds):
            self._spent.append(slot)
        self._changed = self._changed or entry.write is not None
        if self._rows is not None:
            apply(self._rows, entry.write)
        self.head, self.newest, self.name = slot, entry, entry.log

    async def _after(self, slot: int) -> Sequence[Found]:
        return await self._bucket.list(self._slots, after=slot_key(self._slots, slot) if slot else None)

    def _note(self, found: Sequence[Found]) -> None:
        self.seen_at |= {self._number(one): one.modified for one in found}

    def _number(self, found: Found) -> int:
        number = slot_number(found.key)
        if number is None:
            raise self._stray(found.key)
        return number

    def _entry(self, content: bytes, slot: int) -> Entry:
        return decode_entry(content, f"{self._place}, slot {slot}")

    def _stray(self, key: str) -> StateDamaged:
        where = f"{self._place}, {key}"
        return StateDamaged(f"{where} is not alchemy's", path=where, hint="remove that object")


def unanswered(place: str, why: str) -> Unreachable:
    """Say that something has to be asked again."""
    return Unreachable(f"{place}: {why}", hint="run again in a moment")
