"""The seam below `BackedStore`: what one kind of storage has to do, in the terms of that storage.

A file system is a store of its own (`FileStore`); databases, object stores and services are a `Backend` each. Group
commit, renewal, waiting, decoding, views and errors for people are done once, above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from alchemy.errors import StateError
from alchemy.ports import Lease, Owner

BlobKind = Literal["backups", "logs", "aside"]


class Unreachable(StateError):
    """No answer came, or one that says nothing: what was asked may have happened, or not. It is asked again."""


class Taken(NamedTuple):
    """A chain was taken.

    Attributes:
        lease: as it is held from now on.
        rows: the unit's records, when the storage gives them in the same answer.
        logs: the names of the unit's logs, likewise.
        application: the application's row, likewise; `None` also when there is none.
    """

    lease: Lease
    rows: Mapping[str, bytes] | None = None
    logs: Sequence[str] | None = None
    application: bytes | None = None


class Blocked(NamedTuple):
    """A chain could not be taken: `holder` holds it, or one above or below it."""

    holder: Lease


class Commit(NamedTuple):
    """What becomes durable in one step, all of it or nothing, in this order.

    Attributes:
        nonce: the same when the same commit is asked for again, because no answer came.
        clear: a chain; it and everything below it is dropped.
        drops: FQNs; one without a record is no error.
        puts: rows by FQN, as they are to be given back; at most 2 MiB each unless `Backend.max_bytes` says more.
    """

    nonce: str
    clear: str | None
    drops: Sequence[str]
    puts: Mapping[str, bytes]


class Ending(NamedTuple):
    """The end of the log of the unit that is given back: what `append` would be given, and what `discard` would.

    Attributes:
        lines: none: no part is added.
        drop: the names of logs.
    """

    name: str
    part: str
    lines: bytes
    drop: Sequence[str]


class Backend(Protocol):
    """One place in one kind of storage.

    Everything is called in one event loop, which runs in a thread of its own: so a blocked program does not keep
    leases from being renewed. Of each lease one commit is asked for at a time; leases, and reads, are independent.

    *Asked again.* Whatever raises `Unreachable` is asked again with the same arguments until it succeeds or patience
    ends, so every operation must bear to be repeated: a repeated `take` (same nonce) gives the lease it had got, a
    repeated `commit` or `append` (same nonce, same part) changes nothing more.

    *Fences.* `commit`, `save`, `fold`, `renew` and a `load` with a lease are refused by the *storage*, in the same
    step, when the lease's token is not the chain's newest, or was released or broken: `LeaseLost`, from
    `alchemy.stores._refusals.taken_away`. Tokens of a chain only grow, over releases, breaks and everything else.

    Rows are bytes that nobody but `BackedStore` looks into. Errors are `StateError`s that name the place, without
    credentials, and the remedy; `ConfigurationError` for what the program or its environment has wrong.
    """

    max_changes: int
    """Puts and drops in one commit that the storage does well; larger ones come only when one `set` is larger."""
    max_bytes: int
    """Bytes in one commit that the storage does well."""
    pause: float
    """Seconds between two questions for a chain that is held, at most."""

    @property
    def url(self) -> str:
        """Where it is, without credentials; opens the same place again, given the same environment."""
        ...

    async def open(self) -> Sequence[str]:
        """Connect; make or check the schema (older: migrated, newer: `StateTooNew`). Safe to repeat.

        Returns:
            Warnings for people, such as that the storage may forget.
        """
        ...

    async def close(self) -> None:
        """Let go of connections. Safe to repeat."""
        ...

    async def applications(self) -> Sequence[str]:
        """List the applications that have a record, or units."""
        ...

    async def application(self, app: str) -> bytes | None:
        """Read an application's row."""
        ...

    async def create_application(self, app: str, row: bytes) -> bytes:
        """Write an application's row unless there is one; give the one that stands."""
        ...

    async def take(self, chain: str, *, owner: Owner, ttl: float, nonce: str) -> Taken | Blocked:
        """Try once to take a chain.

        It is free when nobody holds it, nor one above or below it; whoever has not renewed for their ttl, by the
        storage's clock or by having been seen unchanged for so long by this process's own, holds nothing any more,
        and is taken away from in the same step. Of several that try at the same time at most one succeeds.
        """
        ...

    async def renew(self, lease: Lease, *, ttl: float) -> Lease:
        """Move the deadline to `ttl` seconds from now. Raises `LeaseLost`."""
        ...

    async def release(self, lease: Lease, log: Ending | None = None) -> None:
        """Give a chain back; when the lease is lost already, nothing.

        With a log, write that in the same step, or before (`write_ending`); also when the lease is lost already.
        """
        ...

    async def break_(self, chain: str, *, why: str) -> None:
        """Take a chain from its holder, if it has one; `why` is told to them (`": its lock was broken by …"`)."""
        ...

    async def locks(self) -> Sequence[Lease]:
        """List the leases that are held now, in any order."""
        ...

    async def units(self, app: str) -> Sequence[str]:
        """List the units of an application that have records, in any order."""
        ...

    async def load(self, unit: str, *, lease: Lease | None = None) -> Mapping[str, bytes]:
        """Give all rows of a unit in few requests, as of one moment. Raises `LeaseLost` when the lease is lost."""
        ...

    async def read(self, unit: str, fqns: Sequence[str]) -> Mapping[str, bytes]:
        """Give some rows of a unit; those that do not exist are left out."""
        ...

    async def commit(self, lease: Lease, unit: str, commit: Commit) -> None:
        """Make a commit to a unit durable; it lies within the lease's chain, which may be larger or smaller."""
        ...

    async def fold(self, lease: Lease, unit: str) -> None:
        """Do what makes the next load quick, if there is anything to do."""
        ...

    async def save(self, lease: Lease, unit: str, kind: BlobKind, name: str, content: bytes) -> bool:
        """Keep a blob durably; `False` when the name is taken by one with another content, which is not touched."""
        ...

    async def append(self, unit: str, name: str, part: str, lines: bytes) -> None:
        """Add a part to a log; parts are put together in the order of their names. Needs no lease."""
        ...

    async def names(self, unit: str, kind: BlobKind) -> Sequence[str]:
        """List the names of blobs, in any order."""
        ...

    async def fetch(self, unit: str, kind: BlobKind, name: str) -> bytes | None:
        """Read a blob whole."""
        ...

    async def discard(self, unit: str, kind: BlobKind, names: Sequence[str]) -> None:
        """Remove blobs; those that do not exist are no error."""
        ...


async def write_ending(backend: Backend, unit: str, log: Ending) -> None:
    """Do what a release with a log does before, where the storage cannot do both in one step."""
    if log.lines:
        await backend.append(unit, log.name, log.part, log.lines)
    if log.drop:
        await backend.discard(unit, "logs", log.drop)
