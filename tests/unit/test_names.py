"""Ids are checked, chains are taken apart and put together, and physical names keep every provider's rules."""

from __future__ import annotations

import getpass
import re
import string
from enum import Enum, StrEnum
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from alchemy import names
from alchemy.errors import DeclarationError, StateError
from alchemy.names import MAX_ID, SUFFIX_LENGTH, Naming, physical_name

LINEAGE = "00112233445566778899aabbccddeeff"
IDS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="/\\:"), min_size=1).filter(
    lambda text: bool(text.strip()) and len(text) <= MAX_ID and text not in (".", "..")
)


# --- ids


@pytest.mark.parametrize(
    "value", ["a", "api", "API", "main-db", "v1.2_3", "...", ".hidden", "a b", "données", "🗒", "x" * MAX_ID, "a\u200db"]
)
def test_good_ids_are_given_back(value: str) -> None:
    """An id of 1 to 128 ordinary characters, of any script, is taken as it is."""
    assert names.check_id(value, what="resource id") == value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "it is empty"),
        ("  \t", "it is blank"),
        ("\u3000", "it is blank"),
        ("x" * (MAX_ID + 1), "it has 129 characters, more than 128"),
        ("é" * (MAX_ID + 1), "it has 129 characters, more than 128"),
        (".", "it would mean a folder"),
        ("..", "it would mean a folder"),
        ("a/b", "it contains '/'"),
        ("../x", "it contains '/'"),
        ("a\\b", r"it contains '\\'"),
        ("a:b", "it contains ':'"),
        ("a\nb", "it contains the control character U+000A"),
        ("a\n", "it contains the control character U+000A"),
        ("a\0", "it contains the control character U+0000"),
        ("\x1b[31mred", "it contains the control character U+001B"),
        ("a\x7f", "it contains the control character U+007F"),
        ("a\x85", "it contains the control character U+0085"),
        ("a\u2028b", "it contains the control character U+2028"),
        ("a\u2029b", "it contains the control character U+2029"),
        ("a\ud800", "it contains the control character U+D800"),
    ],
)
def test_bad_ids_are_refused_with_the_rule(value: str, reason: str) -> None:
    """An id that breaks a rule is refused, and the error says what was being named, which rule, and what to do."""
    with pytest.raises(DeclarationError) as caught:
        names.check_id(value, what="resource id")
    assert caught.value.message.endswith(f"cannot be a resource id: {reason}")
    assert caught.value.hint == "use 1 to 128 letters, digits, '-', '_' or '.'"
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("value", [None, 3, b"api", ["api"], object])
def test_ids_are_text(value: object) -> None:
    """What is not text is refused by the name of its type."""
    with pytest.raises(DeclarationError, match=f"a stage name must be text, not {type(value).__name__}"):
        names.check_id(value, what="stage name")


def test_an_endless_id_does_not_fill_the_screen() -> None:
    """The error about a very long id shows its beginning only."""
    with pytest.raises(DeclarationError) as caught:
        names.check_id("x" * 1_000_000, what="resource id")
    assert len(str(caught.value)) < 200


def test_enum_members_name_by_their_value() -> None:
    """A text enum's member becomes plain text, its value, whichever kind of enum it is."""

    class Old(str, Enum):  # noqa: UP042
        API = "api"

    class New(StrEnum):
        API = "api"

    for member in (Old.API, New.API):
        checked = names.check_id(member, what="resource id")
        assert type(checked) is str
        assert checked == "api"


@given(st.text())
def test_an_id_is_taken_whole_or_refused(value: str) -> None:
    """Whatever is taken can be one part of an FQN: no separator in it, and no control character."""
    try:
        checked = names.check_id(value, what="id")
    except DeclarationError:
        return
    assert checked == value
    assert 1 <= len(value) <= MAX_ID
    assert "/" not in value
    assert not any(ord(char) < 32 for char in value)
    value.encode()


@given(IDS)
def test_every_other_text_is_an_id(value: str) -> None:
    """No rule beyond the written ones refuses an id."""
    assert names.check_id(value, what="id") == value


@pytest.mark.parametrize("name", ["locks", "local", ".git", "..."])
def test_reserved_applications(name: str) -> None:
    """An application cannot be called as the state folder's own folders are."""
    with pytest.raises(DeclarationError, match="the state folder uses it for itself"):
        names.check_app(name)


@pytest.mark.parametrize("name", ["notes", "Locks", "test", "my.app"])
def test_applications(name: str) -> None:
    """Any other id can be an application's name."""
    assert names.check_app(name) == name


def test_the_stage_called_test_is_reserved() -> None:
    """Test scopes live under `app/test`, so no stage does."""
    with pytest.raises(DeclarationError, match="test scopes live there") as caught:
        names.check_stage("test")
    assert "alchemy.test" in str(caught.value)


@pytest.mark.parametrize("name", ["prod", "testing", "Test", "locks"])
def test_stages(name: str) -> None:
    """Any other id can be a stage's name."""
    assert names.check_stage(name) == name


@pytest.mark.parametrize("check", [names.check_app, names.check_stage])
def test_applications_and_stages_are_ids(check: Any) -> None:
    """The rules for ids hold for applications and stages too."""
    with pytest.raises(DeclarationError, match="it is empty"):
        check("")


@pytest.mark.parametrize(
    ("user", "stage"),
    [
        ("ada", "ada"),
        ("Ada Lovelace", "Ada-Lovelace"),
        ("CORP\\ada", "CORP-ada"),
        ("test", "test-user"),
        ("..", "dev"),
        ("", "dev"),
        ("名前", "dev"),
        ("a" * 300, "a" * 64),
    ],
)
def test_the_default_stage_is_the_user(monkeypatch: pytest.MonkeyPatch, user: str, stage: str) -> None:
    """The default stage is the user's name, made into one that can be a stage."""
    monkeypatch.setattr(getpass, "getuser", lambda: user)
    assert names.default_stage() == stage
    assert names.check_stage(stage) == stage


@pytest.mark.parametrize("error", [KeyError("uid"), OSError("no user"), ImportError("pwd")])
def test_the_default_stage_without_a_user(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A container whose user has no name deploys to `dev`."""

    def nobody() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert names.default_stage() == "dev"


# --- chains


@pytest.mark.parametrize(
    ("fqn", "unit"),
    [
        ("notes", "notes"),
        ("notes/prod", "notes/prod"),
        ("notes/prod/api", "notes/prod"),
        ("notes/prod/database/main-db", "notes/prod"),
        ("notes/prod/test/x", "notes/prod"),
        ("notes/test", "notes/test"),
        ("notes/test/pr-12", "notes/test/pr-12"),
        ("notes/test/pr-12/api", "notes/test/pr-12"),
        ("notes/test/pr-12/deep/er", "notes/test/pr-12"),
        ("notes/testing/api", "notes/testing"),
        ("test/prod/api", "test/prod"),
        ("test/test/a/b", "test/test/a"),
    ],
)
def test_the_unit_of_a_chain(fqn: str, unit: str) -> None:
    """A unit is an application's stage, or one of its test scopes."""
    assert names.unit_of(fqn) == unit


@given(st.lists(IDS, min_size=1, max_size=6))
def test_a_chain_comes_apart_as_it_was_joined(parts: list[str]) -> None:
    """`leaf` and `parent` undo `join`; a unit's unit is itself, and holds all that belongs to it."""
    fqn = names.join(*parts)
    assert names.leaf(fqn) == parts[-1]
    assert names.parent(fqn) == "/".join(parts[:-1])
    unit = names.unit_of(fqn)
    assert names.unit_of(unit) == unit
    assert names.is_within(fqn, unit)


@pytest.mark.parametrize(
    ("fqn", "chain", "within"),
    [
        ("notes/prod", "notes/prod", True),
        ("notes/prod/api", "notes/prod", True),
        ("notes/prod/a/b", "notes/prod", True),
        ("notes/production", "notes/prod", False),
        ("notes/prod", "notes/prod/api", False),
        ("other/prod", "notes/prod", False),
    ],
)
def test_within(fqn: str, chain: str, within: bool) -> None:
    """A chain holds itself and what is below it, and not what merely begins alike."""
    assert names.is_within(fqn, chain) is within


# --- physical names


def name_of(naming: Naming, fqn: str = "notes/prod/api", **changes: Any) -> str:
    given_ = {"lineage": LINEAGE, "fqn": fqn, "kind": "fs::File", "generation": 1, **changes}
    return physical_name(naming, **given_)


@pytest.mark.parametrize(
    ("naming", "fqn", "expected"),
    [
        (Naming(), "notes/prod/api", "notes-prod-api-SUFFIX"),
        (Naming(), "Notes/prod/My API!", "notes-prod-my-api-SUFFIX"),
        (Naming(max=63, lowercase=False, allowed="A-Za-z0-9-"), "Notes/prod/API", "Notes-prod-API-SUFFIX"),
        (Naming(max=20), "notes/prod/api", "es-prod-api-SUFFIX"),
        (Naming(max=16), "notes/prod/api", "rod-api-SUFFIX"),
        (Naming(max=13), "notes/prod/api", "api-SUFFIX"),
        (Naming(max=12), "notes/prod/api", "api-SUFFIX"),
        (Naming(max=10), "notes/prod/api", "i-SUFFIX"),
        (Naming(max=9), "notes/prod/api", "SUFFIX"),
        (Naming(max=8), "notes/prod/api", "SUFFIX"),
        (Naming(max=9, prefix="w"), "notes/prod/api", "wSUFFIX"),
        (Naming(prefix="alchemy-"), "notes/prod/api", "alchemy-notes-prod-api-SUFFIX"),
        (Naming(separator="", allowed="a-z0-9"), "notes/prod/api", "notesprodapiSUFFIX"),
        (Naming(separator="_", allowed="a-z0-9_"), "notes/prod/api-v2", "notes_prod_api_v2_SUFFIX"),
        (Naming(separator="--", allowed="a-z0-9"), "notes/prod/a-b", "notes--prod--a--b--SUFFIX"),
        (Naming(allowed="a-z0-9._-"), "notes/prod/.env_", "notes-prod-.env-SUFFIX"),
        (Naming(allowed="a-z0-9._-", max=13), "notes/prod/.env", "env-SUFFIX"),
        (Naming(separator="\\", allowed="a-z"), "a/b", "a\\b\\SUFFIX"),
        (Naming(allowed=r"\w-"), "données/prod", "donn-es-prod-SUFFIX"),
        (Naming(), "メモ/本番/東京", "SUFFIX"),
    ],
)
def test_the_readable_part(naming: Naming, fqn: str, expected: str) -> None:
    """The readable part is the FQN's end, with what is not allowed replaced, and no stray separators."""
    suffix = name_of(Naming(max=8), fqn)
    assert len(suffix) == SUFFIX_LENGTH
    assert name_of(naming, fqn) == expected.replace("SUFFIX", suffix)


def test_a_name_never_changes() -> None:
    """The name for given arguments is the same in every version: deployed objects are found by it.

    Made with `openssl dgst -sha256 -mac HMAC -binary | base32`.
    """
    assert name_of(Naming()) == "notes-prod-api-hx2mj4og"


NAMINGS = st.builds(
    lambda room, **rules: Naming(max=len(rules["prefix"]) + SUFFIX_LENGTH + room, **rules),
    room=st.integers(0, 80),
    lowercase=st.booleans(),
    separator=st.sampled_from(["-", "_", "", "--", "."]),
    allowed=st.sampled_from(["a-z0-9-", "a-z0-9", "A-Za-z0-9_-", "a-z0-9._-", "a-z"]),
    prefix=st.sampled_from(["", "w", "alchemy-", "a" * 30]),
)


@given(NAMINGS, st.one_of(st.text(min_size=1), st.lists(IDS, min_size=2).map("/".join)), st.none() | st.text())
def test_names_keep_the_rules(naming: Naming, fqn: str, override: str | None) -> None:
    """Whatever the FQN: never longer than `max`, the prefix in front, only characters that may stand in a name, and
    a letter or digit at both ends of what follows the prefix."""
    name = name_of(naming, fqn, override=override)
    assert len(name) <= naming.max
    assert name.startswith(naming.prefix)
    rest = name[len(naming.prefix) :]
    assert re.fullmatch(f"(?:[{naming.allowed}]|{re.escape(naming.separator)})*[a-z2-7]{{8}}", rest)
    assert rest[0].isalnum()
    assert rest[-1].isalnum()
    if len(rest) > SUFFIX_LENGTH:
        assert rest[:-SUFFIX_LENGTH].endswith(naming.separator)
    if naming.separator:
        assert naming.separator * 2 not in rest
    assert name == name_of(naming, fqn, override=override)


@given(NAMINGS, st.text(string.ascii_lowercase + "/-", min_size=1), st.text(string.ascii_lowercase + "/-", min_size=1))
def test_different_resources_have_different_names(naming: Naming, one: str, other: str) -> None:
    """Two FQNs never share a name, however short it must be and however alike they read."""
    assume(one != other)
    assert name_of(naming, one) != name_of(naming, other)


@given(NAMINGS)
def test_names_differ_by_all_that_makes_an_object_another(naming: Naming) -> None:
    """Another application, another kind or another generation gives another name for the same FQN."""
    variants = [
        name_of(naming),
        name_of(naming, lineage="ff" * 16),
        name_of(naming, kind="fs::Folder"),
        name_of(naming, generation=2),
        name_of(naming, generation=11),
    ]
    assert len(set(variants)) == len(variants)


def test_names_that_only_join_alike_differ() -> None:
    """`a-b` in `x` and `b` in `x-a` read the same and are told apart."""
    assert name_of(Naming(), "x/a-b") != name_of(Naming(), "x-a/b")


def test_an_override_is_readable_text_only() -> None:
    """The text given instead of the FQN's changes the readable part; the suffix is still the resource's own."""
    own, other = name_of(Naming()), name_of(Naming(), override="Front Desk")
    assert other == f"front-desk-{own[-SUFFIX_LENGTH:]}"


@pytest.mark.parametrize("rules", [{"max": 7}, {"max": 0}, {"max": -1}, {"max": 15, "prefix": "alchemy-"}])
def test_rules_without_room_are_refused(rules: dict[str, Any]) -> None:
    """A limit too short for what tells objects apart is refused where the rules are written."""
    with pytest.raises(DeclarationError, match="8 characters that tell objects apart"):
        Naming(**rules)


@pytest.mark.parametrize("allowed", ["", "z-a", "a-z\\"])
def test_rules_that_are_no_character_class_are_refused(allowed: str) -> None:
    """`allowed` that is not the inside of a character class is refused where the rules are written."""
    with pytest.raises(DeclarationError, match="not the inside of a character class"):
        Naming(allowed=allowed)


@pytest.mark.parametrize("lineage", ["", "00", "zz" * 16, "ff" * 17])
def test_a_damaged_lineage_names_nothing(lineage: str) -> None:
    """Without its 128 bits no name is computed: an empty key would be the same in every application."""
    with pytest.raises(StateError, match="is not 128 bits"):
        name_of(Naming(), lineage=lineage)
