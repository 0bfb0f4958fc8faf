"""A `Backend` in a bucket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence

import msgspec

from alchemy.errors import ConfigurationError, LeaseLost, StateDamaged, StateTooNew
from alchemy.ports import Lease, Owner
from alchemy.stores.backend import BlobKind, Blocked, Commit, Ending, Taken, write_ending
from alchemy.stores.objects.bucket import Bucket
from alchemy.stores.objects.entries import (
    FORMAT,
    Hold,
    Row,
    Write,
    check_held,
    check_not_fenced,
    count_after,
    decode_row,
    encode,
)
from alchemy.stores.objects.keys import Keys
from alchemy.stores.objects.leases import Leases, entry_of
from alchemy.stores.objects.log import Log, unanswered
from alchemy.stores.objects.logs import Logs


class ObjectBackend:
    """State as objects.

    Args:
        connect: gives the bucket; called in the loop that it is used in.
        url: where it is, without credentials.
        prefix: of all keys, without slashes at its ends; may be empty.
        missing: what to do when there is no such bucket.
    """

    max_changes = 1000
    max_bytes = 8 * 2**20
    pause = 2.0

    def __init__(self, connect: Callable[[], Bucket], *, url: str, prefix: str, missing: str) -> None:
        self._connect = connect
        self._url = url
        self._keys = Keys(prefix)
        self._missing = missing
        self._open: tuple[Logs, Leases] | None = None

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        return self._url

    async def open(self) -> Sequence[str]:
        """Connect, and find out that the bucket is there and that the service honours conditions."""
        if self._open is None:
            bucket = self._connect()
            await self._probe(bucket)
            logs = Logs(bucket, self._keys, place=self._url)
            self._open = (logs, Leases(logs))
        return []

    async def close(self) -> None:
        """Forget what is known."""
        self._open = None

    async def applications(self) -> Sequence[str]:
        """List the applications that have a record, or units with records."""
        return await self._logs.applications()

    async def application(self, app: str) -> bytes | None:
        """Read an application's row."""
        key = self._keys.application(app)
        content = await self._bucket.get(key)
        return None if content is None else decode_row(content, f"{self._url}, {key}").row

    async def create_application(self, app: str, row: bytes) -> bytes:
        """Write an application's row unless there is one; give the one that stands."""
        await self._bucket.create(self._keys.application(app), encode(Row(format=FORMAT, app=app, row=row)))
        stands = await self.application(app)
        if stands is None:
            raise unanswered(self._url, f"the record of {app} was neither written nor there")
        return stands

    async def take(self, chain: str, *, owner: Owner, ttl: float, nonce: str) -> Taken | Blocked:
        """Try once to take a chain."""
        return await self._leases.take(chain, owner=owner, ttl=ttl, nonce=nonce)

    async def renew(self, lease: Lease, *, ttl: float) -> Lease:
        """Move the deadline."""
        return await self._leases.renew(lease, ttl=ttl)

    async def release(self, lease: Lease, log: Ending | None = None) -> None:
        """Give a chain back; its log's end is an object of its own, written before."""
        if log is not None:
            await write_ending(self, lease.unit, log)
        await self._leases.release(lease)

    async def break_(self, chain: str, *, why: str) -> None:
        """Take a chain from its holder."""
        await self._leases.break_(chain, why=why)

    async def locks(self) -> Sequence[Lease]:
        """List the leases that are held now."""
        return await self._leases.held()

    async def units(self, app: str) -> Sequence[str]:
        """List the units of an application that have records."""
        return [log.name for log in await self._logs.units(app) if log.name is not None and log.count]

    async def load(self, unit: str, *, lease: Lease | None = None) -> Mapping[str, bytes]:
        """Give all rows of a unit: two listings, its snapshot and what came after that, all at once."""
        log = self._logs.of(unit)
        if lease is not None and self._logs.of(lease.unit) is not log:
            await self._leases.check(lease)
        async with log.mutex:
            await log.look(rows=True)
            if lease is not None and self._logs.of(lease.unit) is log:
                check_held(lease, log.holds)
            return dict(log.rows)

    async def read(self, unit: str, fqns: Sequence[str]) -> Mapping[str, bytes]:
        """Give some rows of a unit; the whole unit is kept in memory."""
        log = self._logs.of(unit)
        async with log.mutex:
            await log.look(rows=True)
            return {fqn: log.rows[fqn] for fqn in fqns if fqn in log.rows}

    async def commit(self, lease: Lease, unit: str, commit: Commit) -> None:
        """Make a commit to a unit durable."""
        log = self._logs.of(unit)
        if self._logs.of(lease.unit) is log:
            await self._write(log, lease, commit)
        else:
            await self._borrow(lease, unit)
            await self._write_borrowed(log, lease, commit)

    async def fold(self, lease: Lease, unit: str) -> None:
        """Write a snapshot. It is a copy of what stands in the log, so a late one does no harm."""
        log = self._logs.of(unit)
        own = self._logs.of(lease.unit) is log
        if not own:
            await self._leases.check(lease)
        async with log.mutex:
            await log.look(rows=True)
            if own:
                check_held(lease, log.holds)
            await log.fold()

    async def save(self, lease: Lease, unit: str, kind: BlobKind, name: str, content: bytes) -> bool:
        """Keep a blob. It is acknowledged only when the lease still stands after it was written, else it is removed."""
        key = f"{self._keys.blobs(unit, kind)}/{name}"
        await self._leases.check(lease)
        made = await self._bucket.create(key, content)
        if not made and await self._bucket.get(key) != content:
            return False
        try:
            await self._leases.touch(lease)
        except LeaseLost:
            if made:
                await self._bucket.delete([key])
            raise
        return True

    async def append(self, unit: str, name: str, part: str, lines: bytes) -> None:
        """Add a part to a log: an object of its own."""
        await self._bucket.put(f"{self._keys.blobs(unit, 'logs')}/{name}/{part}", lines)

    async def names(self, unit: str, kind: BlobKind) -> Sequence[str]:
        """List the names of blobs."""
        folder = self._keys.blobs(unit, kind)
        if kind == "logs":
            return await self._bucket.folders(folder)
        return [found.key.rpartition("/")[2] for found in await self._bucket.list(folder)]

    async def fetch(self, unit: str, kind: BlobKind, name: str) -> bytes | None:
        """Read a blob whole."""
        key = f"{self._keys.blobs(unit, kind)}/{name}"
        if kind != "logs":
            return await self._bucket.get(key)
        parts = await self._bucket.list(key)
        contents = await asyncio.gather(*(self._bucket.get(part.key) for part in parts))
        return b"".join(content for content in contents if content is not None) if parts else None

    async def discard(self, unit: str, kind: BlobKind, names: Sequence[str]) -> None:
        """Remove blobs."""
        keys = [f"{self._keys.blobs(unit, kind)}/{name}" for name in names]
        if kind == "logs":
            listings = await asyncio.gather(*(self._bucket.list(key) for key in keys))
            keys = [found.key for listing in listings for found in listing]
        await self._bucket.delete(keys)

    @property
    def _logs(self) -> Logs:
        return self._opened()[0]

    @property
    def _leases(self) -> Leases:
        return self._opened()[1]

    @property
    def _bucket(self) -> Bucket:
        return self._logs.bucket

    def _opened(self) -> tuple[Logs, Leases]:
        if self._open is None:
            raise ConfigurationError(f"{self._url} is not open", hint="call init() first")
        return self._open

    async def _write(self, log: Log, lease: Lease, commit: Commit) -> None:
        async with log.mutex:
            if not log.head:
                await log.look(rows=True)
            while True:
                hold = log.holds.get(lease.unit)
                if hold is not None and (hold.token, hold.last) == (lease.token, commit.nonce):
                    return
                try:
                    hold = check_held(lease, log.holds)
                except LeaseLost:
                    if await log.landed(commit.nonce):
                        return
                    raise
                seen = msgspec.structs.replace(hold, last=commit.nonce, seen=log.head + 1)
                if await self._put(log, lease.unit, {lease.unit: seen}, commit, holder=True):
                    return

    async def _borrow(self, lease: Lease, unit: str) -> None:
        """Have the application's log say that a unit is written to under its lease, before the first write."""
        log = self._logs.of(lease.unit)
        async with log.mutex:
            if not log.head:
                await log.look()
            while True:
                check_held(lease, log.holds)
                if log.borrowed.get(unit, 0) > lease.token:
                    return
                entry = entry_of(log, "borrow", lease.unit, {})
                entry = msgspec.structs.replace(entry, borrowed={**log.borrowed, unit: log.head + 1})
                await log.append(entry, holder=True)

    async def _write_borrowed(self, log: Log, lease: Lease, commit: Commit) -> None:
        """Write to a unit under its application's lease, in one slot, when nobody holds the unit."""
        app = lease.unit
        async with log.mutex:
            await log.look(rows=True)
            while True:
                hold = log.holds.get(app)
                if hold is not None and (hold.token, hold.last) == (lease.token, commit.nonce):
                    return
                check_not_fenced(lease, log.holds)
                ousted: dict[str, Hold] = {}
                for chain, other in log.holds.items():
                    if other.held and await self._leases.is_alive(log, chain, other):
                        await self._leases.check(lease)
                        raise unanswered(self._url, f"{chain} is just being taken by {other.owner}")
                    if other.held:
                        lost = f": it was not renewed, and {lease.owner} holds {app}"
                        ousted[chain] = msgspec.structs.replace(other, held=False, lost=lost)
                mine = Hold(token=lease.token, last=commit.nonce, owner=lease.owner, since=lease.since)
                if await self._put(log, app, {**ousted, app: mine}, commit, holder=False):
                    return

    async def _put(self, log: Log, chain: str, holds: Mapping[str, Hold], commit: Commit, *, holder: bool) -> bool:
        write = Write(clear=commit.clear, drops=tuple(commit.drops), puts=dict(commit.puts))
        entry = entry_of(log, "write", chain, holds, write)
        count = count_after(log.rows, write)
        entry = msgspec.structs.replace(entry, nonce=commit.nonce, rows=count)
        return await log.append(entry, holder=holder)

    async def _probe(self, bucket: Bucket) -> None:
        """See that the bucket is there, and that what must not be overwritten is not."""
        mark = json.dumps({"alchemy": "state", "format": FORMAT}).encode() + b"\n"
        # Usually it is there already, and one try tells.
        if await bucket.create(self._keys.mark, mark) and await bucket.create(self._keys.mark, mark):
            raise ConfigurationError(
                f"{self._url} overwrites objects that must not be there yet: it ignores If-None-Match",
                hint="use a service that honours conditional writes; without them two runs could hold the same stage",
            )
        stands = await bucket.get(self._keys.mark)
        where = f"{self._url}, {self._keys.mark}"
        if stands is None:
            raise ConfigurationError(f"{self._url}: there is no such bucket", hint=self._missing)
        try:
            form = json.loads(stands)["format"]
        except (ValueError, TypeError, KeyError) as error:
            raise StateDamaged(f"{where} is not what alchemy wrote", path=where, hint="remove that object") from error
        if form > FORMAT:
            raise StateTooNew(f"{where} was written by a newer version of alchemy", hint="upgrade alchemy-iac")
