"""What a store promises of backups, of dropping logs, and of telling what is wrong."""

from __future__ import annotations

import pytest

from alchemy.errors import LeaseLost, StateError
from alchemy.history import decode_backup, encode_backup
from alchemy.state import STAGE_KIND, Application, now
from alchemy.testing.contract.base import Contract, Open
from alchemy.testing.contract.records import UNIT, a_resource, a_scope, an_owner, plain

NAMES = [f"state-2026-11-21T09-00-00-{n:03}Z.json" for n in range(4)]


class ArchiveContract(Contract):
    """Tests of backups and of `problems`."""

    async def test_backups(self, open_store: Open) -> None:
        """A backup comes back byte for byte for any handle, oldest first; backups are not state."""
        one, two = await open_store(), await open_store()
        assert list(await one.backups(UNIT)) == []
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        contents = {name: name.encode() * 5000 for name in NAMES[:3]}
        for name in (NAMES[1], NAMES[0], NAMES[2]):
            await one.save_backup(lease, name, contents[name])
        assert list(await two.backups(UNIT)) == NAMES[:3]
        assert {name: await two.read_backup(UNIT, name) for name in NAMES[:3]} == contents
        assert list(await two.list_scopes("notes")) == []
        assert await two.all(UNIT) == {}
        assert list(await two.backups("notes/dev")) == []

    async def test_a_backup_of_records_can_be_read_again(self, open_store: Open) -> None:
        """What was written with `history` is read with it: every record, as it was."""
        one = await open_store()
        lease = await self._fill(one, *self._tree(), keep=True)
        records = await one.all(UNIT)
        raw = encode_backup(unit=UNIT, made_at=now(), operation="deploy", records=records.values())
        await one.save_backup(lease, NAMES[0], raw)
        backup = decode_backup(await one.read_backup(UNIT, NAMES[0]), where=NAMES[0])
        assert plain(backup.records) == plain(dict(records))

    async def test_a_backup_is_there_before_what_is_written_after_it(self, open_store: Open) -> None:
        """Of calls that nobody awaits but the last, the backup is durable when the last is; whoever reads sees both."""
        one, two = await open_store(), await open_store()
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        one.set(lease, a_resource(f"{UNIT}/a"))
        one.save_backup(lease, NAMES[0], b"before b")
        await one.set(lease, a_resource(f"{UNIT}/b"))
        assert await two.read_backup(UNIT, NAMES[0]) == b"before b"
        assert await two.list(UNIT) == ["a", "b"]

    async def test_a_backups_name_is_not_given_twice(self, open_store: Open) -> None:
        """A name that is taken is refused; what stands is not touched, and nothing that came along is written."""
        one = await open_store()
        lease = await self._fill(one, a_resource(f"{UNIT}/a"), keep=True)
        await one.save_backup(lease, NAMES[0], b"first")
        with pytest.raises(StateError, match=NAMES[0]):
            await one.save_backup(lease, NAMES[0], b"second")
        assert await one.read_backup(UNIT, NAMES[0]) == b"first"
        await one.set(lease, a_resource(f"{UNIT}/b"))
        await one.fold(lease)
        assert await one.list(UNIT) == ["a", "b"]

    async def test_whoever_lost_the_unit_keeps_no_backup(self, open_store: Open) -> None:
        """After a takeover, and under a lease given back, a backup is refused as every write is."""
        one, two = await open_store(), await open_store()
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        await two.break_(UNIT)
        with pytest.raises(LeaseLost):
            await one.save_backup(lease, NAMES[0], b"late")
        again = await two.acquire(UNIT, owner=an_owner(), timeout=0)
        await two.release(again)
        with pytest.raises(LeaseLost):
            await two.save_backup(again, NAMES[0], b"late")
        assert list(await two.backups(UNIT)) == []

    async def test_a_backup_that_is_not_there(self, open_store: Open) -> None:
        """Reading an unknown backup is an error that names it and lists those there are."""
        one = await open_store()
        with pytest.raises(StateError, match=NAMES[3]):
            await one.read_backup(UNIT, NAMES[3])
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        await one.save_backup(lease, NAMES[0], b"{}")
        with pytest.raises(StateError) as unknown:
            await one.read_backup(UNIT, NAMES[3])
        assert NAMES[0] in str(unknown.value)

    async def test_dropping(self, open_store: Open) -> None:
        """What is dropped is gone, the rest stays; what was never there is no error; and it can come again."""
        one, two = await open_store(), await open_store()
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        await one.drop_backups(UNIT, NAMES[0])
        await one.drop_logs(UNIT, "a.ndjson")
        for _ in range(2):
            for name in NAMES[:3]:
                await one.save_backup(lease, name, b"{}")
            for log in ("a.ndjson", "b.ndjson"):
                await one.append_log(UNIT, log, b"{}\n")
            await two.drop_backups(UNIT, NAMES[0], NAMES[3], NAMES[2])
            await two.drop_logs(UNIT, "a.ndjson", "c.ndjson")
            assert list(await one.backups(UNIT)) == [NAMES[1]]
            assert list(await one.logs(UNIT)) == ["b.ndjson"]
            await two.drop_backups(UNIT, NAMES[1])
            await two.drop_logs(UNIT, "b.ndjson")
            assert list(await one.backups(UNIT)) == []
            assert list(await one.logs(UNIT)) == []

    @pytest.mark.parametrize("name", ["", "..", "../state.json", "a/b", ".hidden", "a\0b", "x.new", "x" * 300])
    async def test_a_backup_stays_in_its_place(self, open_store: Open, name: str) -> None:
        """A name that would lead elsewhere is refused in every call."""
        one = await open_store()
        lease = await one.acquire(UNIT, owner=an_owner(), timeout=0)
        with pytest.raises(StateError):
            await one.save_backup(lease, name, b"{}")
        with pytest.raises(StateError):
            await one.read_backup(UNIT, name)
        with pytest.raises(StateError):
            await one.drop_backups(UNIT, name)
        with pytest.raises(StateError):
            await one.drop_logs(UNIT, name)

    async def test_a_sound_state_has_no_problems(self, open_store: Open) -> None:
        """Before and after a fold, held and free, nothing is found; nor where nothing is."""
        one, two = await open_store(), await open_store()
        assert list(await one.problems("")) == []
        await one.create_application(Application(app="notes", lineage="00" * 16, created_at=""))
        lease = await self._fill(one, *self._tree(), keep=True)
        raw = encode_backup(unit=UNIT, made_at=now(), operation="deploy", records=self._tree())
        await one.save_backup(lease, NAMES[0], raw)
        for chain in ("", "notes", UNIT, f"{UNIT}/database", "notes/dev", "other"):
            assert list(await two.problems(chain)) == []
        await one.fold(lease)
        assert list(await two.problems("")) == []
        await one.release(lease)
        assert list(await two.problems("")) == []

    async def test_wrong_references_and_orders_are_told(self, open_store: Open) -> None:
        """Each problem names the record and a remedy, and is found at its own chain, but at no other."""
        one = await open_store()
        await one.create_application(Application(app="notes", lineage="00" * 16, created_at=""))
        await self._fill(
            one,
            a_scope(UNIT, STAGE_KIND),
            a_scope(f"{UNIT}/db"),
            a_resource(f"{UNIT}/lost", seq=1, deps=[f"{UNIT}/nowhere"]),
            a_resource(f"{UNIT}/db/order", seq=9, seen=3),
            a_resource(f"{UNIT}/a", seq=4, seen=5, deps=[f"{UNIT}/b"]),
            a_resource(f"{UNIT}/b", seq=6, seen=7, deps=[f"{UNIT}/a"]),
        )
        found = await one.problems(UNIT)
        assert all(problem.where and problem.what and problem.remedy for problem in found)
        about = {problem.fqn: problem.what for problem in found}
        assert set(about) == {f"{UNIT}/lost", f"{UNIT}/db/order", f"{UNIT}/b"}
        assert f"{UNIT}/nowhere" in about[f"{UNIT}/lost"]
        assert f"{UNIT}/a" in about[f"{UNIT}/b"]
        assert [problem.fqn for problem in await one.problems(f"{UNIT}/db")] == [f"{UNIT}/db/order"]
        assert list(await one.problems("notes/dev")) == []

    async def test_a_backup_that_was_changed_is_told(self, open_store: Open) -> None:
        """Backups that cannot be read, or are another unit's, are told by name."""
        one = await open_store()
        await one.create_application(Application(app="notes", lineage="00" * 16, created_at=""))
        lease = await self._fill(one, a_scope(UNIT, STAGE_KIND), keep=True)
        raw = encode_backup(unit=UNIT, made_at=now(), operation="deploy", records=self._tree())
        other = encode_backup(unit="notes/dev", made_at=now(), operation="deploy", records=[])
        contents = [raw, raw[:-30], raw.replace(b'"fs::File"', b'"fs::Fine"'), other]
        for name, content in zip(NAMES, contents, strict=True):
            await one.save_backup(lease, name, content)
        found = await one.problems("")
        assert [any(name in problem.where for problem in found) for name in NAMES] == [False, True, True, True]
        assert len(found) == 3
        assert all(problem.what and problem.remedy for problem in found)

    async def test_what_is_whole_is_not_salvaged(self, open_store: Open) -> None:
        """Nothing is put aside or changed; only the holder may ask."""
        one = await open_store()
        lease = await self._fill(one, *self._tree(), keep=True)
        before = await one.all(UNIT)
        assert await one.salvage(lease) is None
        assert await one.all(UNIT) == before
        await one.release(lease)
        with pytest.raises(LeaseLost):
            await one.salvage(lease)
