"""Backups and logs in DynamoDB.

```
pk KIND#UNIT  sk h#NAME              that there is such a blob; of which content, and in how many parts
pk KIND#UNIT  sk p#NAME#DIGEST#N     a part of its content, written before
pk logs#UNIT  sk p#NAME#PART#N       what was added to a log
```
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

from alchemy.ports import Lease
from alchemy.stores._dynamodb_locks import Locks
from alchemy.stores._dynamodb_rows import PART
from alchemy.stores._dynamodb_table import Item, Page, Refused, Table, key
from alchemy.stores.backend import BlobKind

_NAMES, _PARTS = "h#", "p#"


class Blobs:
    """The backups and logs of all units in a table."""

    def __init__(self, table: Table, locks: Locks) -> None:
        self._table = table
        self._locks = locks

    async def save(self, lease: Lease, unit: str, kind: BlobKind, name: str, content: bytes) -> bool:
        """Keep a blob; see `Backend.save`."""
        pk = f"{kind}#{unit}"
        digest = hashlib.sha256(content).hexdigest()[:40]
        parts = _cut(pk, f"{_PARTS}{name}#{digest}", content)
        await self._table.write(parts)
        item = {**key(pk, f"{_NAMES}{name}"), "digest": {"S": digest}, "parts": {"N": str(len(parts))}}
        put = {
            "Item": item,
            "ConditionExpression": "attribute_not_exists(sk) OR digest = :digest",
            "ExpressionAttributeValues": {":digest": {"S": digest}},
        }
        try:
            await self._table.transact([self._locks.held(lease), {"Put": put}], token=secrets.token_hex(16))
        except Refused as refused:
            if 0 in refused.places:
                raise await self._locks.lost(lease) from refused
            await self._table.write(drops=[(pk, part["sk"]["S"]) for part in parts])
            return False
        return True

    async def append(self, unit: str, name: str, part: str, lines: bytes) -> None:
        """Add a part to a log; see `Backend.append`."""
        pk = f"logs#{unit}"
        await self._table.write([*_cut(pk, f"{_PARTS}{name}#{part}", lines), key(pk, f"{_NAMES}{name}")])

    async def names(self, unit: str, kind: BlobKind) -> Sequence[str]:
        """List the names of blobs."""
        items = await self._table.query(Page(f"{kind}#{unit}", _NAMES), names="sk")
        return [item["sk"]["S"].removeprefix(_NAMES) for item in items]

    async def fetch(self, unit: str, kind: BlobKind, name: str) -> bytes | None:
        """Read a blob whole."""
        pk = f"{kind}#{unit}"
        item = await self._table.get(pk, f"{_NAMES}{name}")
        if item is None:
            return None
        within = f"{item['digest']['S']}#" if "digest" in item else ""
        parts = await self._table.query(Page(pk, f"{_PARTS}{name}#{within}"))
        if len(parts) < int(item.get("parts", {"N": "0"})["N"]):
            return None  # it was removed while it was read
        return b"".join(part["row"]["B"] for part in parts)

    async def discard(self, unit: str, kind: BlobKind, names: Sequence[str]) -> None:
        """Remove blobs."""
        pk = f"{kind}#{unit}"
        await self._table.write(drops=[(pk, f"{_NAMES}{name}") for name in {*names}])
        for name in names:
            parts = await self._table.query(Page(pk, f"{_PARTS}{name}#"), names="sk")
            await self._table.write(drops=[(pk, part["sk"]["S"]) for part in parts])


def _cut(pk: str, name: str, content: bytes) -> list[Item]:
    """Give the items for a content, of which there is one at least."""
    starts = range(0, max(len(content), 1), PART)
    return [{**key(pk, f"{name}#{n:05d}"), "row": {"B": content[at : at + PART]}} for n, at in enumerate(starts)]
