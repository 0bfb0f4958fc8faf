"""Restoring after a reset: what the reset forgot is younger than what a backup has of the same name."""

from __future__ import annotations

import pytest
from tests.unit.engine.world import Cloud, Fixed, Store, Thing, deploy, nothing

from alchemy.engine.ledger import forgotten
from alchemy.testing.checks import check_converged, check_owned
from alchemy.upkeep.reset import reset
from alchemy.upkeep.restore import restore

pytestmark = pytest.mark.anyio
UNIT = "app/dev"


async def test_an_older_object_does_not_take_the_place_of_a_forgotten_one(cloud: Cloud, store: Store) -> None:
    """Another object was made under the same id since the backup: it stays known, and goes when nobody wants it."""

    async def fixed(_app: object) -> None:
        await Fixed("a")

    async def thing(_app: object) -> None:
        await Thing("a")

    await deploy(fixed, store)
    await deploy(nothing, store)
    await deploy(thing, store)
    backup = sorted(store.memory.unit(UNIT).backups)[0]
    await reset(UNIT, UNIT, state_store=store)
    await restore(UNIT, UNIT, backup, state_store=store)
    records = store.memory.records("")
    check_owned(cloud, records, ledger=forgotten(records.get(UNIT)))
    await deploy(fixed, store)
    check_converged(cloud, store.memory.records(""))
