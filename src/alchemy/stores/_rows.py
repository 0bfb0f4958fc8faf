"""Records as rows of a storage: compact JSON that carries its own checksum."""

from __future__ import annotations

import hashlib

from alchemy.errors import StateDamaged
from alchemy.state import Record, decode

_MARK = b',"checksum":"'
_END = b'"}'
_DIGITS = 16


def pack(encoded: bytes) -> bytes:
    """Give the row for a record as `state.encode` gives it."""
    head = encoded[:-1]
    return b"".join((head, _MARK, _digest(head), _END))


def unpack(row: bytes, *, where: str) -> Record:
    """Read a row.

    Raises:
        StateDamaged, StateTooNew: naming `where` it is.
    """
    head, mark, tail = row.rpartition(_MARK)
    if not mark:
        raise StateDamaged(
            f"{where} has no checksum: alchemy did not write it so, or it was cut short",
            path=where,
            hint="restore it from a backup: alchemy scope restore",
        )
    if tail != _digest(head) + _END:
        raise StateDamaged(
            f"{where} was changed since alchemy wrote it",
            path=where,
            hint="restore it from a backup: alchemy scope restore",
        )
    return decode(head + b"}", where=where)


def _digest(head: bytes) -> bytes:
    return hashlib.blake2b(head, digest_size=_DIGITS // 2).hexdigest().encode()
