"""What objects are called."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alchemy.stores.objects.keys import Keys, quote, slot_key, slot_number, unquote
from alchemy.testing.contract import ODD_IDS

names = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"), min_size=1, max_size=128)


@given(st.lists(names, min_size=1, max_size=2))
def test_a_name_comes_back(parts: list[str]) -> None:
    """What is quoted is safe in a key, and is either read back or known to be cut."""
    name = "/".join(parts)
    quoted = quote(name)
    assert re.fullmatch(r"[A-Za-z0-9._!-]{1,200}", quoted)
    assert not quoted.startswith(".")
    assert not quoted.endswith(".")
    assert unquote(quoted) in (name, None)
    if len(quoted) < 170:
        assert unquote(quoted) == name


def test_odd_names_stay_apart() -> None:
    """No two of them become one key, and none becomes one of the store's own."""
    quoted = {quote(name) for name in ODD_IDS}
    assert len(quoted) == len(ODD_IDS)
    assert not any(name.startswith("!alchemy") for name in quoted)


@pytest.mark.parametrize("key", ["!zz", "!", "a!4", "a!", "!e9"])
def test_what_was_not_quoted_is_not_read(key: str) -> None:
    """A folder that somebody else has made has no name."""
    assert unquote(key) is None


def test_slots_are_listed_in_their_order() -> None:
    """Their keys sort as their numbers do, and are read back."""
    keys = [slot_key("log", number) for number in (1, 9, 10, 999, 100_000)]
    assert keys == sorted(keys)
    assert [slot_number(key) for key in keys] == [1, 9, 10, 999, 100_000]
    assert slot_number("log/notes.txt") is None


def test_a_place_in_a_prefix() -> None:
    """Everything lies below the prefix; a unit's things below its folder."""
    keys = Keys("team/a")
    assert keys.mark == "team/a/!alchemy"
    assert keys.place("notes") == "team/a/notes/lease"
    assert keys.place("notes/prod") == "team/a/notes/units/prod"
    assert keys.blobs("notes/test/t1", "backups") == "team/a/notes/units/test!!t1/backups"
    assert Keys("").application("notes") == "notes/application"
