"""Every test of the engine begins with an empty cloud."""

from __future__ import annotations

import pytest
from tests.unit.engine.world import Cloud


@pytest.fixture(autouse=True)
def _empty(cloud: Cloud) -> None:
    """Empty the cloud also for tests that do not look at it."""
