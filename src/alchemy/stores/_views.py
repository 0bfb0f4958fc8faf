"""What the reading operations of a store give, worked out from a unit's records. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from alchemy.names import is_within, parent
from alchemy.state import Record


def resources_in(records: Mapping[str, Record], chain: str) -> list[str]:
    """List the ids of the resources directly in a scope."""
    start = len(chain) + 1
    return sorted(fqn[start:] for fqn, record in records.items() if not record.is_scope and parent(fqn) == chain)


def scopes_in(records: Mapping[str, Record], chain: str) -> list[str]:
    """List the chains directly below `chain`; those that have records below them and none of their own too."""
    start = len(chain) + 1
    found: set[str] = set()
    for fqn in records:
        if is_within(fqn, chain) and fqn != chain:
            child = f"{chain}/{fqn[start:].partition('/')[0]}"
            record = records.get(child)
            if record is None or record.is_scope:
                found.add(child)
    return sorted(found)


def count_in(records: Mapping[str, Record], chain: str) -> int:
    """Count the resources in a scope and below it."""
    return sum(1 for fqn, record in records.items() if not record.is_scope and is_within(fqn, chain))


def all_in(records: Mapping[str, Record], chain: str) -> dict[str, Record]:
    """Give the records of a scope and below it."""
    return {fqn: record for fqn, record in records.items() if is_within(fqn, chain)}
