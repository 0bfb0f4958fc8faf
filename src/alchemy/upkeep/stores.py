"""The stores that one unit's state may lie in: the first, and those that its nested scopes have of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from alchemy.engine.leaving import orphans_of
from alchemy.errors import AlchemyError, ConfigurationError, StateDamaged
from alchemy.names import is_within, unit_of
from alchemy.ports import StateStore
from alchemy.remedies import with_remedy
from alchemy.state import Record
from alchemy.stores import is_there, open_store
from alchemy.stores._addresses import place_of
from alchemy.stores._sealed import SealedStore


@dataclass(slots=True)
class Contents:
    """What is remembered of a unit, in whatever stores.

    Attributes:
        records: by FQN, sorted.
        kept_in: the store of a scope that has one of its own, by the scope's chain; its URL.
        unreadable: why what lies below a chain cannot be shown.
        orphans: what had left the program when the last run failed.
    """

    records: dict[str, Record] = field(default_factory=dict[str, Record])
    kept_in: dict[str, str] = field(default_factory=dict[str, str])
    unreadable: dict[str, AlchemyError] = field(default_factory=dict[str, AlchemyError])
    orphans: frozenset[str] = frozenset()

    def add(self, more: Contents) -> None:
        """Take in what another part of the state holds."""
        self.records = dict(sorted({**self.records, **more.records}.items()))
        self.kept_in |= more.kept_in
        self.unreadable |= more.unreadable
        self.orphans |= more.orphans

    def within(self, chain: str) -> Contents:
        """Give what lies at `chain` and below it."""
        return Contents(
            {fqn: record for fqn, record in self.records.items() if is_within(fqn, chain)},
            {fqn: url for fqn, url in self.kept_in.items() if is_within(fqn, chain)},
            {fqn: error for fqn, error in self.unreadable.items() if is_within(fqn, chain)},
            self.orphans,
        )


class Stores:
    """A store, and the others that are come across in it. Each is opened once; `close` lets go of the others."""

    def __init__(self, first: StateStore) -> None:
        self.first = first
        self._others: dict[str, StateStore] = {}

    async def open(self, url: str) -> StateStore:
        """Give the store of a URL, ready for use; nothing is made where there is none.

        Raises:
            ConfigurationError: there is none, or nobody knows such stores.
            StateError: it cannot be used.
        """
        if url in self._others:
            return self._others[url]
        store = open_store(url)
        if isinstance(self.first, SealedStore):
            store = self.first.around(store)
        if store.url == self.first.url:
            return self.first
        check_there(store.url)
        await store.init()
        self._others[url] = store
        return store

    async def close(self) -> None:
        """Let go of all but the first."""
        others, self._others = self._others, {}
        for store in others.values():
            await store.deinit()

    async def contents(self, unit: str) -> Contents:
        """Read everything there is of a unit.

        Raises:
            StateError: what the first store holds cannot be read. What nested scopes keep elsewhere and cannot be
                read is in `unreadable`.
        """
        found = Contents()
        await self._read(self.first, unit, found)
        found.records = dict(sorted(found.records.items()))
        found.orphans = orphans_of(found.records.get(unit))
        return found

    async def _read(self, store: StateStore, chain: str, found: Contents) -> None:
        try:
            records = await store.all(unit_of(chain))
        except StateDamaged as damage:
            place = ["--state-store", store.url] if store is not self.first else []
            raise await with_remedy(damage, store, unit_of(chain), place) from damage
        mine = {fqn: record for fqn, record in records.items() if is_within(fqn, chain)}
        found.records |= mine
        for fqn, record in mine.items():
            url = place_of(record, outer=store.url)
            if url is None or fqn in found.kept_in:
                continue
            found.kept_in[fqn] = url
            try:
                await self._read(await self.open(url), fqn, found)
            except AlchemyError as error:
                found.unreadable[fqn] = error


def check_there(url: str) -> None:
    """Raise `ConfigurationError` when a store of files has no folder: opening it for use would make one."""
    if not is_there(url):
        raise ConfigurationError(
            f"there is no state in {unquote(urlsplit(url).path)}",
            hint="deploy something first, or say where it is: --state-dir DIR, --state-store URL",
        )
