"""What a store promises of state that older versions wrote, and of what newer ones will have written.

`golden-v1.ndjson` beside this module holds rows as the first version wrote them, one a line; those of later versions
come beside it, and all of them stay for ever.
"""

from __future__ import annotations

from importlib.resources import files

import pytest

from alchemy.crypto import Cipher
from alchemy.errors import StateTooNew
from alchemy.ports import StateStore
from alchemy.state import VERSION, Record, Status
from alchemy.stores._rows import pack
from alchemy.stores._sealing import open_record
from alchemy.stores.backed import BackedStore
from alchemy.stores.backend import Commit
from alchemy.testing.contract.base import Contract, Open
from alchemy.testing.contract.records import UNIT, an_owner

_DOC = f"{UNIT}/docs/Lis-moi é"


def golden_rows(version: int) -> dict[str, bytes]:
    """Give rows as a released version of the form wrote them, by FQN; `PASSWORD` opens what is encrypted in them."""
    content = files("alchemy.testing.contract").joinpath(f"golden-v{version}.ndjson").read_bytes()
    fqns = (UNIT, f"{UNIT}/docs", _DOC, f"{UNIT}/old", f"{UNIT}/whole")
    return dict(zip(fqns, content.splitlines(), strict=True))


PASSWORD = "golden"


def check_golden(records: dict[str, Record]) -> None:
    """Check that records mean what they meant when they were written."""
    cipher = Cipher(PASSWORD, n=2)
    own, scope, doc, old = (records[fqn] for fqn in (UNIT, f"{UNIT}/docs", _DOC, f"{UNIT}/old"))
    whole = open_record(records[f"{UNIT}/whole"], cipher)
    assert set(records) == {own.fqn, scope.fqn, doc.fqn, old.fqn, whole.fqn}
    assert own.output["ledger"][f"{UNIT}/lost"]["props"] == {"path": "lost"}
    assert (scope.data, scope.props["state_store"], scope.seen) == ({"count": 3}, "file:docs-state", 9)
    assert (doc.status, doc.generation, doc.retain, doc.protect) == (Status.UPDATING, 2, True, True)
    assert doc.attempted == {"path": "b", "when": {"@date": "2026-11-21T09:00:00Z"}}
    assert doc.extra == {"future": {"deep": [1]}}
    assert doc.generations[0].output == {"inode": 9007199254740993}
    assert cipher.open(doc.props["token"]["@secret"], context=doc.fqn) == b"s3cret"
    assert (old.status, old.deps, old.verify) == (Status.DELETING, [doc.fqn], True)
    assert (whole.props, whole.output, whole.is_sealed) == ({"path": "hidden"}, {"size": 1}, False)


class GoldenContract(Contract):
    """Tests of versions. A store that is no `BackedStore` keeps its golden data beside its own tests."""

    @pytest.mark.parametrize("version", range(1, VERSION + 1))
    async def test_what_a_released_version_wrote_is_read(self, open_store: Open, version: int) -> None:
        """Every row of every form means what it meant."""
        store = await open_store()
        if await _put_rows(store, golden_rows(version)):
            check_golden(dict((await store.load(UNIT)).records))
            assert list(await store.problems(UNIT)) == []

    async def test_what_a_newer_version_wrote_is_refused(self, open_store: Open) -> None:
        """Nothing of its unit is read, and it stays as it is."""
        store = await open_store()
        row = pack(b'{"version":%d,"kind":"fs::File","id":"api","fqn":"%s/api"}' % (VERSION + 1, UNIT.encode()))
        if await _put_rows(store, {f"{UNIT}/api": row}):
            for _ in range(2):
                with pytest.raises(StateTooNew, match=f"form {VERSION + 1}"):
                    await store.load(UNIT)


async def _put_rows(store: StateStore, rows: dict[str, bytes]) -> bool:
    """Write rows as they are, past everything that would make them new; say whether the store has rows."""
    if not isinstance(store, BackedStore):
        return False
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    await store._ask(store.backend.commit, lease, UNIT, Commit("golden", None, (), rows))
    await store.release(lease)
    return True
