"""A bucket, as little of it as is needed: create, read, list, delete. Over obstore."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol

from alchemy.errors import ConfigurationError
from alchemy.stores.backend import Unreachable

if TYPE_CHECKING:
    from obstore.store import ObjectStore

IN_FLIGHT = 64
"""Requests at one time; of the 50 ms that each takes, nearly all is waiting."""
_QUERY = re.compile(r"\?[^\s\"')]*")


class Found(NamedTuple):
    """An object in a listing; `modified` by the service's clock."""

    key: str
    modified: datetime


class Bucket(Protocol):
    """What the log of commits needs. Whatever raises `Unreachable` may have happened, or not."""

    async def create(self, key: str, content: bytes) -> bool:
        """Write an object unless there is one; `False` when the service says that there is, or may be."""
        ...

    async def put(self, key: str, content: bytes) -> None:
        """Write an object."""
        ...

    async def get(self, key: str) -> bytes | None:
        """Read an object."""
        ...

    async def modified(self, key: str) -> datetime | None:
        """Say when an object was written, by the service's clock."""
        ...

    async def list(self, folder: str, *, after: str | None = None) -> Sequence[Found]:
        """List the objects below a folder, in the order of their keys; only those `after` a key."""
        ...

    async def folders(self, folder: str) -> Sequence[str]:
        """List the folders directly in a folder, by their names."""
        ...

    async def delete(self, keys: Collection[str]) -> None:
        """Delete objects; those that are not there are no error."""
        ...


class Requests:
    """A bucket through obstore, with at most `IN_FLIGHT` requests at a time.

    Args:
        store: obstore's.
        url: the store's, for messages.
        remedy: what to do when the service refuses; names what it needs.
    """

    def __init__(self, store: ObjectStore, *, url: str, remedy: str) -> None:
        self._store = store
        self._url = url
        self._remedy = remedy
        self._free = asyncio.Semaphore(IN_FLIGHT)

    async def create(self, key: str, content: bytes) -> bool:
        """Write an object unless there is one."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            async with self._asking():
                # In one request: a multipart upload puts its condition at its end only, and not everywhere.
                await obstore.put_async(self._store, key, content, mode="create", use_multipart=False)
        except (AlreadyExistsError, PreconditionError, FileNotFoundError):
            return False  # S3 answers 404 and 409 too to those that lose a race
        return True

    async def put(self, key: str, content: bytes) -> None:
        """Write an object."""
        import obstore

        async with self._finding(), self._asking():
            await obstore.put_async(self._store, key, content, use_multipart=False)

    async def get(self, key: str) -> bytes | None:
        """Read an object."""
        import obstore

        try:
            async with self._asking():
                answer = await obstore.get_async(self._store, key)
                return bytes(await answer.bytes_async())
        except FileNotFoundError:
            return None

    async def modified(self, key: str) -> datetime | None:
        """Say when an object was written."""
        import obstore

        try:
            async with self._asking():
                return (await obstore.head_async(self._store, key))["last_modified"]
        except FileNotFoundError:
            return None

    async def list(self, folder: str, *, after: str | None = None) -> Sequence[Found]:
        """List the objects below a folder."""
        import obstore

        async with self._finding(), self._asking():
            found = await obstore.list(  # pyright: ignore[reportUnknownMemberType]
                self._store, folder, offset=after, chunk_size=1000
            ).collect_async()
        return sorted(Found(one["path"], one["last_modified"]) for one in found)

    async def folders(self, folder: str) -> Sequence[str]:
        """List the folders directly in a folder."""
        import obstore

        async with self._finding(), self._asking():
            found = await obstore.list_with_delimiter_async(  # pyright: ignore[reportUnknownMemberType]
                self._store, folder or None
            )
        return sorted(path.rstrip("/").rpartition("/")[2] for path in found["common_prefixes"])

    async def delete(self, keys: Collection[str]) -> None:
        """Delete objects."""
        import obstore

        if not keys:
            return
        try:
            async with self._asking():
                await obstore.delete_async(self._store, [*keys])
        except FileNotFoundError:
            # Some services say so, and then obstore stops: those after it may be there still.
            if len(keys) > 1:
                await asyncio.gather(*(self.delete([key]) for key in keys))

    @contextlib.asynccontextmanager
    async def _finding(self) -> AsyncGenerator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise ConfigurationError(f"{self._url} is gone: {said(error)}", hint="bring the bucket back") from None

    @contextlib.asynccontextmanager
    async def _asking(self) -> AsyncGenerator[None]:
        from obstore import exceptions

        async with self._free:
            try:
                yield
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
                raise
            except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
                raise ConfigurationError(f"{self._url} refuses: {said(error)}", hint=self._remedy) from None
            except (exceptions.NotSupportedError, NotImplementedError) as error:
                raise ConfigurationError(
                    f"{self._url} cannot do what a state store needs: {said(error)}", hint="use another service"
                ) from None
            except exceptions.BaseError as error:
                hint = f"check the connection, the endpoint and the region; {self._remedy}"
                raise Unreachable(f"{self._url} did not answer: {said(error)}", hint=hint) from None


def said(error: Exception) -> str:
    """Give what a service, or obstore, said: one line, without what may hold a signature."""
    text = str(error).partition("\nDebug source")[0]
    text = " ".join(_QUERY.sub("", text).split())
    return text if len(text) <= 300 else f"{text[:300]}…"
