"""A unit's records in DynamoDB, and commits larger than one transaction.

```
pk unit#UNIT  sk !head               a number that every commit moves; names a large commit that is not applied yet
pk unit#UNIT  sk r#DIGEST            a record: its FQN and its row, or how many parts the row has
pk unit#UNIT  sk x#NONCE#DIGEST#N    a part of a row that is too large for an item, written before the record
pk unit#UNIT  sk x#NONCE#commit#N    a part of a large commit, written before `!head` names it
pk app#APP    sk unit#DIGEST         that there is such a unit
```

One transaction makes a large commit happen: from then on readers lay it over the records, whether or not it was
applied to them, and whoever writes next applies it first. Readers compare `!head` before and after, so that nobody
sees half a commit.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from alchemy.errors import StateDamaged
from alchemy.names import is_within
from alchemy.ports import Lease
from alchemy.stores._dynamodb_locks import Locks, app_of, digest, lease_key
from alchemy.stores._dynamodb_table import Item, Page, Refused, Table, key
from alchemy.stores.backend import Commit, Unreachable

PART = 350_000
"""Bytes: an item has 400 KB, names included."""
MOST_STEPS = 97
"""Changes in one transaction of 100, beside the lease, the head and the unit's name."""
MOST_BYTES = 700_000
"""Of rows in one transaction: it may have 4 MB, but see `_dynamodb_table` on the size of requests."""
_HEAD, _ROWS, _PARTS = "!head", "r#", "x#"
_TRIES = 20

Changes = dict[str, bytes | None]
"""Rows by FQN; `None` drops one."""


@dataclass
class _Plan:
    """A commit as it is asked for: the same requests each time, because a repeated one must be the same."""

    nonce: str
    changes: Changes
    is_new: bool
    pieces: list[bytes] = field(default_factory=list[bytes])


class _Head(NamedTuple):
    """`pending` is the nonce of a large commit that counts and is not applied yet; it has `pieces` parts."""

    version: int = 0
    pending: str = ""
    pieces: int = 0


class Rows:
    """The records of all units in a table."""

    def __init__(self, table: Table, locks: Locks) -> None:
        self._table = table
        self._locks = locks
        self._plans: dict[tuple[str, int], _Plan] = {}
        self._named: set[tuple[str, int, str]] = set()

    async def units(self, app: str) -> Sequence[str]:
        """List the units of an application that have records."""
        named = [item["unit"]["S"] for item in await self._table.query(Page(f"app#{app}", "unit#"))]
        filled = await asyncio.gather(*(self._is_filled(unit) for unit in named))
        return [unit for unit, is_filled in zip(named, filled, strict=True) if is_filled]

    async def load(self, unit: str, *, lease: Lease | None) -> Mapping[str, bytes]:
        """Give all rows as of one moment; see `Backend.load`."""
        for _ in range(_TRIES):
            items = await self._table.query(Page(_pk(unit)))
            before = _head(items[0]) if items and items[0]["sk"]["S"] == _HEAD else _Head()
            keys = [(_pk(unit), _HEAD), *([lease_key(lease)] if lease else [])]
            now = {item["sk"]["S"]: item for item in await self._table.get_many(keys)}
            if lease is not None:
                await self._locks.must_be(lease, now.get(lease_key(lease)[1]))
            if before == (_head(now[_HEAD]) if _HEAD in now else _Head()):
                return self._compose(unit, before, items)
        raise Unreachable(f"{self._table.url}: {unit} changes faster than it can be read", hint="try again")

    async def read(self, unit: str, fqns: Sequence[str]) -> Mapping[str, bytes]:
        """Give some rows; see `Backend.read`."""
        places = {f"{_ROWS}{digest(fqn)}": fqn for fqn in fqns}
        for _ in range(_TRIES):
            items = await self._table.get_many([(_pk(unit), sk) for sk in (_HEAD, *places)])
            found = {item["sk"]["S"]: item for item in items}
            if _HEAD in found and _head(found.pop(_HEAD)).pending:
                rows = await self.load(unit, lease=None)
                return {fqn: rows[fqn] for fqn in fqns if fqn in rows}
            wanted = [sk for item in found.values() for sk in _parts_of(item)]
            parts = await self._table.get_many([(_pk(unit), sk) for sk in wanted])
            if len(parts) == len(wanted):
                contents = {item["sk"]["S"]: item["row"]["B"] for item in parts}
                return {item["fqn"]["S"]: _row(item, contents) for item in found.values()}
        raise self._damaged(unit)

    async def commit(self, lease: Lease, unit: str, commit: Commit) -> None:
        """Make a commit durable; see `Backend.commit`."""
        held = (lease.unit, lease.token)
        plan = self._plans.get(held)
        if plan is None or plan.nonce != commit.nonce:
            plan = self._plans[held] = await self._plan(lease, unit, commit)
        for _ in range(_TRIES):
            try:
                await self._switch_on(lease, unit, plan)
                break
            except Refused as refused:
                if 0 in refused.places:
                    raise await self._locks.lost(lease) from refused
            head = await self._head(unit)
            if head.pending == plan.nonce:
                break  # it was this one, and no answer came
            await self._apply_pending(unit, head)
        else:
            raise Unreachable(f"{self._table.url}: too many write to {unit} at once", hint="try again")
        if plan.pieces:
            await self._apply(unit, plan.nonce, plan.changes, len(plan.pieces))
        self._named.add((*held, unit))

    def forget(self, lease: Lease) -> None:
        """Keep nothing more of what was written under a lease."""
        held = (lease.unit, lease.token)
        self._plans.pop(held, None)
        self._named = {one for one in self._named if one[:2] != held}

    async def fold(self, lease: Lease, unit: str) -> None:
        """Apply what is not applied yet, and remove what nobody needs: parts, and the name of an empty unit."""
        if not is_within(unit, lease.unit):
            await self._locks.check(lease)  # whoever holds another part of this unit may be writing such parts
            return
        parts, needed = await self._parts(unit), set[str]()
        if parts:
            head = await self._head(unit)
            if head.pending:
                await self._apply_pending(unit, head)
                parts = await self._parts(unit)
            items = await self._table.query(Page(_pk(unit), _ROWS), names="sk, part, parts")
            needed = {sk for item in items for sk in _parts_of(item)}
        is_filled = await self._is_filled(unit)
        await self._locks.check(lease)  # it was held when they were read, so nobody else will ever need them
        await self._table.write(drops=[(_pk(unit), sk) for sk in parts if sk not in needed])
        if not is_filled:
            await self._unname(lease, unit)

    async def _plan(self, lease: Lease, unit: str, commit: Commit) -> _Plan:
        changes: Changes = {}
        if commit.clear is not None:
            rows = await self.load(unit, lease=lease)
            changes |= {fqn: None for fqn in rows if is_within(fqn, commit.clear)}
        changes |= dict.fromkeys(commit.drops)
        changes |= commit.puts
        plan = _Plan(commit.nonce, changes, is_new=(lease.unit, lease.token, unit) not in self._named)
        if len(changes) > MOST_STEPS or sum(_weight(row) for row in changes.values()) > MOST_BYTES:
            plan.pieces = _cut(msgspec.msgpack.encode(changes))
            await self._table.write(
                [_part(unit, f"{commit.nonce}#commit", place, piece) for place, piece in enumerate(plan.pieces)]
            )
        else:
            await self._write_parts(unit, plan.nonce, changes)
        return plan

    async def _switch_on(self, lease: Lease, unit: str, plan: _Plan) -> None:
        """Have a commit count, small ones whole. Raises `Refused`: 0 is the lease, 1 another large commit."""
        head: dict[str, Any] = {
            "Key": key(_pk(unit), _HEAD),
            "UpdateExpression": "ADD #version :one",
            "ConditionExpression": "attribute_not_exists(pending)",
            "ExpressionAttributeNames": {"#version": "version"},
            "ExpressionAttributeValues": {":one": {"N": "1"}},
        }
        if plan.pieces:
            head["UpdateExpression"] += " SET pending = :nonce, pieces = :pieces"
            head["ExpressionAttributeValues"] |= {
                ":nonce": {"S": plan.nonce},
                ":pieces": {"N": str(len(plan.pieces))},
            }
        steps: list[Mapping[str, Any]] = [self._locks.held(lease), {"Update": head}]
        if plan.is_new:
            name = {**key(f"app#{app_of(unit)}", f"unit#{digest(unit)}"), "unit": {"S": unit}}
            steps.append({"Put": {"Item": name}})
        if not plan.pieces:
            steps += [_step(unit, plan.nonce, fqn, row) for fqn, row in plan.changes.items()]
        await self._table.transact(steps, token=plan.nonce)

    async def _apply_pending(self, unit: str, head: _Head) -> None:
        """Apply a large commit that counts already; anybody may, since each step asks whether it is still to be."""
        sks = [f"{_PARTS}{head.pending}#commit#{place:05d}" for place in range(head.pieces)]
        items = await self._table.get_many([(_pk(unit), sk) for sk in sks])
        if len(items) == len(sks):  # otherwise somebody else has done it meanwhile
            pieces = {item["sk"]["S"]: item["row"]["B"] for item in items}
            await self._apply(unit, head.pending, _join(pieces[sk] for sk in sks), head.pieces)

    async def _apply(self, unit: str, nonce: str, changes: Changes, pieces: int) -> None:
        pending = {
            "Key": key(_pk(unit), _HEAD),
            "ConditionExpression": "pending = :nonce",
            "ExpressionAttributeValues": {":nonce": {"S": nonce}},
        }
        try:
            for some in _divide(changes):
                await self._write_parts(unit, nonce, some)
                steps = [_step(unit, nonce, fqn, row) for fqn, row in some.items()]
                await self._table.transact([{"ConditionCheck": pending}, *steps], token=_token())
            done = {
                **pending,
                "UpdateExpression": "ADD #version :one REMOVE pending, pieces",
                "ExpressionAttributeNames": {"#version": "version"},
                "ExpressionAttributeValues": {":nonce": {"S": nonce}, ":one": {"N": "1"}},
            }
            await self._table.transact([{"Update": done}], token=_token())
        except Refused:
            return  # somebody else has done it meanwhile
        await self._table.write(drops=[(_pk(unit), f"{_PARTS}{nonce}#commit#{n:05d}") for n in range(pieces)])

    async def _write_parts(self, unit: str, nonce: str, changes: Changes) -> None:
        await self._table.write(
            [
                _part(unit, f"{nonce}#{digest(fqn)}", place, piece)
                for fqn, row in changes.items()
                if row is not None and len(row) > PART
                for place, piece in enumerate(_cut(row))
            ]
        )

    def _compose(self, unit: str, head: _Head, items: Sequence[Item]) -> Mapping[str, bytes]:
        parts = {item["sk"]["S"]: item["row"]["B"] for item in items if item["sk"]["S"].startswith(_PARTS)}
        try:
            rows = {item["fqn"]["S"]: _row(item, parts) for item in items if item["sk"]["S"].startswith(_ROWS)}
            if head.pending:
                sks = [f"{_PARTS}{head.pending}#commit#{place:05d}" for place in range(head.pieces)]
                laid_over = _join(parts[sk] for sk in sks)
                changed = {**rows, **laid_over}
                rows = {fqn: row for fqn, row in changed.items() if row is not None}
        except KeyError as error:
            raise self._damaged(unit) from error
        return rows

    async def _is_filled(self, unit: str) -> bool:
        items = await self._table.query(Page(_pk(unit)), names="sk, pending", limit=2)
        return any(item["sk"]["S"].startswith(_ROWS) or "pending" in item for item in items)

    async def _parts(self, unit: str) -> list[str]:
        return [item["sk"]["S"] for item in await self._table.query(Page(_pk(unit), _PARTS), names="sk")]

    async def _head(self, unit: str) -> _Head:
        item = await self._table.get(_pk(unit), _HEAD)
        return _head(item) if item else _Head()

    async def _unname(self, lease: Lease, unit: str) -> None:
        self._named.discard((lease.unit, lease.token, unit))
        steps = [self._locks.held(lease), {"Delete": {"Key": key(f"app#{app_of(unit)}", f"unit#{digest(unit)}")}}]
        try:
            await self._table.transact(steps, token=_token())
        except Refused as refused:
            raise await self._locks.lost(lease) from refused

    def _damaged(self, unit: str) -> StateDamaged:
        where = f"{self._table.url}, {unit}"
        return StateDamaged(
            f"{where}: a part of a record is gone", path=where, hint="restore it from a backup: alchemy scope restore"
        )


def _pk(unit: str) -> str:
    return f"unit#{unit}"


def _token() -> str:
    return secrets.token_hex(16)


def _head(item: Item) -> _Head:
    pending = item.get("pending", {}).get("S", "")
    return _Head(int(item["version"]["N"]), pending, int(item["pieces"]["N"]) if pending else 0)


def _weight(row: bytes | None) -> int:
    return 0 if row is None or len(row) > PART else len(row)


def _cut(content: bytes) -> list[bytes]:
    return [content[start : start + PART] for start in range(0, len(content), PART)]


def _join(pieces: Any) -> Changes:
    return msgspec.msgpack.decode(b"".join(pieces), type=dict[str, bytes | None])


def _part(unit: str, name: str, place: int, piece: bytes) -> Item:
    return {**key(_pk(unit), f"{_PARTS}{name}#{place:05d}"), "row": {"B": piece}}


def _step(unit: str, nonce: str, fqn: str, row: bytes | None) -> Mapping[str, Any]:
    where = key(_pk(unit), f"{_ROWS}{digest(fqn)}")
    if row is None:
        return {"Delete": {"Key": where}}
    item: dict[str, Any] = {**where, "fqn": {"S": fqn}}
    if len(row) <= PART:
        item["row"] = {"B": row}
    else:
        item |= {"parts": {"N": str(len(_cut(row)))}, "part": {"S": f"{_PARTS}{nonce}#{digest(fqn)}"}}
    return {"Put": {"Item": item}}


def _parts_of(item: Item) -> list[str]:
    if "parts" not in item:
        return []
    return [f"{item['part']['S']}#{place:05d}" for place in range(int(item["parts"]["N"]))]


def _row(item: Item, parts: Mapping[str, bytes]) -> bytes:
    if "parts" in item:
        return b"".join(parts[sk] for sk in _parts_of(item))
    row: bytes = item["row"]["B"]
    return row


def _divide(changes: Changes) -> list[Changes]:
    """Divide changes into what fits into transactions."""
    divided: list[Changes] = []
    size = 0
    for fqn, row in changes.items():
        if not divided or len(divided[-1]) >= MOST_STEPS or size + _weight(row) > MOST_BYTES:
            divided.append({})
            size = 0
        divided[-1][fqn] = row
        size += _weight(row)
    return divided
