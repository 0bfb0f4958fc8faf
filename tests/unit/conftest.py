"""What unit tests share: imports as `tests.unit.…` wherever pytest was started, and the engine's scripted cloud."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.engine.world import Cloud, Store

ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """Give an empty cloud, which hears every event of every run; keys are cheap to derive."""
    from tests.unit.engine import world

    from alchemy.config import Launch, launch
    from alchemy.engine import run
    from alchemy.engine.keys import CheckedCipher

    monkeypatch.setattr(run, "CheckedCipher", partial(CheckedCipher, n=2))
    made = world.reset()
    token = launch.set(Launch(listeners=(world.hear,)))
    yield made
    launch.reset(token)


@pytest.fixture
def store() -> Store:
    """Give an empty store in memory that counts its writes."""
    from tests.unit.engine.world import Store

    return Store()
