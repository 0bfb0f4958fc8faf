"""What is said to those who may not have, or no longer have, a chain."""

from __future__ import annotations

from alchemy.errors import LeaseLost, LockedError
from alchemy.ports import Lease


def locked_error(chain: str, holder: Lease) -> LockedError:
    """Say who keeps `chain` from being taken: a holder of it, or of a chain above or below it."""
    owner = f"{holder.owner}, since {holder.since}"
    what = f"{chain} is held" if holder.unit == chain else f"{chain} cannot be held while {holder.unit} is: it is held"
    return LockedError(
        f"{what} by {holder.owner} since {holder.since}",
        unit=holder.unit,
        owner=owner,
        since=holder.since,
        deadline=holder.deadline,
        hint=f"wait for that run to end; if it never will, break the lock of {holder.unit}",
    )


def not_held(lease: Lease) -> LeaseLost:
    """Say that a lease was given back, or never was this store's."""
    return LeaseLost(
        f"{lease.unit} is not held under token {lease.token} by this store (any more)",
        hint="take it again",
    )
