"""The stores that need no server keep the contract that every store keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from alchemy.ports import StateStore
from alchemy.stores import FileStore, MemoryStore, SQLiteStateStore
from alchemy.stores._memory import Memory
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
