"""What a Redis server must be to keep state, and what its errors mean."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

from alchemy.errors import AlchemyError, ConfigurationError, StateError, StateTooNew
from alchemy.stores.backend import Unreachable

FORMAT = 1
"""Of the keys and values; a larger number found means that a newer version of this package wrote them."""
OLDEST = (5, 0)
"""The first version whose scripts may read the time and then write."""
_IN_SCRIPT = re.compile(r": -([A-Z]+) ")
"""Before version 7 what goes wrong within a script is told with the script's place before it."""
_PASSING = (
    "READONLY",
    "LOADING",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "BUSY",
    "NOREPLICAS",
    "max number of clients",
)
"""How answers begin that another moment may change; a failover is among the causes."""


def judge(info: Mapping[str, Any], config: Mapping[str, str] | None, *, url: str) -> Sequence[str]:
    """Say whether a server can be trusted with state.

    Args:
        info: what `INFO` says.
        config: `appendfsync` and `save`; `None` when `CONFIG` is not allowed.

    Returns:
        Warnings for people.

    Raises:
        ConfigurationError: it may forget on purpose, or is too old.
    """
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST:
        raise ConfigurationError(f"{url} is Redis {version}", hint="state needs Redis 5.0 or newer")
    policy = info.get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        raise ConfigurationError(
            f"{url} may remove keys when its memory is full (maxmemory-policy is {policy}): state would vanish",
            hint="set it on the server: CONFIG SET maxmemory-policy noeviction, and in its configuration",
        )
    if config is None:
        if info.get("aof_enabled"):
            return [f"{url} does not say how often it writes to disk (CONFIG is not allowed): a crash may lose writes"]
        return [f"{url} keeps no append-only file: when it ends, writes that were acknowledged may be lost"]
    if info.get("aof_enabled"):
        often = config.get("appendfsync")
        if often == "always":
            return []
        lost = "what was written in the last second" if often == "everysec" else "some seconds of writes"
        return [f"{url} has appendfsync {often}: a crash of its machine may lose {lost}; set appendfsync always"]
    if config.get("save"):
        return [
            f"{url} only takes snapshots (save {config['save']}): a crash loses what was written since the last one; "
            "set appendonly yes and appendfsync always"
        ]
    return [f"{url} keeps nothing on disk: when it ends, the state is lost; set appendonly yes and appendfsync always"]


def check_format(found: bytes, *, url: str) -> None:
    """Raise `StateTooNew` when a newer version of this package has written there, `StateError` for what is odd."""
    if not found.isdigit():
        raise StateError(
            f"{url} has something else where alchemy keeps its version: {found[:40]!r}",
            hint="choose another prefix: …?prefix=NAME",
        )
    if int(found) > FORMAT:
        raise StateTooNew(
            f"{url} has format {int(found)}, this version reads up to {FORMAT}", hint="install a newer alchemy-iac"
        )


def meaning(error: Exception, *, url: str) -> AlchemyError:
    """Give what an error of the client says to people: `Unreachable` when it is worth asking again."""
    from redis import exceptions as redis

    text = str(error).strip() or type(error).__name__
    within = _IN_SCRIPT.search(text)
    code = within[1] if within else text
    match error:
        case redis.AuthenticationError() | redis.AuthorizationError():
            return ConfigurationError(
                f"{url} does not accept the user name or the password: {text}",
                hint="give them in the URL (redis://USER:PASSWORD@…) or as REDIS_USERNAME and REDIS_PASSWORD",
            )
        case redis.NoPermissionError():
            return ConfigurationError(
                f"{url} does not allow this user what is needed: {text}",
                hint="docs/stores/redis.md lists the commands and keys",
            )
        case redis.ResponseError() if code.startswith("OOM") or isinstance(error, redis.OutOfMemoryError):
            return StateError(f"{url} has no memory left: {text}", hint="raise its maxmemory, then run again")
        case redis.ConnectionError() | redis.TimeoutError() | OSError():
            if _is_about_certificates(error):
                return ConfigurationError(
                    f"{url} has a certificate that is not trusted: {text}",
                    hint="name the authority's certificates: …?ca=FILE",
                )
            return _silent(url, text)
        case redis.ResponseError() if code.startswith(_PASSING):
            return _silent(url, text)
        case redis.ClusterError() | redis.RedisClusterException():
            return _silent(url, text)
        case _:
            return StateError(f"{url} refused: {text}", hint="look at that server's log")


def _silent(url: str, text: str) -> Unreachable:
    return Unreachable(f"{url} does not answer: {text}", hint="see whether it runs and can be reached, then run again")


def _is_about_certificates(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
