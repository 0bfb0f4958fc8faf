"""State and locks by hand, outside a run: `StateManager`."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, cast

from alchemy import config, state
from alchemy.config import Launch
from alchemy.errors import ConfigurationError, DeclarationError, LeaseLost, LockedError, StateError
from alchemy.names import RESERVED_STAGE, is_within, leaf, unit_of
from alchemy.owner import owner_of
from alchemy.ports import Lease, StateStore
from alchemy.serde import encode
from alchemy.state import Record

State = Mapping[str, Any] | list[Record]


class StateManager:
    """Writes state and holds locks outside a run, over any store: for scripts and for tools of one's own.

    ```python
    async with StateManager() as manager:
        if await manager.acquire_lock("notes/prod", 30_000):
            try:
                await manager.save_state("notes/prod", {"deployed_by": "ci"})
            finally:
                await manager.release_lock("notes/prod")
    ```

    Paths are chains: of an application (`notes`), a stage (`notes/prod`), a test (`notes/test/<id>`), or a scope
    within one (`notes/prod/database`). Locks are the leases that runs take: whoever holds one keeps away deploys and
    others who hold that path, one above it or one below it. They are renewed in the background, and leaving the
    `async with` gives back what is still held. The object belongs to one event loop.

    Args:
        store: a store, a folder, or a store's URL; by default the one that `alchemy deploy` would use in the current
            folder, as far as environment and `pyproject.toml` say. A store that was given as an object stays open.
        operation: told to whoever waits for a lock.

    Raises:
        ConfigurationError: the environment or `pyproject.toml` has an option that cannot be used.
    """

    def __init__(self, store: StateStore | str | Path | None = None, *, operation: str = "manage") -> None:
        from alchemy.stores import open_store, sealed, store_of

        settings = config.resolve({})
        launch = config.launch.get() or Launch()
        chosen = store if store is not None else settings.state_store
        self._owns = chosen is None or isinstance(chosen, str | Path)
        if store is None:
            self._store = store_of(settings, launch.root)
        else:
            given = open_store(store, root=launch.root) if isinstance(store, str | Path) else store
            self._store = sealed(given, settings)
        self._owner = owner_of(operation)
        self._patience = settings.lock_timeout
        self._ready = False
        self._leases: dict[str, Lease] = {}

    @property
    def store(self) -> StateStore:
        """The store that it works on."""
        return self._store.inner

    async def save_state(self, path: str, state: Mapping[str, Any] | Iterable[Record]) -> None:
        """Write state; durable when it returns, all of it or nothing.

        The lock of `path` is taken for as long as that needs, and given back also when it fails or is cancelled. Under
        a lock that this manager holds on `path`, or above it, none is taken.

        Args:
            path: of a stage, a test or a scope.
            state: a mapping: the scope's data, as `scope.set` keeps it and `scope.get` finds it. It replaces what is
                there; the scope's record is made when there is none. Or records: they are written as they are, other
                records stay; they must lie in `path` and in one stage or test.

        Raises:
            LockedError: somebody else still holds it after `lock_timeout`.
            LeaseLost: the lock that is held was taken away; says by whom. Nothing was written.
            StateError: `path` cannot have such state, or the store refused it.
            DeclarationError: the data holds something that state cannot: an open file, or a secret, which needs
                a program's password.
        """
        given: State = cast("Mapping[str, Any]", state) if isinstance(state, Mapping) else [*state]
        store = await self._opened()
        lease = next((held for chain, held in self._leases.items() if is_within(path, chain)), None)
        if lease is not None:
            await self._write(lease, path, given)
            return
        lease = await store.acquire(path, owner=self._owner, timeout=self._patience)
        try:
            await self._write(lease, path, given)
        finally:
            await self._give_back(lease)

    async def get_resources(self, path: str) -> list[str]:
        """List the ids of the resources directly in a scope, sorted. Needs no lock."""
        store = await self._opened()
        return list(await store.list(path))

    async def acquire_lock(self, path: str, timeout: float | None = None) -> bool:
        """Take the lock of a path, and keep it until `release_lock`; say whether that succeeded.

        Args:
            path: of an application, a stage, a test or a scope.
            timeout: milliseconds to wait for somebody else; 0 asks once. Default: `lock_timeout`, or
                `ALCHEMY_LOCK_TIMEOUT`.

        Returns:
            `False`: somebody else holds it, or a path above or below it; also this manager itself.
        """
        if timeout is not None and not 0 <= timeout < float("inf"):
            raise ConfigurationError(f"a lock's timeout cannot be {timeout!r}", hint="give milliseconds, at least 0")
        store = await self._opened()
        patience = self._patience if timeout is None else timeout / 1000
        try:
            self._leases[path] = await store.acquire(path, owner=self._owner, timeout=patience)
        except LockedError:
            return False
        return True

    async def release_lock(self, path: str) -> bool:
        """Give the lock of a path back. Safe to repeat.

        Returns:
            Whether it was held until now. `False`: this manager did not hold it, or it was taken away meanwhile; then
            nothing was written since.
        """
        lease = self._leases.pop(path, None)
        return lease is not None and await self._give_back(lease)

    async def close(self) -> None:
        """Give back every lock that is held, and close the store unless it was given as an object. Safe to repeat."""
        try:
            for path in list(self._leases):
                await self.release_lock(path)
        finally:
            if self._owns and self._ready:
                self._ready = False
                await self._store.deinit()

    async def __aenter__(self) -> StateManager:
        await self._opened()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _opened(self) -> StateStore:
        if not self._ready:
            await self._store.init()
            self._ready = True
        return self._store

    async def _give_back(self, lease: Lease) -> bool:
        """Fold what was written, and release; give `False` when the lease is lost."""
        try:
            await self._store.renew(lease)  # a fold that has nothing to do would not find out
            await self._store.fold(lease)
        except LeaseLost:
            return False
        finally:
            await self._store.release(lease)
        return True

    async def _write(self, lease: Lease, path: str, given: State) -> None:
        if isinstance(given, list):
            records = [copy.copy(record) for record in given]
        else:
            records = [await self._with_data(path, given)]
        for record in records:
            if not is_within(record.fqn, path):
                raise StateError(f"the record of {record.fqn} does not lie in {path}", hint="save it where it belongs")
        if records:
            await self._store.learn(unit_of(path))
            await self._store.set(lease, *(_stamped(record, lease) for record in records))

    async def _with_data(self, path: str, data: Mapping[str, Any]) -> Record:
        record = await self._store.get(path)
        if record is None:
            record = _scope_record(path)
        elif not record.is_scope:
            raise StateError(
                f"{path} is a resource: it has no data of its own to be replaced", hint="save its record: [Record(...)]"
            )
        wrong = next((key for key in cast("Iterable[object]", data) if not isinstance(key, str)), None)
        if wrong is not None:
            raise DeclarationError(f"{wrong!r} cannot be a key of a scope's data", hint="use text")
        record.data = {key: encode(value, seal=_refuse, at=(key,)) for key, value in data.items()}
        return record


def _refuse(_secret: object, path: tuple[str | int, ...]) -> NoReturn:
    raise DeclarationError(
        f"{'.'.join(map(str, path))} holds a secret, which is encrypted with a program's password",
        hint="keep it in a program: await scope.set(key, value)",
    )


def _scope_record(path: str) -> Record:
    unit = unit_of(path)
    parts = unit.split("/")
    if len(parts) < 2:
        raise StateError(
            f"{path} is an application, which has no data of its own", hint=f"name a stage, such as {path}/prod"
        )
    kind = state.SCOPE_KIND
    if path == unit:
        kind = state.TEST_KIND if parts[1] == RESERVED_STAGE else state.STAGE_KIND
    return Record(kind=kind, id=leaf(path), fqn=path, status=state.Status.CREATED)


def _stamped(record: Record, lease: Lease) -> Record:
    record.rev += 1
    record.fence = lease.token
    record.updated_at = state.now()
    record.created_at = record.created_at or record.updated_at
    return record
