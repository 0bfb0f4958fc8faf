"""State in Redis, or a cluster of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

import msgspec

from alchemy.errors import ConfigurationError
from alchemy.ports import Lease, Owner
from alchemy.state import now
from alchemy.stores import _redis_scripts as scripts
from alchemy.stores._patience import PATIENCE
from alchemy.stores._redis_server import FORMAT, check_format, judge, meaning
from alchemy.stores._refusals import taken_away
from alchemy.stores._urls import load_extra, parse, with_options, without_credentials
from alchemy.stores.backed import BackedStore
from alchemy.stores.backend import BlobKind, Blocked, Commit, Ending, Taken, write_ending

PREFIX = "alchemy"


class RedisStateStore(BackedStore):
    """State in a Redis server or cluster.

    Args:
        url: `redis://host:6379/0`, or `rediss://…` for TLS; user name and password may be in it, or in
            `REDIS_USERNAME` and `REDIS_PASSWORD`. The number of the database is 0 by default.
        prefix: what the names of all keys begin with: several teams may share a server.
        ca: a file with the certificates of authorities to trust; the system's by default.
        patience: seconds for which a server that does not answer is asked again.

    Raises:
        ConfigurationError: the URL cannot be read, or redis-py is not installed.
    """

    def __init__(self, url: str, *, prefix: str = PREFIX, ca: str | None = None, patience: float = PATIENCE) -> None:
        super().__init__(RedisBackend(url, prefix=prefix, ca=ca), patience=patience)

    @classmethod
    def from_url(cls, url: str) -> RedisStateStore:
        """Give the store for `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE][?prefix=NAME&ca=FILE]`."""
        options = parse(url, options=("prefix", "ca")).options
        return cls(url.partition("?")[0], prefix=options.get("prefix", PREFIX), ca=options.get("ca"))


class _Held(msgspec.Struct):
    """A lease as the scripts keep it; `ends` and `ttl` in milliseconds."""

    token: int
    owner: str
    since: str
    ends: int

    def lease(self, chain: str) -> Lease:
        owner = msgspec.json.decode(self.owner, type=Owner)
        return Lease(unit=chain, token=self.token, owner=owner, since=self.since, deadline=self.ends / 1000)


class _Numbered(NamedTuple):
    """The last commit that was asked for under a lease, and which one of that lease it is."""

    nonce: str
    number: int


class RedisBackend:
    """Keeps each application under keys that share a hash tag, so that they lie on one server of a cluster."""

    max_changes = 1000
    max_bytes = 4 << 20
    pause = 0.5

    def __init__(self, url: str, *, prefix: str, ca: str | None) -> None:
        load_extra("redis", extra="redis", store="a state store in Redis")
        self._prefix = prefix
        self._options = _connection(url, ca)
        base = without_credentials(url).partition("?")[0].rstrip("/")
        self._url = with_options(base, prefix=prefix if prefix != PREFIX else None, ca=ca)
        self._client: Any = None
        self._commits: dict[tuple[str, int], _Numbered] = {}

    @property
    def url(self) -> str:
        return self._url

    async def open(self) -> Sequence[str]:
        from redis.asyncio import Redis, RedisCluster
        from redis.exceptions import RedisClusterException, RedisError

        await self.close()
        client: Any = Redis(**self._options)
        try:
            info: dict[str, Any] = await client.info()
            infos, config = [info], await self._config(client)
            if info.get("cluster_enabled"):
                await client.aclose()
                options = {**self._options}
                if options.pop("db"):
                    raise ConfigurationError(f"{self.url} is a cluster: it has no databases", hint="leave out the /N")
                client = await RedisCluster(**options).initialize()
                infos = [await client.info(target_nodes=node) for node in client.get_primaries()]
            warnings = [warning for one in infos for warning in judge(one, config, url=self.url)]
            self._client = client
            found: bytes = await self._run(scripts.CREATE, [f"{self._prefix}:format"], str(FORMAT))
            check_format(found, url=self.url)
        except (RedisError, RedisClusterException, OSError) as error:
            raise meaning(error, url=self.url) from error
        finally:
            if self._client is not client:
                await client.aclose()
        return list(dict.fromkeys(warnings))

    async def _config(self, client: Any) -> Mapping[str, str] | None:
        from redis.exceptions import ResponseError

        with contextlib.suppress(ResponseError):  # not allowed, or renamed, as hosters do
            return {**(await client.config_get("appendfsync")), **(await client.config_get("save"))}
        return None

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def applications(self) -> Sequence[str]:
        names: set[bytes] = await self._ask("SMEMBERS", self._apps)
        apps = sorted(name.decode() for name in names)
        return [
            app for app in apps if await self._ask("EXISTS", self._key(app, "application"), self._key(app, "units"))
        ]

    async def application(self, app: str) -> bytes | None:
        row: bytes | None = await self._ask("GET", self._key(app, "application"))
        return row

    async def create_application(self, app: str, row: bytes) -> bytes:
        await self._ask("SADD", self._apps, app)
        given: bytes = await self._run(scripts.CREATE, [self._key(app, "application")], row)
        return given

    async def take(self, chain: str, *, owner: Owner, ttl: float, nonce: str) -> Taken | Blocked:
        app = _app(chain)
        await self._ask("SADD", self._apps, app)  # before there is anything of it: then what exists can be found
        since = now()
        why = f": {owner} has taken {chain} since {since}"
        keys = [*self._lock_keys(app), self._key(app, "counter")]
        args = (chain, nonce, _milliseconds(ttl), since, msgspec.json.encode(owner), why)
        free, where, raw = await self._run(scripts.TAKE, keys, *args)
        lease = _lease(where, raw)
        return Taken(lease) if free else Blocked(lease)

    async def renew(self, lease: Lease, *, ttl: float) -> Lease:
        (raw,) = await self._under(lease, scripts.RENEW, [], _milliseconds(ttl))
        return _lease(lease.unit.encode(), raw)

    async def release(self, lease: Lease, log: Ending | None = None) -> None:
        if log is not None:
            await write_ending(self, lease.unit, log)
        keys = self._lock_keys(_app(lease.unit))
        how = f": {lease.owner} had it since {lease.since}"
        await self._run(scripts.RELEASE, keys, lease.unit, lease.token, how)
        self._commits.pop((lease.unit, lease.token), None)

    async def break_(self, chain: str, *, why: str) -> None:
        await self._run(scripts.BREAK, self._lock_keys(_app(chain)), chain, why)

    async def locks(self) -> Sequence[Lease]:
        found: list[Lease] = []
        for app in await self._ask("SMEMBERS", self._apps):
            held: list[bytes] = await self._run(scripts.LOCKS, [self._key(app.decode(), "held")])
            found += [_lease(where, raw) for where, raw in zip(held[::2], held[1::2], strict=True)]
        return found

    async def units(self, app: str) -> Sequence[str]:
        return [unit.decode() for unit in await self._ask("SMEMBERS", self._key(app, "units"))]

    async def load(self, unit: str, *, lease: Lease | None = None) -> Mapping[str, bytes]:
        key = self._key(_app(unit), "rows", unit)
        if lease is None:
            rows: dict[bytes, bytes] = await self._ask("HGETALL", key)
            return {fqn.decode(): row for fqn, row in rows.items()}
        (flat,) = await self._under(lease, scripts.LOAD, [key])
        return {fqn.decode(): row for fqn, row in zip(flat[::2], flat[1::2], strict=True)}

    async def read(self, unit: str, fqns: Sequence[str]) -> Mapping[str, bytes]:
        rows: list[bytes | None] = await self._ask("HMGET", self._key(_app(unit), "rows", unit), *fqns)
        return {fqn: row for fqn, row in zip(fqns, rows, strict=True) if row is not None}

    async def commit(self, lease: Lease, unit: str, commit: Commit) -> None:
        app = _app(unit)
        held = (lease.unit, lease.token)
        last = self._commits.get(held)
        if last is None or last.nonce != commit.nonce:
            last = self._commits[held] = _Numbered(commit.nonce, last.number + 1 if last else 1)
        rows = [part for row in commit.puts.items() for part in row]
        await self._under(
            lease,
            scripts.COMMIT,
            [self._key(app, "rows", unit), self._key(app, "units")],
            *(last.number, unit, commit.clear or "", len(commit.drops), *commit.drops, *rows),
        )

    async def fold(self, lease: Lease, unit: str) -> None:
        await self._under(lease, scripts.CHECK, [])

    async def save(self, lease: Lease, unit: str, kind: BlobKind, name: str, content: bytes) -> bool:
        (kept,) = await self._under(lease, scripts.SAVE, [self._key(_app(unit), kind, unit)], name, content)
        return bool(kept)

    async def append(self, unit: str, name: str, part: str, lines: bytes) -> None:
        app = _app(unit)
        keys = [self._key(app, "logs", unit), self._key(app, "log", unit, name)]
        await self._run(scripts.APPEND, keys, name, part, lines)

    async def names(self, unit: str, kind: BlobKind) -> Sequence[str]:
        command = "SMEMBERS" if kind == "logs" else "HKEYS"
        return [name.decode() for name in await self._ask(command, self._key(_app(unit), kind, unit))]

    async def fetch(self, unit: str, kind: BlobKind, name: str) -> bytes | None:
        if kind != "logs":
            content: bytes | None = await self._ask("HGET", self._key(_app(unit), kind, unit), name)
            return content
        parts: dict[bytes, bytes] = await self._ask("HGETALL", self._key(_app(unit), "log", unit, name))
        return b"".join(parts[part] for part in sorted(parts)) if parts else None

    async def discard(self, unit: str, kind: BlobKind, names: Sequence[str]) -> None:
        app = _app(unit)
        key = self._key(app, kind, unit)
        if kind == "logs":
            await self._run(scripts.DISCARD_LOGS, [key, *(self._key(app, "log", unit, name) for name in names)], *names)
        elif names:
            await self._ask("HDEL", key, *names)

    @property
    def _apps(self) -> str:
        return f"{self._prefix}:applications"

    def _key(self, app: str, what: str, *within: str) -> str:
        return ":".join((f"{{{self._prefix}:{quote(app, safe='')}}}", what, *within))

    def _lock_keys(self, app: str) -> list[str]:
        return [self._key(app, "held"), self._key(app, "lost")]

    async def _under(self, lease: Lease, script: scripts.Script, keys: Sequence[str], *args: Any) -> Sequence[Any]:
        """Run a script that needs a lease; give what it answers, or raise `LeaseLost`."""
        locks = self._lock_keys(_app(lease.unit))
        answer: list[Any] = await self._run(script, [*locks, *keys], lease.unit, lease.token, *args)
        held = answer.pop(0)
        if held:
            return answer
        raw, lost = answer
        if raw:
            holder = _lease(lease.unit.encode(), raw)
            raise taken_away(lease, f": {holder.owner} has it since {holder.since}")
        raise taken_away(lease, lost.decode())

    async def _run(self, script: scripts.Script, keys: Sequence[str], *args: Any) -> Any:
        from redis.exceptions import NoScriptError

        try:
            return await self._ask("EVALSHA", script.digest, len(keys), *keys, *args)
        except NoScriptError:
            return await self._ask("EVAL", script.text, len(keys), *keys, *args)

    async def _ask(self, *command: Any) -> Any:
        from redis.exceptions import NoScriptError, RedisClusterException, RedisError

        if self._client is None:
            await self.open()
        client: Any = self._client
        try:
            return await client.execute_command(*command)
        except NoScriptError:
            raise
        except (RedisError, RedisClusterException, OSError) as error:
            raise meaning(error, url=self.url) from error


def _connection(url: str, ca: str | None) -> dict[str, Any]:
    """Give the client's arguments for a URL. Raises `ConfigurationError`."""
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    shown = without_credentials(url)
    parts = urlsplit(url)
    database = parts.path.strip("/")
    try:
        port = parts.port or 6379
    except ValueError:
        port = 0
    if (
        parts.scheme not in ("redis", "rediss")
        or not parts.hostname
        or not port
        or (database and not database.isdigit())
    ):
        raise ConfigurationError(
            f"{shown} is no URL of a Redis server", hint="such as redis://host:6379/0, or rediss://… for TLS"
        )
    options: dict[str, Any] = {
        "host": parts.hostname,
        "port": port,
        "db": int(database or 0),
        "username": unquote(parts.username) if parts.username else os.environ.get("REDIS_USERNAME"),
        "password": unquote(parts.password) if parts.password else os.environ.get("REDIS_PASSWORD"),
        "protocol": 2,
        "socket_connect_timeout": 5.0,
        "socket_timeout": 15.0,
        "retry": Retry(NoBackoff(), 0),  # asking again is done above, for as long as it makes sense
    }
    if parts.scheme == "rediss":
        options |= {"ssl": True, "ssl_ca_certs": ca}
    return options


def _app(chain: str) -> str:
    return chain.partition("/")[0]


def _milliseconds(seconds: float) -> int:
    return max(round(seconds * 1000), 1)


def _lease(where: bytes, raw: bytes) -> Lease:
    return msgspec.json.decode(raw, type=_Held).lease(where.decode())
