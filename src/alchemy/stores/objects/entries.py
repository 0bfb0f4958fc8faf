"""What stands in the slots of a log, and what follows from it. Pure.

Every entry carries the leases as they are after it, so the newest one alone says who holds what.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Mapping
from typing import Literal, TypeVar

import msgspec

from alchemy.errors import StateDamaged, StateTooNew
from alchemy.names import is_within
from alchemy.ports import Lease, Owner
from alchemy.stores._refusals import not_held, taken_away

FORMAT = 1

Kind = Literal["take", "release", "break", "fence", "borrow", "renew", "write"]
_FOLDABLE: frozenset[Kind] = frozenset({"renew", "write"})


class Hold(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The newest lease on a chain; it stays known after its end.

    Attributes:
        token: the slot in which it was taken, so it only grows. In a unit's log an application's says that nothing
            is written any more under a smaller one.
        held: not released, broken or taken away.
        taken: nonce with which it was taken. `last`: that of its newest commit.
        seen: the slot of its newest sign of life.
        deadline: seconds since the epoch, by its holder's clock.
        lost: what is told to its holder when it was taken away: `": its lock was broken by …"`.
    """

    token: int
    held: bool = False
    owner: Owner | None = None
    since: str = ""
    ttl: float = 60.0
    taken: str = ""
    last: str = ""
    seen: int = 0
    deadline: float = 0.0
    lost: str = ""

    def lease(self, chain: str) -> Lease:
        """Give it as a lease on `chain`."""
        assert self.owner is not None
        return Lease(unit=chain, token=self.token, owner=self.owner, since=self.since, deadline=self.deadline)


class Write(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What an entry changes in the unit's rows, in this order."""

    clear: str | None = None
    drops: tuple[str, ...] = ()
    puts: dict[str, bytes] = {}


class Entry(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One slot of a log.

    Attributes:
        log: the unit, or the application, whose log it is; keys may hold a shortened name.
        nonce: random, of this entry. `before`: that of the entry before it, so that one who lost the thread notices.
        chain: whose lease it was made under, or is about.
        holds: the newest lease on each chain of this log, after this entry.
        borrowed: in an application's log: units that may be written to under its leases, by the slot that said so.
        rows: how many the unit has after it.
    """

    format: int
    log: str
    nonce: str
    before: str
    kind: Kind
    chain: str
    holds: dict[str, Hold] = {}
    borrowed: dict[str, int] = {}
    rows: int = 0
    write: Write | None = None


class Image(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A snapshot: the unit as of a slot.

    Attributes:
        newest: the entry of that slot, without its rows.
        spent: slots before it that are no longer needed; they may still be there.
    """

    format: int
    newest: Entry
    rows: dict[str, bytes] = {}
    spent: tuple[int, ...] = ()


class Row(msgspec.Struct, kw_only=True, frozen=True):
    """An application's row under its full name."""

    format: int
    app: str
    row: bytes


class _Versioned(msgspec.Struct):
    format: int


def encode(value: Entry | Image | Row) -> bytes:
    """Give an object's content: MessagePack in gzip, whose checksum notices damage."""
    return gzip.compress(msgspec.msgpack.encode(value), compresslevel=1, mtime=0)


def decode_entry(content: bytes, where: str) -> Entry:
    """Read an entry. Raises `StateDamaged`, `StateTooNew`, naming `where` it is."""
    return _decode(content, Entry, where)


def decode_image(content: bytes, where: str) -> Image:
    """Read a snapshot. Raises `StateDamaged`, `StateTooNew`, naming `where` it is."""
    return _decode(content, Image, where)


def decode_row(content: bytes, where: str) -> Row:
    """Read an application's row. Raises `StateDamaged`, `StateTooNew`, naming `where` it is."""
    return _decode(content, Row, where)


def apply(rows: dict[str, bytes], write: Write | None) -> None:
    """Make rows what they are after a write."""
    if write is None:
        return
    if write.clear is not None:
        for fqn in [fqn for fqn in rows if is_within(fqn, write.clear)]:
            del rows[fqn]
    for fqn in write.drops:
        rows.pop(fqn, None)
    rows.update(write.puts)


def count_after(rows: Mapping[str, bytes], write: Write) -> int:
    """Say how many rows there are after a write."""
    cleared = write.clear
    gone = {*write.drops} & rows.keys()
    if cleared is not None:
        gone |= {fqn for fqn in rows if is_within(fqn, cleared)}
    return len(rows) - len(gone) + sum(fqn not in rows or fqn in gone for fqn in write.puts)


def is_spent(entry: Entry, earlier: Mapping[str, Hold]) -> bool:
    """Say whether an entry may be deleted once a snapshot holds what it says.

    A slot may only become empty when nobody but its author can be about to write to it: a process that was stopped
    before its request may go on at any time. So takes, releases, breaks and fences stay for good, and of the others
    all that were made while somebody else held something in the same log.

    Args:
        earlier: the leases before it.
    """
    return entry.kind in _FOLDABLE and all(chain == entry.chain for chain, hold in earlier.items() if hold.held)


def check_held(lease: Lease, holds: Mapping[str, Hold]) -> Hold:
    """Give a lease's hold. Raises `LeaseLost`, which says by whom it was taken away."""
    hold = holds.get(lease.unit)
    if hold is None or (hold.token < lease.token):
        raise not_held(lease)
    if hold.token == lease.token:
        if hold.held:
            return hold
        raise taken_away(lease, hold.lost) if hold.lost else not_held(lease)
    raise taken_away(lease, whom(hold))


def check_not_fenced(lease: Lease, holds: Mapping[str, Hold]) -> None:
    """Refuse a write to a unit under an application's lease that is known there to be over. Raises `LeaseLost`."""
    hold = holds.get(lease.unit)
    if hold is not None and hold.token > lease.token:
        raise taken_away(lease, whom(hold))


def whom(hold: Hold) -> str:
    """Say who has a chain now, or had it last."""
    if hold.owner is None:
        return hold.lost
    return f": {hold.owner} {'has' if hold.held else 'had'} it since {hold.since}"


def in_the_way(chain: str, holds: Mapping[str, Hold]) -> Iterable[tuple[str, Hold]]:
    """Give what is held of a chain, those above it and those below it."""
    for other, hold in holds.items():
        if hold.held and (is_within(other, chain) or is_within(chain, other)):
            yield other, hold


_Form = TypeVar("_Form", Entry, Image, Row)


def _decode(content: bytes, form: type[_Form], where: str) -> _Form:
    try:
        raw = gzip.decompress(content)
        version = msgspec.msgpack.decode(raw, type=_Versioned).format
        if version > FORMAT:
            raise StateTooNew(f"{where} was written by a newer version of alchemy", hint="upgrade alchemy-iac")
        return msgspec.msgpack.decode(raw, type=form)
    except (OSError, EOFError, zlib.error, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise StateDamaged(
            f"{where} does not hold what alchemy wrote: {error}",
            path=where,
            hint="bring that object back from the bucket's versions, or a copy of the bucket",
        ) from error
