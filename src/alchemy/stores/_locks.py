"""All locks of an `.alchemy` folder: who may hold a chain while others hold ones above or below it. Blocks.

Taking a chain guards every chain above it (shared) and itself (exclusively), from the top down. So nobody takes
one above or below at the same moment, and whoever works beside it is not disturbed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Mapping, Sequence

from alchemy.names import RESERVED_STAGE
from alchemy.ports import Lease, Owner
from alchemy.stores._disk import Disk
from alchemy.stores._finding import lock_files
from alchemy.stores._folding import make_folders
from alchemy.stores._guards import GUARD_WAIT, guard, reading
from alchemy.stores._layout import LOCKS, check_chain, lock_name
from alchemy.stores._leases import UnitLock, break_lock, put_taken
from alchemy.stores._lockfile import Held, Sighting, holds, read_lock

_PAUSE = 0.005


class Locks:
    """The locks of a folder.

    Args:
        root: the `.alchemy` folder's path.
    """

    def __init__(self, root: str, disk: Disk) -> None:
        self._root = f"{root}/{LOCKS}"
        self._disk = disk

    def path(self, chain: str) -> str:
        """Give a chain's lock file."""
        return f"{self._root}/{lock_name(chain)}.lock"

    def take(
        self,
        chain: str,
        *,
        owner: Owner,
        ttl: float,
        floor: Callable[[], int],
        sightings: Mapping[str, Sighting],
    ) -> UnitLock | Held:
        """Try once to take a chain.

        Args:
            floor: asked under the guard: no token up to this is given, should the lock file have been lost.
            sightings: what the caller saw of holders before, by chain.

        Returns:
            The lock; or what stands in its way says of itself, on that chain or on one above or below it.
        """
        path = self.path(chain)
        make_folders(self._disk, path.rpartition("/")[0])
        while True:
            with self._guarded(chain):
                own = read_lock(path)
                around = self._around(chain)
                alive = [one for other, one in around.items() if holds(other, one, sightings.get(one.unit))]
                lasting = next((one for one in alive if not one.brief), None)
                if lasting is not None:
                    return lasting
                if own is not None and holds(path, own, sightings.get(own.unit)):
                    return own
                if alive:
                    return alive[0]
                if not around:
                    return put_taken(path, unit=chain, owner=owner, ttl=ttl, floor=floor())
            # Their holders are gone. Should one only have slept, it must find out before it does anything more.
            for other, one in around.items():
                self._break_dead(other, one, owner, sightings)

    def take_briefly(self, unit: str, *, owner: Owner, ttl: float, floor: Callable[[], int]) -> UnitLock | Held:
        """Try once to take a unit for one commit under a lease on a chain above or below, which is not looked for."""
        path = self.path(unit)
        make_folders(self._disk, path.rpartition("/")[0])
        with guard(path, exclusive=True):
            own = read_lock(path)
            if own is not None and holds(path, own):
                return own
            return put_taken(path, unit=unit, owner=owner, ttl=ttl, floor=floor(), brief=True)

    def break_(self, chain: str, by: Owner) -> None:
        """Take a chain away from its holder; a commit that is being written under it is waited for."""
        path = self.path(chain)
        if read_lock(path) is None:
            return
        end = time.monotonic() + GUARD_WAIT
        while True:
            with self._guarded(chain):
                alive = any(one.brief and holds(other, one) for other, one in self._around(chain).items())
                if not alive or time.monotonic() > end:
                    break_lock(path, by)
                    return
            time.sleep(_PAUSE)

    def held(self) -> Sequence[Lease]:
        """List the leases that are held now."""
        found: list[Lease] = []
        for path in lock_files(self._root):
            with reading(path):
                content = read_lock(path)
                if content is not None and not content.brief and holds(path, content):
                    found.append(content.lease())
        return sorted(found, key=lambda lease: lease.unit)

    @contextlib.contextmanager
    def _guarded(self, chain: str) -> Generator[None]:
        with contextlib.ExitStack() as guards:
            for above in chains_above(chain):
                guards.enter_context(guard(self.path(above), exclusive=False))
            guards.enter_context(guard(self.path(chain), exclusive=True))
            yield

    def _around(self, chain: str) -> dict[str, Held]:
        """Give the locks above and below a chain that say they are held, by path."""
        paths = [self.path(above) for above in chains_above(chain)]
        paths += lock_files(f"{self._root}/{lock_name(chain, folder=True)}")
        found = {path: read_lock(path) for path in paths}
        return {path: content for path, content in found.items() if content is not None and content.held}

    def _break_dead(self, path: str, seen: Held, by: Owner, sightings: Mapping[str, Sighting]) -> None:
        with guard(path, exclusive=True):
            content = read_lock(path)
            if content is None or content.token != seen.token or holds(path, content, sightings.get(seen.unit)):
                return  # it has come back meanwhile, or somebody else was quicker
            break_lock(path, by)


def chains_above(chain: str) -> Sequence[str]:
    """List the chains that a chain lies in and that can be held, outermost first."""
    parts = check_chain(chain).split("/")
    above = ["/".join(parts[:end]) for end in range(1, len(parts))]
    return [one for one in above if one != f"{parts[0]}/{RESERVED_STAGE}"]
