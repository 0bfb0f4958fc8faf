"""Records come back as they were written, or there is an error; damage is never taken for a record."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alchemy.errors import StateDamaged, StateTooNew
from alchemy.state import (
    KNOWN,
    SCOPE_KINDS,
    STABLE,
    STAGE_KIND,
    VERSION,
    Application,
    Generation,
    JsonObject,
    Place,
    Record,
    Status,
    decode,
    encode,
    from_json,
    now,
    seal,
    to_json,
    unseal,
)

GOLDEN = Path(__file__).parent / "golden"
WHERE = ".alchemy/notes/prod/state.json"
LEAST: JsonObject = {"kind": "fs::File", "id": "readme", "fqn": "notes/prod/readme"}

WORDS = st.text(max_size=20)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(WORDS, JSON, max_size=4)
COUNTS = st.integers(0, 2**63 - 1)
PLACES = st.builds(
    Place,
    seq=COUNTS,
    seen=st.none() | COUNTS,
    deps=st.lists(WORDS, max_size=3),
    confirmed=COUNTS,
    until=COUNTS,
    holds=st.booleans(),
)
GENERATIONS = st.builds(
    Generation,
    generation=COUNTS,
    kind=WORDS,
    provider=WORDS,
    status=st.sampled_from(Status),
    target=WORDS,
    physical_name=st.none() | WORDS,
    props=OBJECTS,
    attempted=st.none() | OBJECTS,
    output=OBJECTS,
    data=OBJECTS,
    absent=st.booleans(),
    confirmed=COUNTS,
    earlier=st.lists(PLACES, max_size=2),
)
RECORDS = st.builds(
    Record,
    status=st.sampled_from(Status),
    kind=WORDS,
    id=WORDS,
    fqn=WORDS,
    seq=COUNTS,
    seen=st.none() | COUNTS,
    deps=st.lists(WORDS, max_size=3),
    provider=WORDS,
    target=WORDS,
    data=OBJECTS,
    props=OBJECTS,
    attempted=st.none() | OBJECTS,
    output=OBJECTS,
    physical_name=st.none() | WORDS,
    absent=st.booleans(),
    generation=COUNTS,
    generations=st.lists(GENERATIONS, max_size=2),
    retain=st.booleans(),
    protect=st.booleans(),
    confirmed=COUNTS,
    earlier=st.lists(PLACES, max_size=2),
    rev=COUNTS,
    fence=COUNTS,
    created_at=WORDS,
    updated_at=WORDS,
    extra=st.dictionaries(WORDS.filter(lambda key: key not in KNOWN), JSON, max_size=3),
)


# --- round trips


@given(RECORDS)
def test_a_record_comes_back_from_a_log(record: Record) -> None:
    """What `encode` writes, `decode` reads: every field and every unknown key, and it is one line."""
    raw = encode(record)
    assert decode(raw, where=WHERE) == record
    assert b"\n" not in raw


@given(RECORDS)
def test_a_record_comes_back_from_a_file(record: Record) -> None:
    """What `seal` writes, `unseal` reads, and any JSON reader can read it too."""
    raw = seal(to_json(record))
    assert from_json(unseal(raw, where=WHERE), where=WHERE) == record
    assert set(json.loads(raw)) == KNOWN | set(record.extra) | {"checksum"}


@given(RECORDS)
def test_writing_what_was_read_changes_nothing(record: Record) -> None:
    """The bytes of a record that was read and is written again are the same."""
    raw = seal(to_json(record))
    assert seal(to_json(from_json(unseal(raw, where=WHERE), where=WHERE))) == raw


@given(st.dictionaries(WORDS, JSON, min_size=1))
def test_any_object_can_be_sealed(body: JsonObject) -> None:
    """Other files of a store are sealed in the same way, whatever their keys and texts hold."""
    assert unseal(seal(body), where=WHERE) == body


def test_a_text_that_looks_like_the_checksum_is_no_checksum() -> None:
    """A value, or a key deeper down, that has the checksum's form does not deceive the reader."""
    body = {"text": ',\n  "checksum": "0000000000000000"\n}\n', "deep": {"a": 1, "checksum": "0" * 16}}
    assert unseal(seal(body), where=WHERE) == body


def test_unknown_keys_are_kept_after_the_known_ones() -> None:
    """A key that this version does not know is written back where a reader expects it: beside the others."""
    data = {"invented": {"later": [1, 2]}, **LEAST, "zeal": 3}
    record = from_json(data, where=WHERE)
    assert record.extra == {"invented": {"later": [1, 2]}, "zeal": 3}
    stored = to_json(record)
    assert stored["invented"] == {"later": [1, 2]}
    assert stored["zeal"] == 3
    assert "extra" not in stored


@pytest.mark.parametrize("value", [{"a": 1}, 3, None])
def test_an_unknown_key_may_have_any_name(value: object) -> None:
    """Even `extra`, as the place for unknown keys is called here, is an unknown key like others."""
    record = from_json({**LEAST, "extra": value}, where=WHERE)
    assert to_json(record)["extra"] == value
    assert decode(encode(record), where=WHERE) == record


def test_what_a_short_record_lacks_is_filled_in() -> None:
    """A record with the least a record has gets the defaults, none of them shared with another record."""
    one, other = (from_json(dict(LEAST), where=WHERE) for _ in range(2))
    assert one == other == Record(kind="fs::File", id="readme", fqn="notes/prod/readme")
    assert (one.version, one.status, one.generation, one.seen) == (VERSION, Status.CREATING, 1, None)
    one.props["path"] = "x"
    one.deps.append("notes/prod/docs")
    one.extra["x"] = 1
    assert other.props == {}
    assert other.deps == []
    assert to_json(Record(**LEAST))["props"] == {}


# --- versions and damage


@pytest.mark.parametrize("version", [VERSION + 1, 99])
def test_a_newer_record_is_refused(version: int) -> None:
    """A record of a newer form is an error that names file and remedy, whatever else it holds."""
    with pytest.raises(StateTooNew) as caught:
        from_json({"version": version, "status": "imagined"}, where=WHERE)
    assert caught.value.message == f"{WHERE} was written in form {version}; this version reads up to {VERSION}"
    assert caught.value.hint == "upgrade alchemy-iac"


@pytest.mark.parametrize(
    "change",
    [
        {"kind": None},
        {"id": 3},
        {"fqn": ["notes"]},
        {"seq": "3"},
        {"seen": 1.5},
        {"status": "imagined"},
        {"deps": [3]},
        {"props": []},
        {"attempted": "x"},
        {"generations": [{}]},
        {"retain": 1},
        {"version": True},
        {"version": "1"},
        {"version": None},
    ],
    ids=str,
)
def test_another_type_in_a_field_is_damage(change: JsonObject) -> None:
    """A field with a value that no version has written is an error naming the file and the place in it."""
    with pytest.raises(StateDamaged, match="is not a record") as caught:
        from_json({**LEAST, **change}, where=WHERE)
    assert caught.value.path == WHERE
    assert caught.value.message.startswith(WHERE)
    assert f"$.{next(iter(change))}" in caught.value.message
    assert caught.value.hint == "restore it from a backup"


@pytest.mark.parametrize("missing", sorted(LEAST))
def test_a_record_says_what_it_is_of(missing: str) -> None:
    """Without kind, id or FQN it is no record."""
    with pytest.raises(StateDamaged, match=missing):
        from_json({key: value for key, value in LEAST.items() if key != missing}, where=WHERE)


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\0\0\0\0", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b'{"kind": "\xff"}', "is not JSON"),
        (b'{"a":' * 100_000, "is not JSON"),
        (b"[]", "holds no object"),
        (b"null", "holds no object"),
    ],
    ids=["empty", "cut", "zeros", "no text", "broken text", "endless", "list", "null"],
)
@pytest.mark.parametrize("read", [decode, unseal])
def test_what_is_no_json_object_is_damage(read: Any, raw: bytes, complaint: str) -> None:
    """Bytes that are no JSON object are an error naming the file."""
    with pytest.raises(StateDamaged, match=complaint) as caught:
        read(raw, where=WHERE)
    assert caught.value.path == WHERE


def test_a_file_without_checksum_is_refused() -> None:
    """A JSON file that somebody else wrote is told from one of ours."""
    with pytest.raises(StateDamaged, match="has no checksum") as caught:
        unseal(json.dumps(LEAST, indent=2).encode(), where=WHERE)
    assert "backup" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "edit", [(b'"readme"', b'"README"'), (b'"seq": 0', b'"seq": 1'), (b"\n}", b"\n}\n"), (b": ", b":")]
)
def test_an_edit_by_hand_is_noticed(edit: tuple[bytes, bytes]) -> None:
    """A sealed file that is still good JSON but not what was written is an error that says so."""
    raw = seal(to_json(from_json(dict(LEAST), where=WHERE)))
    changed = raw.replace(*edit, 1)
    assert changed != raw
    json.loads(changed)
    with pytest.raises(StateDamaged, match="was changed since alchemy wrote it"):
        unseal(changed, where=WHERE)


@pytest.mark.parametrize("mask", [1, 2, 8, 32, 128, 255])
def test_every_changed_byte_of_a_file_is_noticed(mask: int) -> None:
    """Any one byte of a sealed file turned into another: damage. Never another record, never another error."""
    raw = (GOLDEN / "record-v1.json").read_bytes()
    for position in range(len(raw)):
        changed = bytearray(raw)
        changed[position] ^= mask
        with pytest.raises(StateDamaged):
            unseal(bytes(changed), where=WHERE)


def test_every_cut_of_a_file_is_noticed() -> None:
    """A sealed file cut short anywhere, by one byte too, is damage; so is one with something behind its end."""
    raw = (GOLDEN / "record-v1.json").read_bytes()
    for length in range(len(raw)):
        with pytest.raises(StateDamaged):
            unseal(raw[:length], where=WHERE)
    for tail in (b"\n", b"\0", b" ", raw):
        with pytest.raises(StateDamaged):
            unseal(raw + tail, where=WHERE)


# --- golden files: written by the first version, read by every later one


def golden(name: str) -> JsonObject:
    return unseal((GOLDEN / name).read_bytes(), where=name)


def test_the_golden_record_reads_back() -> None:
    """A resource's record of version 1, with every field set, an old generation and a key not known."""
    record = from_json(golden("record-v1.json"), where="record-v1.json")
    assert record == Record(
        version=1,
        status=Status.UPDATING,
        kind="fs::File",
        id="Lis-moi é",
        fqn="notes/prod/docs/Lis-moi é",
        seq=3,
        seen=None,
        deps=["notes/prod/docs"],
        provider="alchemy.fs._file:FileProvider",
        target="machine",
        data={"attempts": 2},
        props={"path": "README.txt", "content": "hello", "token": {"@secret": {"version": "v2"}}},
        attempted={
            "path": "README.txt",
            "content": "hello, world",
            "mode": 420,
            "ratio": 0.5,
            "tags": ["a", None, True],
        },
        output={"size": 5, "checksum": "abc"},
        physical_name="notes-prod-docs-lis-moi-hx2mj4og",
        absent=True,
        generation=2,
        generations=[
            Generation(
                generation=1,
                kind="fs::Folder",
                provider="alchemy.fs._folder:FolderProvider",
                status=Status.CREATED,
                target="machine",
                physical_name="notes-prod-docs-abcdefgh",
                props={"path": "old"},
                output={"inode": 9007199254740993},
                data={"k": "v"},
                absent=True,
                seq=1,
                seen=2,
                deps=["notes/prod/docs"],
            )
        ],
        retain=True,
        protect=True,
        rev=4,
        fence=7,
        created_at="2026-11-21T09:00:00.000Z",
        updated_at="2026-11-21T09:00:01.250Z",
        extra={"future": {"deep": [1]}},
    )


def test_the_golden_scope_reads_back() -> None:
    """A stage's record of version 1."""
    record = from_json(golden("scope-v1.json"), where="scope-v1.json")
    assert record.is_scope
    assert record.is_stable
    assert (record.kind, record.fqn, record.seen, record.fence) == (STAGE_KIND, "notes/prod", 9, 7)


def test_the_golden_application_reads_back() -> None:
    """An application's record of version 1."""
    application = msgspec.convert(golden("application-v1.json"), Application)
    assert application == Application(
        app="notes", lineage="00112233445566778899aabbccddeeff", created_at="2026-11-21T09:00:00.000Z"
    )
    assert application.min_reader == 1


# --- small things


def test_scopes_are_told_from_resources() -> None:
    """The kinds of scopes are reserved: a record of any other kind is a resource's."""
    for kind in SCOPE_KINDS:
        assert from_json({**LEAST, "kind": kind}, where=WHERE).is_scope
    assert not from_json(dict(LEAST), where=WHERE).is_scope


@pytest.mark.parametrize("status", Status)
def test_only_two_statuses_are_stable(status: Status) -> None:
    """An object is known to be as its record says after a create or an update, and at no other time."""
    record = from_json({**LEAST, "status": status.value}, where=WHERE)
    assert record.is_stable is (status.value in ("created", "updated")) is (status in STABLE)


def test_the_time_is_written_in_utc_with_milliseconds() -> None:
    """`now` has one form, which sorts as text and reads back as a time."""
    text = now()
    moment = datetime.fromisoformat(text)
    assert moment.utcoffset() == timedelta(0)
    assert len(text) == len("2026-11-21T09:00:00.000Z")
    assert text.endswith("Z")
