"""What is said to those who may not have, or no longer have, a chain, and when the operating system refuses."""

from __future__ import annotations

import errno
import shlex
from collections.abc import Iterable

from alchemy.errors import LeaseLost, LockedError, StateError
from alchemy.ports import Lease


def locked_error(chain: str, holder: Lease, *, shared: bool) -> LockedError:
    """Say who keeps `chain` from being taken: a holder of it, or of a chain above or below it.

    Args:
        shared: whether other processes can reach the store, so that a command can take the lock away.
    """
    unlock = f"; if it never will: {shlex.join(['alchemy', 'scope', 'unlock', holder.unit])}" if shared else ""
    owner = f"{holder.owner}, since {holder.since}"
    what = f"{chain} is held" if holder.unit == chain else f"{chain} cannot be held while {holder.unit} is: it is held"
    return LockedError(
        f"{what} by {holder.owner} since {holder.since}",
        unit=holder.unit,
        owner=owner,
        since=holder.since,
        deadline=holder.deadline,
        hint=f"wait for that run to end{unlock}",
    )


def not_held(lease: Lease) -> LeaseLost:
    """Say that a lease was given back, or never was this store's."""
    return LeaseLost(
        f"{lease.unit} is not held under token {lease.token} by this store (any more)",
        hint="take it again",
    )


def taken_away(lease: Lease, whom: str = "") -> LeaseLost:
    """Say that somebody newer holds what a lease was for; `whom` is what is known of it: `": NAME has it since …"`."""
    return LeaseLost(f"{lease.unit} was taken away from this run{whom}", hint="take it again")


class NameTaken(StateError):
    """A backup's name is taken: that one is refused, and what comes after it is not concerned."""


def backup_exists(unit: str, name: str) -> NameTaken:
    """Say that a backup's name is taken: what stands is never written over."""
    return NameTaken(f"{unit} has a backup {name} already: none was made", hint="try again")


def no_such(what: str, name: str, known: Iterable[str]) -> StateError:
    """Say that there is none of a name, and which there are, the newest first; `what` is such as `X has no backup`."""
    names = sorted(known, reverse=True)
    more = f" and {len(names) - _SHOWN} older" if len(names) > _SHOWN else ""
    hint = f"there are {', '.join(names[:_SHOWN])}{more}" if names else "it has none"
    return StateError(f"{what} {name}", hint=hint)


_SHOWN = 20
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
NO_FILES = frozenset({errno.EMFILE, errno.ENFILE})
_REMEDIES = {
    **dict.fromkeys(NO_SPACE, "make room on that disk, or in the quota, then run again"),
    **dict.fromkeys(
        NO_FILES, "raise the limit on open files (ulimit -n), or end what keeps so many open, then run again"
    ),
    errno.EROFS: "make that file system writable, or choose another folder (--state-dir)",
    errno.EACCES: "check the rights of that folder, or choose another one (--state-dir)",
    errno.EPERM: "check the rights of that folder, or choose another one (--state-dir)",
    errno.ENOENT: "somebody has removed it meanwhile: put it back, then run again",
    errno.EIO: "check that disk, then run again",
}


def remedy(error: OSError) -> str:
    """Say what to do when the operating system refuses."""
    return _REMEDIES.get(error.errno or 0, "check that folder's rights and its disk")
