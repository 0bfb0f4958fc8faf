"""State in a table in DynamoDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alchemy.errors import ConfigurationError, StateTooNew
from alchemy.ports import Lease, Owner
from alchemy.stores._dynamodb_blobs import Blobs
from alchemy.stores._dynamodb_locks import APPLICATIONS, Locks, apps_in
from alchemy.stores._dynamodb_rows import MOST_BYTES, MOST_STEPS, Rows
from alchemy.stores._dynamodb_table import Item, Table, key
from alchemy.stores._patience import PATIENCE
from alchemy.stores._urls import parse, with_options
from alchemy.stores.backed import BackedStore
from alchemy.stores.backend import BlobKind, Blocked, Commit, Ending, Taken, write_ending

FORMAT = 1
"""Of the items; a larger number found means that a newer version of this package wrote them."""
_OPTIONS = ("region", "endpoint", "create", "recovery")


class DynamoDBStateStore(BackedStore):
    """State in a table in DynamoDB.

    Args:
        table: its name; it has the keys `pk` and `sk`, both text.
        region: of AWS; by default what the environment or the profile says.
        endpoint: where to ask instead of AWS: a URL.
        create: make the table when there is none, paid by request.
        recovery: have AWS keep what is needed to go back to any second of the last 35 days, which it charges for.
        patience: seconds for which a table that does not answer is asked again.

    Raises:
        ConfigurationError: aiobotocore is not installed.
    """

    def __init__(
        self,
        table: str,
        *,
        region: str | None = None,
        endpoint: str | None = None,
        create: bool = False,
        recovery: bool = False,
        patience: float = PATIENCE,
    ) -> None:
        url = with_options(f"dynamodb://{table}", region=region, endpoint=endpoint)
        place = Table(table, region=region, endpoint=endpoint, url=url)
        super().__init__(DynamoDBBackend(place, create=create, recovery=recovery), patience=patience)

    @classmethod
    def from_url(cls, url: str) -> DynamoDBStateStore:
        """Give the store for `dynamodb://TABLE[?region=…&endpoint=URL&create=true&recovery=true]`."""
        place = parse(url, options=_OPTIONS)
        if not place.host or place.path:
            raise ConfigurationError(f"{url} names no table", hint="such as dynamodb://alchemy-state?region=eu-west-1")
        given = place.options
        return cls(
            place.host,
            region=given.get("region"),
            endpoint=given.get("endpoint"),
            create=_is_on(url, given, "create"),
            recovery=_is_on(url, given, "recovery"),
        )


class DynamoDBBackend:
    """Puts together what keeps leases, records, and blobs in one table."""

    max_changes = MOST_STEPS
    max_bytes = MOST_BYTES
    pause = 2.0

    def __init__(self, table: Table, *, create: bool, recovery: bool) -> None:
        self._table = table
        self._create = create
        self._recovery = recovery
        self._locks = Locks(table)
        self._rows = Rows(table, self._locks)
        self._blobs = Blobs(table, self._locks)

    @property
    def url(self) -> str:
        return self._table.url

    async def open(self) -> Sequence[str]:
        await self._table.open(create=self._create, recovery=self._recovery)
        written = await self._table.get("alchemy", "format") or await self._write_format()
        found = int(written["format"]["N"])
        if found > FORMAT:
            raise StateTooNew(
                f"{self.url} has format {found}, this version reads up to {FORMAT}", hint="install a newer alchemy-iac"
            )
        return []

    async def _write_format(self) -> Item:
        answer = await self._table.ask(
            "update_item",
            TableName=self._table.name,
            Key=key("alchemy", "format"),
            UpdateExpression="SET #format = if_not_exists(#format, :format)",
            ExpressionAttributeNames={"#format": "format"},
            ExpressionAttributeValues={":format": {"N": str(FORMAT)}},
            ReturnValues="ALL_NEW",
        )
        item: Item = answer["Attributes"]
        return item

    async def close(self) -> None:
        await self._table.close()

    async def applications(self) -> Sequence[str]:
        items = await self._table.query(apps_in())
        return [item["sk"]["S"] for item in items if "row" in item or await self._rows.units(item["sk"]["S"])]

    async def application(self, app: str) -> bytes | None:
        item = await self._table.get(APPLICATIONS, app)
        return item["row"]["B"] if item and "row" in item else None

    async def create_application(self, app: str, row: bytes) -> bytes:
        answer = await self._table.ask(
            "update_item",
            TableName=self._table.name,
            Key=key(APPLICATIONS, app),
            UpdateExpression="SET #row = if_not_exists(#row, :row)",
            ExpressionAttributeNames={"#row": "row"},
            ExpressionAttributeValues={":row": {"B": row}},
            ReturnValues="ALL_NEW",
        )
        given: bytes = answer["Attributes"]["row"]["B"]
        return given

    async def take(self, chain: str, *, owner: Owner, ttl: float, nonce: str) -> Taken | Blocked:
        return await self._locks.take(chain, owner=owner, ttl=ttl, nonce=nonce)

    async def renew(self, lease: Lease, *, ttl: float) -> Lease:
        return await self._locks.renew(lease, ttl=ttl)

    async def release(self, lease: Lease, log: Ending | None = None) -> None:
        if log is not None:
            await write_ending(self, lease.unit, log)
        await self._locks.release(lease)
        self._rows.forget(lease)

    async def break_(self, chain: str, *, why: str) -> None:
        await self._locks.break_(chain, why=why)

    async def locks(self) -> Sequence[Lease]:
        return await self._locks.locks([item["sk"]["S"] for item in await self._table.query(apps_in(), names="sk")])

    async def units(self, app: str) -> Sequence[str]:
        return await self._rows.units(app)

    async def load(self, unit: str, *, lease: Lease | None = None) -> Mapping[str, bytes]:
        return await self._rows.load(unit, lease=lease)

    async def read(self, unit: str, fqns: Sequence[str]) -> Mapping[str, bytes]:
        return await self._rows.read(unit, fqns)

    async def commit(self, lease: Lease, unit: str, commit: Commit) -> None:
        await self._rows.commit(lease, unit, commit)

    async def fold(self, lease: Lease, unit: str) -> None:
        await self._rows.fold(lease, unit)

    async def save(self, lease: Lease, unit: str, kind: BlobKind, name: str, content: bytes) -> bool:
        return await self._blobs.save(lease, unit, kind, name, content)

    async def append(self, unit: str, name: str, part: str, lines: bytes) -> None:
        await self._blobs.append(unit, name, part, lines)

    async def names(self, unit: str, kind: BlobKind) -> Sequence[str]:
        return await self._blobs.names(unit, kind)

    async def fetch(self, unit: str, kind: BlobKind, name: str) -> bytes | None:
        return await self._blobs.fetch(unit, kind, name)

    async def discard(self, unit: str, kind: BlobKind, names: Sequence[str]) -> None:
        await self._blobs.discard(unit, kind, names)


def _is_on(url: str, options: Mapping[str, str], name: str) -> bool:
    value = options.get(name, "false")
    if value not in ("true", "false"):
        raise ConfigurationError(f"{url}: {name} is {value!r}", hint=f"{name}=true, or leave it out")
    return value == "true"
