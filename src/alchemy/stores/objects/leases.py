"""Leases on chains, as entries in logs: a unit's log has those on it and on scopes in it, an application's its own.

Chains in one log exclude each other by its order. An application and its units have a log each; there, each looks
at the other before and after it has written its take, and who finds the other withdraws.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import msgspec

from alchemy.errors import LeaseLost
from alchemy.ports import Lease, Owner
from alchemy.state import now
from alchemy.stores._clocks import awake, elapsed
from alchemy.stores.backend import Blocked, Taken
from alchemy.stores.objects.entries import FORMAT, Entry, Hold, Kind, Write, check_held, in_the_way, whom
from alchemy.stores.objects.log import Log, unanswered
from alchemy.stores.objects.logs import Logs

_MARGIN = 5.0
"""Seconds on top of a ttl: services round to seconds, and their machines' clocks differ."""


class Leases:
    """Takes, renews, releases and breaks."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self._sightings: dict[str, tuple[tuple[int, int], float]] = {}
        self._service: tuple[datetime, float] | None = None

    async def take(self, chain: str, *, owner: Owner, ttl: float, nonce: str) -> Taken | Blocked:
        """Try once to take a chain."""
        log = self._logs.of(chain)
        blocked, _ = await asyncio.gather(self._around(chain), _look(log))
        blocked = blocked or await self._put_take(log, chain, owner, ttl, nonce)
        if blocked is None:
            # Both may have looked before either had written.
            blocked = await self._around(chain)
        if blocked is not None:
            await self._withdraw(log, chain, nonce)
            return blocked
        if "/" not in chain:
            await self.fence(chain)
        async with log.mutex:
            hold = log.holds[chain]
            rows = dict(log.rows) if chain == log.name and "/" in chain else None
        if hold.taken != nonce:
            raise LeaseLost(f"{chain} was taken away from this run{whom(hold)}", hint="take it again")
        return Taken(hold.lease(chain), rows)

    async def touch(self, lease: Lease) -> None:
        """Use a slot under a lease: what is written after it stands after everything that was written before."""
        await self.renew(lease, ttl=None)

    async def renew(self, lease: Lease, *, ttl: float | None) -> Lease:
        """Move the deadline; by the lease's own ttl when none is given."""
        log = self._logs.of(lease.unit)
        async with log.mutex:
            if not log.head:
                await log.look(rows=True)
            while True:
                hold = check_held(lease, log.holds)
                span = hold.ttl if ttl is None else ttl
                new = msgspec.structs.replace(hold, seen=log.head + 1, deadline=time.time() + span, ttl=span)
                if await log.append(entry_of(log, "renew", lease.unit, {lease.unit: new}), holder=True):
                    return new.lease(lease.unit)

    async def release(self, lease: Lease) -> None:
        """Give a chain back."""
        log = self._logs.of(lease.unit)
        async with log.mutex:
            await self._release(log, lease.unit, lambda hold: hold.token == lease.token)

    async def break_(self, chain: str, *, why: str) -> None:
        """Take a chain from its holder."""
        log = self._logs.of(chain)
        async with log.mutex:
            await log.look()
            hold = log.holds.get(chain)
            if hold is not None and hold.held:
                await self._break(log, chain, hold.token, why)
        if "/" not in chain:
            await self.fence(chain)

    async def check(self, lease: Lease) -> None:
        """Look whether a lease still stands. Raises `LeaseLost`."""
        log = self._logs.of(lease.unit)
        async with log.mutex:
            await log.look()
            check_held(lease, log.holds)

    async def held(self) -> list[Lease]:
        """List the leases that are held now."""
        return [
            hold.lease(chain)
            for log in await self._logs.everything()
            for chain, hold in log.holds.items()
            if hold.held and await self.is_alive(log, chain, hold)
        ]

    async def fence(self, app: str) -> None:
        """Have the units that were written to under an application's earlier leases refuse whoever held them."""
        log = self._logs.of(app)
        async with log.mutex:
            await log.look()
            hold, borrowed = log.holds.get(app), dict(log.borrowed)
        if hold is None:
            return
        # No later lease has a smaller token: the end of this one has used a slot too.
        token = hold.token if hold.held else hold.token + 1
        past = [unit for unit, slot in borrowed.items() if slot < token]
        fenced = Hold(token=token, lost=hold.lost or whom(hold))
        await asyncio.gather(*(self._fence(unit, app, fenced) for unit in past))
        async with log.mutex:
            while any(slot < token for slot in log.borrowed.values()):
                left = {unit: slot for unit, slot in log.borrowed.items() if slot >= token}
                entry = msgspec.structs.replace(entry_of(log, "fence", app, {}), borrowed=left)
                await log.append(entry, holder=False)

    async def is_alive(self, log: Log, chain: str, hold: Hold) -> bool:
        """Say whether a holder may be there still.

        Not if it was seen unchanged for a ttl by this process's clock, or wrote nothing for one by the service's.
        """
        mark = (hold.token, hold.seen)
        known = self._sightings.get(chain)
        if known is None or known[0] != mark:
            self._sightings[chain] = (mark, awake())
        elif awake() - known[1] >= hold.ttl:
            return False
        written = log.seen_at.get(hold.seen)
        if written is None or time.time() < hold.deadline:
            return True
        return (await self._service_time() - written).total_seconds() < hold.ttl + _MARGIN

    async def _around(self, chain: str) -> Blocked | None:
        """Look for who holds the application of a unit, or units of an application; end what is dead."""
        if "/" in chain:
            app = chain.partition("/")[0]
            log = self._logs.of(app)
            async with log.mutex:
                await log.look()
            around = [(log, app)]
        else:
            around = [(log, other) for log in await self._logs.units(chain) for other in log.holds if "/" in other]
        for log, other in around:
            hold = log.holds.get(other)
            if hold is None or not hold.held:
                continue
            if await self.is_alive(log, other, hold):
                return Blocked(hold.lease(other))
            async with log.mutex:
                await self._break(log, other, hold.token, f": it was not renewed, and {chain} was taken at {now()}")
            if "/" in chain:
                await self.fence(other)
        return None

    async def _put_take(self, log: Log, chain: str, owner: Owner, ttl: float, nonce: str) -> Blocked | None:
        async with log.mutex:
            while True:
                mine = log.holds.get(chain)
                if mine is not None and mine.held and mine.taken == nonce:
                    return None
                since = now()
                ousted: dict[str, Hold] = {}
                for other, hold in in_the_way(chain, log.holds):
                    if await self.is_alive(log, other, hold):
                        return Blocked(hold.lease(other))
                    lost = f": {owner} has taken {chain} since {since}"
                    ousted[other] = msgspec.structs.replace(hold, held=False, lost=lost)
                slot = log.head + 1
                taken = Hold(
                    token=slot, held=True, owner=owner, since=since, ttl=ttl, taken=nonce, seen=slot,
                    deadline=time.time() + ttl,
                )  # fmt: skip
                if await log.append(entry_of(log, "take", chain, ousted | {chain: taken}), holder=False):
                    return None

    async def _withdraw(self, log: Log, chain: str, nonce: str) -> None:
        async with log.mutex:
            await self._release(log, chain, lambda hold: hold.taken == nonce)

    async def _release(self, log: Log, chain: str, is_mine: Callable[[Hold], bool]) -> None:
        if not log.head or log.in_doubt:
            await log.look(rows=True)
        while True:
            hold = log.holds.get(chain)
            if hold is None or not hold.held or not is_mine(hold):
                return
            given = msgspec.structs.replace(hold, held=False)
            if await log.append(entry_of(log, "release", chain, {chain: given}), holder=True):
                return

    async def _break(self, log: Log, chain: str, token: int, why: str) -> None:
        def entry() -> Entry | None:
            hold = log.holds.get(chain)
            if hold is None or not hold.held or hold.token != token:
                return None
            return entry_of(log, "break", chain, {chain: msgspec.structs.replace(hold, held=False, lost=why)})

        await log.insist(entry)

    async def _fence(self, unit: str, app: str, fenced: Hold) -> None:
        log = self._logs.of(unit)

        def entry() -> Entry | None:
            hold = log.holds.get(app)
            if hold is not None and hold.token >= fenced.token:
                return None
            return entry_of(log, "fence", app, {app: fenced})

        async with log.mutex:
            await log.look()
            await log.insist(entry)

    async def _service_time(self) -> datetime:
        """Give the service's time, from an object written once."""
        if self._service is None:
            bucket, key = self._logs.bucket, f"{self._logs.keys.mark}-clock-{secrets.token_hex(8)}"
            await bucket.put(key, b"")
            at = elapsed()
            written = await bucket.modified(key)
            await bucket.delete([key])
            if written is None:
                raise unanswered(self._logs.place, "an object that was just written is not there")
            self._service = (written, at)
        written, at = self._service
        return written + timedelta(seconds=elapsed() - at)


async def _look(log: Log) -> None:
    async with log.mutex:
        await log.look(rows=True)


def entry_of(log: Log, kind: Kind, chain: str, holds: Mapping[str, Hold], write: Write | None = None) -> Entry:
    """Give the entry that follows the head of a log."""
    newest = log.newest
    return Entry(
        format=FORMAT,
        log=log.name or chain,
        nonce=secrets.token_hex(8),
        before=newest.nonce if newest is not None else "",
        kind=kind,
        chain=chain,
        holds={**log.holds, **holds},
        borrowed=dict(log.borrowed),
        rows=log.count,
        write=write,
    )
