"""Who holds which chain in a SQLite file. Everything here runs within a transaction of the caller.

A row says who; a file with the lease's nonce in a folder beside the database says whether they live: the holder keeps
an flock on it, which the kernel takes from a dead process at once. The row decides everything else.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from alchemy.errors import LeaseLost
from alchemy.ports import Lease, Owner
from alchemy.state import now
from alchemy.stores._clocks import awake
from alchemy.stores._lockfile import Held, Sighting, holds
from alchemy.stores._locks import chains_above
from alchemy.stores._refusals import not_held, taken_away

_COLUMNS = "chain, token, nonce, owner, since, deadline, ttl, renewed, machine, held, lost"
_owners = msgspec.json.Decoder(Owner)
_open_files: weakref.WeakSet[Flocks] = weakref.WeakSet()


class Flocks:
    """The files by which others see that this process lives, and those of others.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._mine: dict[str, tuple[str, int]] = {}
        _open_files.add(self)

    def path(self, nonce: str) -> str:
        """Give the path of a lease's file."""
        return f"{self.folder}/{nonce}"

    def put(self, chain: str, nonce: str) -> None:
        """Make a lease's file and lock it; whatever this process held of that chain is let go of."""
        Path(self.folder).mkdir(mode=0o700, exist_ok=True)
        fd = os.open(self.path(nonce), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.drop(chain)
        self._mine[chain] = (nonce, fd)

    def drop(self, chain: str) -> None:
        """Let go of a chain's file, and remove it."""
        nonce, fd = self._mine.pop(chain, ("", -1))
        if nonce:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path(nonce))  # noqa: PTH108
            os.close(fd)

    def sweep(self, nonces: frozenset[str]) -> None:
        """Remove the files of those that hold nothing any more; nobody else may be taking a chain meanwhile."""
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.folder):  # noqa: PTH208
                if name not in nonces:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(self.path(name))  # noqa: PTH108

    def close(self) -> None:
        """Let go of everything, as the end of the process does. The files stay."""
        mine, self._mine = self._mine, {}
        for _, fd in mine.values():
            os.close(fd)


class LeaseRow(msgspec.Struct, kw_only=True):
    """A row of the table `leases`: the chain's state, and the nonce of who took it last."""

    nonce: str
    content: Held

    @property
    def lease(self) -> Lease:
        """Give it as the lease that it stands for."""
        return self.content.lease()


def find(database: sqlite3.Connection, chain: str) -> LeaseRow | None:
    """Read a chain's row."""
    return next(_rows(database, "chain = ?", chain), None)


def held_around(database: sqlite3.Connection, chain: str) -> list[LeaseRow]:
    """Read the rows that say they are held of a chain, of those above it and of those below it."""
    above = chains_above(chain)
    marks = ", ".join("?" * (len(above) + 1))
    # What begins with `chain/` lies between that and `chain0`, `0` being the next character: no pattern, no escapes.
    where = f"held AND (chain IN ({marks}) OR chain > ? AND chain < ?)"
    return list(_rows(database, where, *above, chain, f"{chain}/", f"{chain}0"))


def held(database: sqlite3.Connection) -> list[LeaseRow]:
    """Read all rows that say they are held."""
    return list(_rows(database, "held"))


def lives(row: LeaseRow, flocks: Flocks, sightings: Mapping[str, Sighting]) -> bool:
    """Say whether a row's holder still holds."""
    return holds(flocks.path(row.nonce), row.content, sightings.get(row.content.unit))


def check(database: sqlite3.Connection, lease: Lease) -> None:
    """Raise `LeaseLost` unless a lease is its chain's newest and held."""
    row = find(database, lease.unit)
    if row is not None and row.content.held and row.content.token == lease.token:
        return
    if row is None or row.content.token == lease.token:
        raise not_held(lease)
    raise lost(lease, row)


def lost(lease: Lease, row: LeaseRow) -> LeaseLost:
    """Say who has taken what a lease was for."""
    content = row.content
    return taken_away(lease, f": {content.owner} has it since {content.since}" if content.held else content.broken)


def put(database: sqlite3.Connection, chain: str, *, owner: Owner, ttl: float, nonce: str) -> Lease:
    """Write a new holder over whoever was there."""
    before = find(database, chain)
    token = (before.content.token if before else 0) + 1
    content = Held(token=token, held=True, unit=chain, owner=owner, since=now(), deadline=0.0, ttl=ttl)
    content.extend()
    database.execute(
        f"INSERT OR REPLACE INTO leases ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1, '')",
        (
            *(chain, token, nonce, msgspec.json.encode(owner), content.since),
            *(content.deadline, ttl, content.renewed, content.machine),
        ),
    )
    return content.lease()


def extend(database: sqlite3.Connection, lease: Lease, ttl: float) -> Lease:
    """Move the deadline of a lease that was checked."""
    row = find(database, lease.unit)
    assert row is not None
    content = row.content
    content.ttl = ttl
    content.extend()
    database.execute(
        "UPDATE leases SET deadline = ?, ttl = ?, renewed = ?, machine = ? WHERE chain = ?",
        (content.deadline, ttl, content.renewed, content.machine, lease.unit),
    )
    return content.lease()


def end(database: sqlite3.Connection, lease: Lease) -> bool:
    """Give a chain back, unless the lease is lost; say if it was not."""
    why = f": {lease.owner} had it since {lease.since}"
    ended = database.execute(
        "UPDATE leases SET held = 0, lost = ? WHERE chain = ? AND token = ? AND held", (why, lease.unit, lease.token)
    )
    return ended.rowcount > 0


def take_away(database: sqlite3.Connection, chain: str, why: str) -> None:
    """Have a chain's holder be none any more; its token is used up."""
    database.execute("UPDATE leases SET held = 0, token = token + 1, lost = ? WHERE chain = ? AND held", (why, chain))


def saw(sightings: dict[str, Sighting], row: LeaseRow) -> None:
    """Keep in mind since when a holder was seen unchanged."""
    content = row.content
    seen = sightings.get(content.unit)
    if seen is None or (seen.token, seen.deadline) != (content.token, content.deadline):
        sightings[content.unit] = Sighting(content.token, content.deadline, awake())


def _rows(database: sqlite3.Connection, where: str, *args: object) -> Iterator[LeaseRow]:
    for row in database.execute(f"SELECT {_COLUMNS} FROM leases WHERE {where}", args).fetchall():
        chain, token, nonce, owner, since, deadline, ttl, renewed, machine, is_held, why = row
        content = Held(
            token=token,
            held=bool(is_held),
            unit=chain,
            owner=_owners.decode(owner),
            since=since,
            deadline=deadline,
            ttl=ttl,
            renewed=renewed,
            machine=machine,
            broken=why,
        )
        yield LeaseRow(nonce=nonce, content=content)


def _forget_in_child() -> None:
    """In a forked child: close the files, or their locks would outlive the parent with it."""
    for flocks in list(_open_files):
        flocks.close()


os.register_at_fork(after_in_child=_forget_in_child)
