"""The stores that need no server keep the contract that every store keeps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from alchemy.crypto import Cipher
from alchemy.ports import StateStore
from alchemy.stores import FileStore, MemoryStore, SQLiteStateStore, _sealed
from alchemy.stores._memory import Memory
from alchemy.stores._sealed import SealedStore
from alchemy.testing.contract import StateStoreContract


class TestFileStore(StateStoreContract):
    """The folder keeps the contract."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Callable[[], StateStore]:
        """Open handles to one folder."""
        return lambda: FileStore(tmp_path / ".alchemy")


class TestMemoryStore(StateStoreContract):
    """The memory keeps the contract."""

    @pytest.fixture
    def store(self) -> Callable[[], StateStore]:
        """Open handles to one memory."""
        memory = Memory()
        return lambda: MemoryStore(memory)


class TestSQLiteStateStore(StateStoreContract):
    """The database keeps the contract."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Callable[[], StateStore]:
        """Open handles to one file."""
        return lambda: SQLiteStateStore(tmp_path / "state.db")


class TestSealedStore(StateStoreContract):
    """What encrypts whole records keeps the contract of what it is put around."""

    @pytest.fixture
    def store(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], StateStore]:
        """Open handles to one memory, in which everything is encrypted."""
        monkeypatch.setattr(_sealed, "Cipher", partial(Cipher, n=2))
        memory = Memory()
        return lambda: SealedStore(MemoryStore(memory), "pw", encrypt=True)
