"""Clearing a chain: its records go at once, and the ledger keeps what may exist all the same. Destroys nothing."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from alchemy.engine import ledger
from alchemy.engine.leaving import ORPHANS, without_orphans
from alchemy.engine.run import Run
from alchemy.scope import Scope
from alchemy.state import Record, is_array


def own_without(run: Run, scope: Scope, gone: Mapping[str, Record]) -> Record:
    """Give the own record of a run's unit as it is to be when records are gone: they are in its ledger, by which the
    next deploy knows its own objects again, and orphans no more. Nothing is written.

    Args:
        scope: of the unit.
    """
    own = msgspec.structs.replace(run.scope_record(scope))
    ledger.forget(own, gone.values())
    orphans = own.output.get(ORPHANS)
    if is_array(orphans):
        own.output = without_orphans(own.output, [fqn for fqn in orphans if fqn not in gone])
    return own
