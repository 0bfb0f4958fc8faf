"""Leases in DynamoDB.

```
pk app#APP  sk chains          who holds which chain, the last token, and a number that every change moves
pk app#APP  sk lease#DIGEST    of one chain: its token while it is held, which commits ask for; else how it was lost
pk app#APP  sk beat#DIGEST     of one chain: what its holder renews, so that no commit waits for a renewal
```

Whoever takes or gives back reads `chains`, and writes all three in one transaction if it is still as it was read.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from alchemy.errors import LeaseLost
from alchemy.names import is_within
from alchemy.ports import Lease, Owner
from alchemy.state import now
from alchemy.stores._clocks import awake
from alchemy.stores._dynamodb_table import Item, Page, Refused, Table, key
from alchemy.stores._refusals import taken_away
from alchemy.stores.backend import Blocked, Taken, Unreachable

APPLICATIONS = "applications"
GRACE = 5.0
"""Seconds past its deadline, by the server's clock, after which a chain is free: it is told in whole seconds."""
_TRIES = 20
_MOST_STALE = 30
"""So many are taken away from in the transaction that takes; more of them one by one before it."""


class Holder(msgspec.Struct):
    """A chain that is held; `ttl` in seconds."""

    token: int
    nonce: str
    owner: Owner
    since: str
    ttl: float


class _Chains(NamedTuple):
    version: int
    token: int
    held: dict[str, Holder]


class _Seen(NamedTuple):
    """A renewal as it was seen first, at a time by this process's own clock."""

    beat: str
    at: float


class Locks:
    """The leases of all applications in a table."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._seen: dict[tuple[str, int], _Seen] = {}
        self._breaking: dict[str, int] = {}

    async def take(self, chain: str, *, owner: Owner, ttl: float, nonce: str) -> Taken | Blocked:
        """Try once to take a chain; see `Backend.take`."""
        app = app_of(chain)
        for _ in range(_TRIES):
            chains = await self._read(app)
            around = [one for one in chains.held if is_within(one, chain) or is_within(chain, one)]
            mine = chains.held.get(chain)
            if mine is not None and mine.nonce == nonce:
                return Taken(self._lease(chain, mine, self._table.now() + mine.ttl))
            beats = await self._beats(app, around)
            for one in around:
                holder = chains.held[one]
                if not self._is_stale(one, holder, beats.get(one)):
                    return Blocked(self._lease(one, holder, _deadline(beats.get(one))))
            if len(around) > _MOST_STALE:
                for one in around:
                    await self._let_go(one, chains.held[one].token.__eq__, f": {owner} takes {chain}, at {now()}")
                continue
            new = Holder(token=chains.token + 1, nonce=nonce, owner=owner, since=now(), ttl=ttl)
            held = {one: holder for one, holder in chains.held.items() if one not in around} | {chain: new}
            steps = [_put(app, f"lease#{digest(chain)}", chain=_text(chain), token=_number(new.token))]
            beat = self._beat(chain, new.token, ttl)
            steps += [_put(app, f"beat#{digest(chain)}", **beat)]
            for one in around:
                if one != chain:
                    steps += _lose(app, one, f": {owner} has taken {chain} since {new.since}")
            if not chains.version:
                listed = {"UpdateExpression": "SET app = :app", "ExpressionAttributeValues": {":app": _text(app)}}
                steps.append({"Update": {"Key": key(APPLICATIONS, app), **listed}})
            if await self._change(app, chains, _Chains(chains.version + 1, new.token, held), steps):
                return Taken(self._lease(chain, new, _deadline(beat)))
        raise Unreachable(f"{self._table.url}: too many take chains of {app} at once", hint="try again")

    async def renew(self, lease: Lease, *, ttl: float) -> Lease:
        """Move the deadline; see `Backend.renew`."""
        beat = self._beat(lease.unit, lease.token, ttl)
        try:
            await self._table.ask(
                "put_item",
                TableName=self._table.name,
                Item={**key(_pk(lease.unit), f"beat#{digest(lease.unit)}"), **beat},
                ConditionExpression="#token = :token",
                ExpressionAttributeNames={"#token": "token"},
                ExpressionAttributeValues={":token": _number(lease.token)},
            )
        except Refused as refused:
            raise await self.lost(lease) from refused
        return msgspec.structs.replace(lease, deadline=_deadline(beat))

    async def release(self, lease: Lease) -> None:
        """Give a chain back; see `Backend.release`."""
        await self._let_go(
            lease.unit, lambda token: token == lease.token, f": {lease.owner} had it since {lease.since}"
        )

    async def break_(self, chain: str, *, why: str) -> None:
        """Take a chain from its holder; see `Backend.break_`. Asked again, it breaks nobody else's lease."""
        await self._let_go(chain, lambda token: self._breaking.setdefault(why, token) == token, why)
        self._breaking.pop(why, None)

    async def locks(self, apps: Sequence[str]) -> Sequence[Lease]:
        """List the leases that are held now."""
        found: list[Lease] = []
        for app in apps:
            held = (await self._read(app)).held
            beats = await self._beats(app, [*held])
            for chain, holder in held.items():
                if not self._is_stale(chain, holder, beats.get(chain)):
                    found.append(self._lease(chain, holder, _deadline(beats.get(chain))))
        return found

    @staticmethod
    def held(lease: Lease) -> Mapping[str, Any]:
        """Give the step of a transaction that refuses it when a lease is lost."""
        return {
            "ConditionCheck": {
                "Key": key(*lease_key(lease)),
                "ConditionExpression": "#token = :token",
                "ExpressionAttributeNames": {"#token": "token"},
                "ExpressionAttributeValues": {":token": _number(lease.token)},
            }
        }

    async def check(self, lease: Lease) -> None:
        """Raise `LeaseLost` when a lease is lost."""
        await self.must_be(lease, await self._table.get(*lease_key(lease)))

    async def must_be(self, lease: Lease, item: Item | None) -> None:
        """Raise `LeaseLost` unless a lease's item, as it was read, says that it is held."""
        if item is None or item.get("token") != _number(lease.token):
            raise await self.lost(lease)

    async def lost(self, lease: Lease) -> LeaseLost:
        """Give what is said to one whose lease is lost: who has it, or how it was lost."""
        holder = (await self._read(app_of(lease.unit))).held.get(lease.unit)
        if holder is not None:
            return taken_away(lease, f": {holder.owner} has it since {holder.since}")
        item = await self._table.get(*lease_key(lease))
        return taken_away(lease, item["lost"]["S"] if item and "lost" in item else "")

    async def _let_go(self, chain: str, is_meant: Callable[[int], bool], how: str) -> None:
        app = app_of(chain)
        for _ in range(_TRIES):
            chains = await self._read(app)
            holder = chains.held.get(chain)
            if holder is None or not is_meant(holder.token):
                return
            held = {one: kept for one, kept in chains.held.items() if one != chain}
            after = _Chains(chains.version + 1, chains.token, held)
            if await self._change(app, chains, after, _lose(app, chain, how)):
                return
        raise Unreachable(f"{self._table.url}: too many change the leases of {app} at once", hint="try again")

    async def _read(self, app: str) -> _Chains:
        item = await self._table.get(f"app#{app}", "chains")
        if item is None:
            return _Chains(0, 0, {})
        held = msgspec.json.decode(item["held"]["S"], type=dict[str, Holder])
        return _Chains(int(item["version"]["N"]), int(item["token"]["N"]), held)

    async def _change(self, app: str, before: _Chains, after: _Chains, steps: Sequence[Mapping[str, Any]]) -> bool:
        """Write what chains are held, with the steps that belong to it; `False` when others have changed it."""
        step = _put(
            app,
            "chains",
            version=_number(after.version),
            token=_number(after.token),
            held=_text(msgspec.json.encode(after.held).decode()),
        )
        step["Put"] |= {"ConditionExpression": "attribute_not_exists(pk)"}
        if before.version:
            step["Put"] |= {
                "ConditionExpression": "#version = :before",
                "ExpressionAttributeNames": {"#version": "version"},
                "ExpressionAttributeValues": {":before": _number(before.version)},
            }
        try:
            await self._table.transact([step, *steps], token=secrets.token_hex(16))
        except Refused:
            return False
        return True

    async def _beats(self, app: str, chains: Sequence[str]) -> Mapping[str, Item]:
        keys = [(f"app#{app}", f"beat#{digest(chain)}") for chain in chains]
        return {item["chain"]["S"]: item for item in await self._table.get_many(keys)}

    def _beat(self, chain: str, token: int, ttl: float) -> dict[str, Any]:
        return {
            "chain": _text(chain),
            "token": _number(token),
            "beat": _text(secrets.token_hex(8)),
            "until": {"N": f"{self._table.now() + ttl:.3f}"},
        }

    def _is_stale(self, chain: str, holder: Holder, item: Item | None) -> bool:
        """Say whether a holder has not renewed for its ttl: by the server's clock, or by this process's own."""
        if item is None:
            return False  # it was taken, or given back, while this was read
        if self._table.now() > _deadline(item) + GRACE:
            return True
        beat = item["beat"]["S"]
        seen = self._seen.get((chain, holder.token))
        if seen is None or seen.beat != beat:
            self._seen[chain, holder.token] = _Seen(beat, awake())
            return False
        return awake() - seen.at >= holder.ttl

    @staticmethod
    def _lease(chain: str, holder: Holder, deadline: float) -> Lease:
        return Lease(unit=chain, token=holder.token, owner=holder.owner, since=holder.since, deadline=deadline)


def app_of(chain: str) -> str:
    """Give the application that a chain is of."""
    return chain.partition("/")[0]


def digest(name: str) -> str:
    """Give what stands for a name in a sort key, which has only 1,024 bytes."""
    return hashlib.sha256(name.encode()).hexdigest()[:40]


def lease_key(lease: Lease) -> tuple[str, str]:
    """Give the key of the item that commits under a lease ask for."""
    return _pk(lease.unit), f"lease#{digest(lease.unit)}"


def apps_in() -> Page:
    """Say where applications are listed."""
    return Page(APPLICATIONS)


def _pk(chain: str) -> str:
    return f"app#{app_of(chain)}"


def _put(app: str, sk: str, **values: Any) -> dict[str, Any]:
    return {"Put": {"Item": {**key(f"app#{app}", sk), **values}}}


def _lose(app: str, chain: str, how: str) -> list[dict[str, Any]]:
    lease = _put(app, f"lease#{digest(chain)}", chain=_text(chain), lost=_text(how))
    return [lease, {"Delete": {"Key": key(f"app#{app}", f"beat#{digest(chain)}")}}]


def _deadline(beat: Item | None) -> float:
    return float(beat["until"]["N"]) if beat else 0.0


def _text(value: str) -> dict[str, str]:
    return {"S": value}


def _number(value: int) -> dict[str, str]:
    return {"N": str(value)}
