"""What the tests of the engine share: an empty cloud, a store, and keys that are cheap to derive."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from tests.unit.engine import world

from alchemy.config import Launch, launch
from alchemy.crypto import Cipher
from alchemy.engine import run


@pytest.fixture(autouse=True)
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[world.Cloud]:
    """Give an empty cloud, which hears every event of every run."""
    monkeypatch.setattr(run, "Cipher", partial(Cipher, n=2))
    made = world.reset()
    token = launch.set(Launch(listeners=(lambda event: world.cloud.events.append(event),)))  # noqa: PLW0108 (the list is another after a reset)
    yield made
    launch.reset(token)


@pytest.fixture
def store() -> world.Store:
    """Give an empty store."""
    return world.Store()
