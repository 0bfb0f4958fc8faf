"""What unit tests share: imports as `tests.unit.…` wherever pytest was started, and the engine's scripted cloud."""

from __future__ import annotations

import sys
from contextvars import ContextVar
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
def cloud(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """Give an empty cloud, which hears every event of every run; keys are cheap to derive."""
    from tests.unit.engine import world

    from alchemy import config, scope
    from alchemy.config import Launch
    from alchemy.crypto import Cipher
    from alchemy.engine import run
    from alchemy.engine.keys import CheckedCipher
    from alchemy.stores import _sealed

    monkeypatch.setattr(run, "CheckedCipher", partial(CheckedCipher, n=2))
    monkeypatch.setattr(_sealed, "Cipher", partial(Cipher, n=2))
    # A default, not a value: a loop that another test's fixture keeps running has a context of its own.
    heard = ContextVar("alchemy_launch", default=Launch(listeners=(world.hear,)))  # noqa: B039 - it is frozen
    monkeypatch.setattr(config, "launch", heard)
    monkeypatch.setattr(scope, "_current", ContextVar("alchemy_scope", default=None))
    return world.reset()


@pytest.fixture
def store(cloud: Cloud) -> Store:
    """Give an empty store in memory that counts its writes, and dies with the process that calls the cloud."""
    from tests.unit.engine.world import Store

    return Store()
