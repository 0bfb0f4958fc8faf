"""Where state is kept: `open_store` gives the store for a URL."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from alchemy.errors import ConfigurationError

if TYPE_CHECKING:
    from alchemy.config import Settings
    from alchemy.ports import StateStore
    from alchemy.stores._cloudflare import CloudflareStateStore
    from alchemy.stores._dynamodb import DynamoDBStateStore
    from alchemy.stores._filesystem import FileStore
    from alchemy.stores._memory import MemoryStore
    from alchemy.stores._postgres import PostgresStateStore
    from alchemy.stores._redis import RedisStateStore
    from alchemy.stores._sealed import SealedStore
    from alchemy.stores._sqlite import SQLiteStateStore
    from alchemy.stores.objects.places import (
        AzureStateStore,
        GCSStateStore,
        R2RestStateStore,
        R2StateStore,
        S3StateStore,
    )

__all__ = [
    "AzureStateStore",
    "CloudflareStateStore",
    "DynamoDBStateStore",
    "FileStore",
    "GCSStateStore",
    "MemoryStore",
    "PostgresStateStore",
    "R2RestStateStore",
    "R2StateStore",
    "RedisStateStore",
    "S3StateStore",
    "SQLiteStateStore",
    "is_local",
    "is_relative",
    "is_there",
    "open_store",
    "placed",
    "sealed",
    "store_of",
]

ENTRY_POINTS = "alchemy.state_stores"
_HOMES = {
    "AzureStateStore": "alchemy.stores.objects.places",
    "CloudflareStateStore": "alchemy.stores._cloudflare",
    "DynamoDBStateStore": "alchemy.stores._dynamodb",
    "FileStore": "alchemy.stores._filesystem",
    "GCSStateStore": "alchemy.stores.objects.places",
    "MemoryStore": "alchemy.stores._memory",
    "PostgresStateStore": "alchemy.stores._postgres",
    "R2RestStateStore": "alchemy.stores.objects.places",
    "R2StateStore": "alchemy.stores.objects.places",
    "RedisStateStore": "alchemy.stores._redis",
    "S3StateStore": "alchemy.stores.objects.places",
    "SQLiteStateStore": "alchemy.stores._sqlite",
}
"""Where the public names are; imported when they are used."""
_SCHEMES: dict[str, str] = {
    "az": "AzureStateStore",
    "cloudflare": "CloudflareStateStore",
    "cloudflare+http": "CloudflareStateStore",
    "cloudflare+https": "CloudflareStateStore",
    "dynamodb": "DynamoDBStateStore",
    "gs": "GCSStateStore",
    "postgres": "PostgresStateStore",
    "postgresql": "PostgresStateStore",
    "r2": "R2StateStore",
    "redis": "RedisStateStore",
    "rediss": "RedisStateStore",
    "s3": "S3StateStore",
    "sqlite": "SQLiteStateStore",
}
"""Which class opens a URL of which scheme, with its `from_url`; `file` and `memory` are read here."""
_OF_FILES = ("file", "sqlite")
"""Schemes whose path lies on this machine, and may be relative."""
_BUILT_IN = ("file", "memory", *_SCHEMES)
_EXAMPLES = {"file": "file:.alchemy", "memory": "memory:", "sqlite": "sqlite:state.db", "cloudflare": "cloudflare:"}


def store_of(settings: Settings, root: Path, *, follows: bool = True) -> SealedStore:
    """Give the store that settings ask for, of the project in `root`. Raises as `open_store` does.

    Args:
        follows: whether a unit that is there stays encrypted, or in clear, as it is; else as `encrypt_state` says.
    """
    chosen = settings.state_store
    if chosen is None or isinstance(chosen, str):
        chosen = open_store(chosen if chosen is not None else Path(settings.state_dir), root=root)
    return sealed(chosen, settings, follows=follows)


def sealed(store: StateStore, settings: Settings, *, follows: bool = True) -> SealedStore:
    """Give a store with what opens whatever is encrypted in it."""
    from alchemy.stores._sealed import SealedStore, plain

    return SealedStore(plain(store), settings.password, encrypt=settings.encrypt_state, follows=follows)


def open_store(place: str | Path, *, root: Path | None = None) -> StateStore:
    """Give the store for a place; nothing is opened before its `init`.

    Args:
        place: a path, or a URL: `file:///srv/state/.alchemy`, `file:.alchemy`, `memory:` (a new one, gone with the
            object), `memory:NAME` (that of this process which is called so, if it is still there),
            or a scheme of an installed package, which names a callable that takes the URL under the entry point
            group `alchemy.state_stores`.
        root: what a relative path is relative to, also that of a `file:` or `sqlite:` URL; `None`: the current folder.

    Raises:
        ConfigurationError: nobody knows the scheme; the message lists those there are. Or it is no URL, or a file.
    """
    if isinstance(place, str) and place in _BUILT_IN and not ((root or Path()) / place).exists():
        raise ConfigurationError(
            f"the state store {place!r} is a scheme without a place",
            hint=f"write {_EXAMPLES.get(place, f'{place}://…')!r}; a folder of that name is './{place}'",
        )
    if isinstance(place, str):
        from alchemy.stores._urls import check_url

        check_url(place)
    if root is not None:
        place = root / place if isinstance(place, Path) else placed(place, root)
    if isinstance(place, Path):
        return _file_store(place)
    scheme, colon, _ = place.partition(":")
    if not colon or not scheme.replace("+", "").replace("-", "").replace(".", "").isalnum() or "/" in scheme:
        if not place:
            raise ConfigurationError("the state store's place is empty", hint="name a folder, such as '.alchemy'")
        return _file_store(Path(place))
    if scheme == "file":
        return _file_store(_path_of(place))
    if scheme == "memory":
        from alchemy.stores._memory import Memory, MemoryStore

        name = place.partition(":")[2]
        return MemoryStore(Memory.named(name) if name else None)
    if scheme in _SCHEMES:
        store: StateStore = __getattr__(_SCHEMES[scheme]).from_url(place)
        return store
    return _third_party(scheme, place)


def is_relative(place: str) -> bool:
    """Say whether a place means another one in another folder."""
    parts = urlsplit(place)
    return parts.scheme in ("", *_OF_FILES) and bool(parts.path) and not parts.netloc and parts.path[0] != "/"


def placed(place: str, root: Path) -> str:
    """Give a place in full: what is relative becomes a URL."""
    if not is_relative(place):
        return place
    parts = urlsplit(place)
    path = unquote(parts.path) if parts.scheme else place
    query = f"?{parts.query}" if parts.scheme and parts.query else ""
    return f"{parts.scheme or 'file'}://{quote((root / path).absolute().as_posix())}{query}"


def is_local(url: str) -> bool:
    """Say whether a store's URL names a place on this machine's disk."""
    return urlsplit(url).scheme in _OF_FILES


def is_there(url: str) -> bool:
    """Say whether there is something to open: a store on this machine makes its place when it is opened for use."""
    return not is_local(url) or Path(unquote(urlsplit(url).path)).exists()


def _file_store(path: Path) -> StateStore:
    from alchemy.stores._filesystem import FileStore

    if path.is_file():
        raise ConfigurationError(
            f"the state store {path} is a file, and a folder is wanted",
            hint=f"name a folder; for a SQLite database write 'sqlite:{path}'",
        )
    return FileStore(path)


def _path_of(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise ConfigurationError(
            f"{url!r} names another machine", hint="a file URL has three slashes: file:///srv/state/.alchemy"
        )
    if not parts.path:
        raise ConfigurationError(f"{url!r} names no folder", hint="such as file:///srv/state/.alchemy")
    return Path(unquote(parts.path))


def _third_party(scheme: str, url: str) -> StateStore:
    from importlib import metadata  # 40 ms: only for those who need it

    found = {point.name: point for point in metadata.entry_points(group=ENTRY_POINTS)}
    if scheme not in found:
        known = sorted({*_BUILT_IN, *found})
        near = difflib.get_close_matches(scheme.lower(), known, 1)
        there = ", ".join(f"{name}:" for name in known)
        raise ConfigurationError(
            f"no state store for {scheme}:",
            hint=f"did you mean '{near[0]}:'?"
            if near
            else f"there are {there}; others come with packages (entry point group {ENTRY_POINTS!r})",
        )
    make: Any = found[scheme].load()
    store: StateStore = make(url)
    return store


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
