"""A table in DynamoDB: requests in its own words, all pages of them, and what its errors mean."""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from alchemy.errors import AlchemyError, ConfigurationError, StateError
from alchemy.stores._clocks import elapsed
from alchemy.stores._urls import load_extra
from alchemy.stores.backend import Unreachable

Item = Mapping[str, Any]
"""As DynamoDB has it: `{"pk": {"S": "…"}}`."""
STORE = "a state store in DynamoDB"
_BATCH_READ, _BATCH_WRITE = 100, 25
_BATCH_BYTES = 720_000
"""In one request: aiohttp calls a body of more than 1 MiB too large to be sent in one go, and base64 adds a third."""
_PASSING = frozenset(
    {
        *("TransactionConflict", "TransactionConflictException", "TransactionInProgressException"),
        *("ThrottlingError", "ThrottlingException", "ProvisionedThroughputExceeded", "RequestLimitExceeded"),
        *("ProvisionedThroughputExceededException", "InternalServerError", "ServiceUnavailable", "LimitExceeded"),
        *("LimitExceededException", "ResourceInUseException", "RequestTimeout"),
    }
)
"""Codes that another moment may change."""
_CREDENTIALS = frozenset(
    {
        *("UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException", "AccessDenied"),
        *("MissingAuthenticationTokenException", "MissingAuthenticationToken", "InvalidClientTokenId"),
        *("AccessDeniedException", "SignatureDoesNotMatch", "IncompleteSignatureException", "NotAuthorized"),
    }
)


class Refused(Exception):
    """A condition of a transaction, or of a single write, does not hold.

    Attributes:
        places: of the conditions, in the order of the writes.
    """

    def __init__(self, places: frozenset[int]) -> None:
        super().__init__(places)
        self.places = places


class NoTable(ConfigurationError):
    """There is no table of that name."""


class Page(NamedTuple):
    """Where items lie: all of a partition whose sort key begins with `prefix`."""

    pk: str
    prefix: str = ""


class Table:
    """One table.

    Args:
        region, endpoint: `None`: what the environment says.
        url: for messages.
    """

    def __init__(self, name: str, *, region: str | None, endpoint: str | None, url: str) -> None:
        _sdk("aiobotocore")
        self.name = name
        self.url = url
        self._where = {"region_name": region, "endpoint_url": endpoint}
        self._stack = AsyncExitStack()
        self._client: Any = None
        self._ahead: float | None = None

    def now(self) -> float:
        """Give the time in seconds since the epoch: the server's, as of its last answer."""
        return time.time() if self._ahead is None else elapsed() + self._ahead

    async def open(self, *, create: bool, recovery: bool) -> None:
        """Connect, and see that the table is there and of the right form; safe to repeat."""
        await self.close()
        errors = _sdk("botocore.exceptions")
        config = _sdk("aiobotocore.config").AioConfig(
            # Asking again is done above, for as long as it makes sense.
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=5,
            read_timeout=20,
            max_pool_connections=32,
        )
        try:
            made = _session().create_client("dynamodb", config=config, **self._where)
            client = await self._stack.enter_async_context(made)
        except (errors.BotoCoreError, ValueError) as error:
            raise self._meaning(error) from error
        self._client = client
        try:
            await self._check(create=create, recovery=recovery)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of the connections; safe to repeat."""
        self._client = None
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()

    async def get(self, pk: str, sk: str) -> Item | None:
        """Read one item as it is now."""
        answer = await self.ask("get_item", TableName=self.name, Key=key(pk, sk), ConsistentRead=True)
        item: Item | None = answer.get("Item")
        return item

    async def get_many(self, keys: Sequence[tuple[str, str]]) -> list[Item]:
        """Read items as they are now, each at its own moment, in any order."""
        found: list[Item] = []
        for start in range(0, len(keys), _BATCH_READ):
            wanted: list[Any] = [key(*one) for one in keys[start : start + _BATCH_READ]]
            while wanted:
                request = {self.name: {"Keys": wanted, "ConsistentRead": True}}
                answer = await self.ask("batch_get_item", RequestItems=request)
                found += answer["Responses"].get(self.name, [])
                left = len(wanted)
                wanted = answer.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", [])
                if wanted and len(wanted) == left:
                    raise self._silent("it takes no more requests at the moment")
        return found

    async def query(self, page: Page, *, names: str | None = None, limit: int | None = None) -> list[Item]:
        """Read all items of a page, sorted; each is as of some moment of the request.

        Args:
            names: of the attributes that are wanted, separated by commas; all by default.
            limit: how many items are enough.
        """
        values: dict[str, Any] = {":pk": {"S": page.pk}}
        request: dict[str, Any] = {"TableName": self.name, "ConsistentRead": True, "ExpressionAttributeValues": values}
        request["KeyConditionExpression"] = "pk = :pk"
        if page.prefix:
            request["KeyConditionExpression"] += " AND begins_with(sk, :sk)"
            values[":sk"] = {"S": page.prefix}
        if names:
            request["ProjectionExpression"] = names
        if limit:
            request["Limit"] = limit
        found: list[Item] = []
        while True:
            answer = await self.ask("query", **request)
            found += answer["Items"]
            if "LastEvaluatedKey" not in answer or (limit and len(found) >= limit):
                return found
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def write(self, puts: Sequence[Item] = (), drops: Sequence[tuple[str, str]] = ()) -> None:
        """Write and drop items, each by itself, whatever is there."""
        requests = deque[tuple[int, Any]]((size_of(item), {"PutRequest": {"Item": item}}) for item in puts)
        requests += [(0, {"DeleteRequest": {"Key": key(*one)}}) for one in drops]
        while requests:
            batch: list[Any] = []
            size = 0
            while requests and len(batch) < _BATCH_WRITE and (not batch or size + requests[0][0] <= _BATCH_BYTES):
                more, request = requests.popleft()
                batch.append(request)
                size += more
            while batch:
                answer = await self.ask("batch_write_item", RequestItems={self.name: batch})
                left = len(batch)
                batch = answer.get("UnprocessedItems", {}).get(self.name, [])
                if batch and len(batch) == left:
                    raise self._silent("it takes no more requests at the moment")

    async def transact(self, steps: Sequence[Mapping[str, Any]], *, token: str) -> None:
        """Do all of it or nothing.

        Args:
            steps: without the table's name: `{"Put": {"Item": …}}`.
            token: of a request that is repeated as it was: within ten minutes it is done once.

        Raises:
            Refused: says whose conditions do not hold.
        """
        items = [{what: {"TableName": self.name, **step} for what, step in one.items()} for one in steps]
        await self.ask("transact_write_items", TransactItems=items, ClientRequestToken=token)

    async def ask(self, what: str, **request: Any) -> Any:
        """Make a request. Raises `Refused`, or what an error means to people."""
        errors = _sdk("botocore.exceptions")
        if self._client is None:
            raise StateError(f"{self.url} is not open", hint="call init() first")
        try:
            answer = await getattr(self._client, what)(**request)
        except errors.ClientError as error:
            raise self._answered(error) from error
        except (errors.BotoCoreError, _sdk("aiohttp").ClientError, OSError) as error:
            raise self._meaning(error) from error
        self._see(answer)
        return answer

    async def _check(self, *, create: bool, recovery: bool) -> None:
        try:
            table = await self._describe()
        except NoTable:
            if not create:
                raise
            await self._create()
            table = await self._describe()
        while table["TableStatus"] not in ("ACTIVE", "UPDATING"):
            await asyncio.sleep(0.5)
            table = await self._describe()
        found = {one["AttributeName"]: one["KeyType"] for one in table["KeySchema"]}
        kinds = {one["AttributeName"]: one["AttributeType"] for one in table["AttributeDefinitions"]}
        if found != {"pk": "HASH", "sk": "RANGE"} or (kinds["pk"], kinds["sk"]) != ("S", "S"):
            raise ConfigurationError(
                f"{self.url} is a table of another form: its keys are {', '.join(found)}",
                hint="name another table; with ?create=true it is made",
            )
        if recovery:
            enabled = {"PointInTimeRecoveryEnabled": True}
            await self.ask("update_continuous_backups", TableName=self.name, PointInTimeRecoverySpecification=enabled)

    async def _describe(self) -> Any:
        return (await self.ask("describe_table", TableName=self.name))["Table"]

    async def _create(self) -> None:
        keys = {"pk": "HASH", "sk": "RANGE"}
        await self.ask(
            "create_table",
            TableName=self.name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
            KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
        )

    def _see(self, answer: Any) -> None:
        date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        try:
            ahead = email.utils.parsedate_to_datetime(date).timestamp() - elapsed()
        except (TypeError, ValueError):
            return
        # It is told in whole seconds, cut off: of several answers the one that says most is the nearest.
        self._ahead = ahead if self._ahead is None else max(ahead, self._ahead)

    def _answered(self, error: Any) -> Exception:
        found = error.response["Error"]
        code, text = found.get("Code", ""), found.get("Message", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code == "ConditionalCheckFailedException":
            return Refused(frozenset({0}))
        if code == "TransactionCanceledException":
            codes = [reason.get("Code", "None") for reason in error.response.get("CancellationReasons", [])]
            failed = frozenset(place for place, one in enumerate(codes) if one == "ConditionalCheckFailed")
            if failed:
                return Refused(failed)
            if _PASSING.intersection(codes):
                return self._silent(f"a transaction was put off ({', '.join(sorted({*codes} - {'None'}))})")
            return self._odd(code, text)
        if code == "ResourceNotFoundException":
            return NoTable(
                f"{self.url}: there is no table {self.name}", hint="make it: add ?create=true to the URL, once"
            )
        if code in _CREDENTIALS:
            return ConfigurationError(
                f"{self.url} does not accept these credentials: {code}: {text}",
                hint="see `aws sts get-caller-identity`; docs/stores/dynamodb.md has the policy that is needed",
            )
        if code in _PASSING or status >= 500:
            return self._silent(f"{code}: {text}")
        return self._odd(code, text)

    def _meaning(self, error: Exception) -> AlchemyError:
        botocore = _sdk("botocore.exceptions")
        credentials = (botocore.NoCredentialsError, botocore.PartialCredentialsError, botocore.CredentialRetrievalError)
        if isinstance(error, (*credentials, botocore.ProfileNotFound, botocore.NoAuthTokenError)):
            return ConfigurationError(
                f"{self.url} cannot be used without AWS credentials: {error}",
                hint="set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            )
        if isinstance(error, botocore.NoRegionError):
            return ConfigurationError(f"{self.url} says no region", hint="add ?region=… or set AWS_REGION")
        if isinstance(error, (botocore.ParamValidationError, ValueError)):
            return ConfigurationError(f"{self.url} cannot be used: {error}", hint="see docs/stores/dynamodb.md")
        return self._silent(str(error).strip() or type(error).__name__)

    def _silent(self, text: str) -> Unreachable:
        return Unreachable(f"{self.url} does not answer: {text}", hint="see whether it can be reached, then run again")

    def _odd(self, code: str, text: str) -> StateError:
        return StateError(f"{self.url} refused: {code}: {text}", hint="see docs/stores/dynamodb.md")


_loader: list[Any] = []
"""What reads botocore's large files: they are read once in a process."""


def _sdk(module: str) -> Any:
    return load_extra(module, extra="dynamodb", store=STORE)


def _session() -> Any:
    session = _sdk("aiobotocore.session").get_session()
    if not _loader:
        _loader.append(session.get_component("data_loader"))
    session.register_component("data_loader", _loader[0])
    return session


def key(pk: str, sk: str) -> Item:
    """Give an item's key."""
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def size_of(item: Item) -> int:
    """Give an item's size in bytes, about."""
    return sum(len(name) + len(next(iter(value.values()))) for name, value in item.items() if "M" not in value)
