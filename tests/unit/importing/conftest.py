"""What the tests of importing share: the shop that Alchemy for TypeScript left, and keys that are cheap to derive."""

from __future__ import annotations

import shutil
from contextvars import ContextVar
from functools import cache, partial
from pathlib import Path

import pytest

from alchemy import config
from alchemy.config import Launch
from alchemy.crypto import Cipher
from alchemy.engine import run
from alchemy.engine.keys import CheckedCipher
from alchemy.events import Event
from alchemy.importing import composing, writing

_cipher = cache(Cipher)
"""Gives one for each password: what the package sealed has a salt for every secret, and each is derived once."""

SHOP = Path(__file__).parent / "fixtures" / "shop"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the shop's folder, entered: its files, and what the package wrote in `alchemy-ts`."""
    folder = tmp_path / "shop"
    shutil.copytree(SHOP / "project", folder)
    shutil.copytree(SHOP / "alchemy-ts", folder / "alchemy-ts")
    for path in folder.rglob("*%3A*"):
        path.rename(path.with_name(path.name.replace("%3A", ":")))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """Hear every event of every run."""
    heard: list[Event] = []
    launch = Launch(listeners=(heard.append,))
    monkeypatch.setattr(config, "launch", ContextVar("alchemy_launch", default=launch))
    return heard


@pytest.fixture(autouse=True)
def _cheap_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (run, composing):
        monkeypatch.setattr(module, "CheckedCipher", partial(CheckedCipher, n=2))
    monkeypatch.setattr(writing, "Cipher", _cipher)
