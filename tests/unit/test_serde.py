"""Values to JSON and back: nothing is lost, nothing of a user's is taken for a tag, and nothing depends on order."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import hypothesis.strategies as st
import pytest
from hypothesis import given

from alchemy.errors import DeclarationError, StateError
from alchemy.secret import Secret
from alchemy.serde import canonical, contains_secret, decode, encode, masked, where


class Kind(Enum):
    ONE = "one"


class Word(StrEnum):
    A = "a"


@dataclass
class Point:
    x: int
    y: Any = None


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT | st.just("@date"), inner, max_size=4),
    max_leaves=12,
)


def through_json(data: Any) -> Any:
    """Write and read it as a store does."""
    return json.loads(json.dumps(data))


@given(PLAIN)
def test_what_goes_in_comes_out(value: Any) -> None:
    """Any nesting of plain values survives, with its types, keys that look like tags included."""
    back = decode(through_json(encode(value)))
    assert back == value
    assert repr(back) == repr(value)


@given(st.dictionaries(TEXT, PLAIN, min_size=2, max_size=5))
def test_the_order_of_keys_makes_no_difference(value: dict[str, Any]) -> None:
    """Canonical bytes are equal for equal mappings."""
    turned = dict(reversed(list(value.items())))
    assert canonical(encode(value)) == canonical(encode(turned))


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), ("1", 1), ([1, 2], [2, 1]), (None, False), ({}, [])])
def test_what_only_looks_alike_is_another(one: Any, other: Any) -> None:
    """Canonical bytes keep types apart."""
    assert canonical(encode(one)) != canonical(encode(other))


@pytest.mark.parametrize(
    "value",
    [
        2**70,
        -(2**63),
        2**63,
        math.inf,
        -math.inf,
        b"\x00\xff",
        datetime(2026, 11, 21, 9, 0, 0, 123, tzinfo=UTC),
        date(2026, 11, 21),
        timedelta(days=2, microseconds=5),
        Path("/a/b"),
        UUID(int=7),
        Decimal("1.50"),
        {1, 2, 3},
        pytest.param({"a", b"b"}, id="a set of two types"),
        Point(1, [Point(2)]),
        {"@secret": 1},
        {"@@x": {"@": 2}},
        {"@date": "not a date", "b": 1},
    ],
    ids=repr,
)
def test_each_kind_of_value(value: Any) -> None:
    """What JSON has no word for comes back as it was."""
    back = decode(through_json(encode(value)))
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    ("value", "back"),
    [
        ((1, (2, 3)), [1, [2, 3]]),
        (Kind.ONE, "one"),
        (Word.A, "a"),
        ({Word.A: 1, Kind.ONE: 2}, {"a": 1, "one": 2}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (bytearray(b"x"), b"x"),
        (frozenset({1}), {1}),
        (datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))), datetime(2026, 1, 1, 10, tzinfo=UTC)),
        (datetime(2026, 1, 1, 12), datetime(2026, 1, 1, 12, tzinfo=UTC)),
    ],
    ids=repr,
)
def test_what_comes_back_as_its_plain_form(value: Any, back: Any) -> None:
    """Tuples, enums and views come back as lists, values and mappings."""
    assert decode(through_json(encode(value))) == back


def test_not_a_number() -> None:
    """It survives, though it equals nothing."""
    assert math.isnan(decode(through_json(encode(math.nan))))


def test_sets_have_one_form() -> None:
    """Equal sets are equal bytes, however they were made."""
    assert encode({3, 1, 2}) == encode({2, 3, 1})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [object()]}, "a[0] is of the type object, which state cannot hold"),
        ({"a": {1: 2}}, "a has the key 1; state holds text keys only"),
        ([lambda: 1], "0 is of the type function"),
        ({"a": "\ud800"}, "a is no text that can be written as UTF-8"),
    ],
)
def test_what_cannot_be_held_is_named(value: Any, message: str) -> None:
    """The error says where, and what it is."""
    with pytest.raises(DeclarationError) as caught:
        encode(value)
    assert message in str(caught.value)


def test_a_value_that_contains_itself() -> None:
    """An error, and no overflow."""
    knot: dict[str, Any] = {}
    knot["k"] = knot
    with pytest.raises(DeclarationError, match="contains itself"):
        encode(knot)
    line: list[Any] = []
    line.append(line)
    with pytest.raises(DeclarationError, match="contains itself"):
        encode(line)


def test_an_unknown_tag_is_an_error() -> None:
    """A newer version's value is not guessed at."""
    with pytest.raises(StateError, match="tagged '@complex'"):
        decode({"@complex": [1, 2]})


def test_a_value_object_whose_class_is_gone_leaves_its_fields() -> None:
    """Enough to destroy by."""
    data = encode(Point(1, 2))
    data["@object"]["class"] = "no.such.module:Point"
    assert decode(data) == {"x": 1, "y": 2}


def test_secrets_are_sealed_found_and_masked() -> None:
    """A secret goes through `seal` with its path, is found anywhere, and shown as `***`."""
    paths: list[tuple[str | int, ...]] = []

    def seal(secret: Secret[Any], path: tuple[str | int, ...]) -> Any:
        paths.append(path)
        return {"sealed": len(secret.reveal())}

    data = encode({"a": [Secret("abc")], "b": 1}, seal=seal)
    assert data == {"a": [{"@secret": {"sealed": 3}}], "b": 1}
    assert paths == [("a", 0)]
    assert contains_secret(data)
    assert not contains_secret({"b": [1]})
    assert masked(data) == {"a": ["***"], "b": 1}
    assert decode(data, open_=lambda payload: Secret(payload["sealed"]))["a"][0].reveal() == 3
    assert decode(data) == {"a": [{"@secret": {"sealed": 3}}], "b": 1}
    with pytest.raises(TypeError, match="cannot be kept here"):
        encode(Secret("x"))


def test_references() -> None:
    """A resource goes through `refer`, and comes back through `build`."""

    class Res:
        pass

    def refer(value: object) -> Mapping[str, Any] | None:
        return {"fqn": "a/b/c"} if isinstance(value, Res) else None

    data = encode({"db": Res()}, refer=refer)  # type: ignore[arg-type]
    assert data == {"db": {"@resource": {"fqn": "a/b/c"}}}
    assert decode(data, build=lambda payload: payload["fqn"]) == {"db": "a/b/c"}
    assert decode(data) == data


def test_places_have_names() -> None:
    """As a person would write them."""
    assert where(("bindings", "DB", 2)) == "bindings['DB'][2]"
    assert where(()) == "the value"
