"""What unit tests share: imports as `tests.unit.…` wherever pytest was started, the engine's scripted cloud,
and a place where root is nobody."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
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


@pytest.fixture
def nobodys() -> Iterator[Path]:
    """Give a folder of a user to whom permissions apply, and be that user: root may do anything."""
    # Root's Python may lie where nobody may read: what the first thread of a loop needs has to be imported before.
    import concurrent.futures.thread  # noqa: F401

    folder = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    if root:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        for inner, _, _ in os.walk(folder):
            os.chmod(inner, 0o700)
        shutil.rmtree(folder)
