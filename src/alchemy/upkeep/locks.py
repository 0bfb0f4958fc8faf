"""Who holds what, in every store that belongs to an application; and taking it from them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from alchemy.errors import StateError
from alchemy.names import is_within
from alchemy.ports import Lease
from alchemy.upkeep.stores import Stores


@dataclass(frozen=True, slots=True)
class Lock:
    """A lease that is held, and the store that it is held in.

    Attributes:
        store: the store's URL.
        is_elsewhere: whether that is the store of a nested scope.
    """

    lease: Lease
    store: str
    is_elsewhere: bool

    @property
    def is_live(self) -> bool:
        """Whether its holder has renewed it in time, as far as this machine's clock can tell."""
        return self.lease.deadline > time.time()


async def locks_of(stores: Stores, chain: str | None) -> list[Lock]:
    """List the locks on a chain, in it and on what it lies in; all for none.

    State that cannot be read hides the stores of nested scopes, and nothing else.
    """
    found = [Lock(lease, stores.first.url, False) for lease in await stores.first.locks()]
    app = chain.partition("/")[0] if chain else None
    for known in [app] if app else list(await stores.first.list_scopes("")):
        for unit in await stores.first.list_scopes(known):
            try:
                contents = await stores.contents(unit)
            except StateError:
                continue
            for fqn, url in contents.kept_in.items():
                if fqn not in contents.unreadable:
                    leases = await (await stores.open(url)).locks()
                    found += [Lock(lease, url, True) for lease in leases if is_within(fqn, lease.unit)]
    unique = {(lock.store, lock.lease.unit): lock for lock in found}
    return [
        lock
        for lock in unique.values()
        if chain is None or is_within(lock.lease.unit, chain) or is_within(chain, lock.lease.unit)
    ]


async def break_locks(stores: Stores, locks: Sequence[Lock]) -> list[Lock]:
    """Take locks from their holders, except those that changed hands since they were listed; give those taken."""
    taken: list[Lock] = []
    for lock in locks:
        store = await stores.open(lock.store) if lock.is_elsewhere else stores.first
        now = {lease.unit: lease.token for lease in await store.locks()}
        if now.get(lock.lease.unit) == lock.lease.token:
            await store.break_(lock.lease.unit)
            taken.append(lock)
    return taken
