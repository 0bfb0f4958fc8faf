"""How ids become names of files, and where records lie."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alchemy.errors import StateError
from alchemy.stores._layout import Places, check_unit, quote, quote_scope, unit_path, unquote

names = st.text(st.characters(exclude_characters="/\\:", exclude_categories=("Cc", "Cs")), min_size=1, max_size=128)


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("main-db", "main-db"),
        ("a.b_c-9", "a.b_c-9"),
        ("API", "%41%50%49"),
        ("%41", "%2541"),
        ("~", "%7E"),
        ("é", "%C3%A9"),
        (".hidden", "%2Ehidden"),
        ("resources", "resources"),
    ],
)
def test_names_of_folders(name: str, quoted: str) -> None:
    """Plain names stand as they are, the rest is percent-encoded, upper case too."""
    assert quote(name) == quoted


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("resources", "%72esources"),
        ("backups", "%62ackups"),
        ("logs", "%6Cogs"),
        ("locks", "%6Cocks"),
        ("state.json", "%73tate.json"),
        ("journal-7.ndjson", "%6Aournal-7.ndjson"),
        ("database", "database"),
    ],
)
def test_scopes_do_not_take_the_layouts_own_names(name: str, quoted: str) -> None:
    """A scope that is called like a part of the layout gets its first letter encoded."""
    assert quote_scope(name) == quoted


@given(names)
def test_a_folders_name_is_safe_and_tells_the_id(name: str) -> None:
    """Whatever the id, its folder's name is short, plain, lower case outside of codes, and unless cut leads back."""
    for quoted in (quote(name), quote_scope(name)):
        assert len(quoted) <= 203
        assert re.fullmatch(r"(?!\.)([a-z0-9._~-]|%[0-9A-F]{2}|%[0-9A-F]?~)+", quoted)
        assert unquote(quoted) in (None, name)
        assert (unquote(quoted) is None) == ("~" in quoted)


@given(st.lists(names, min_size=2, max_size=20, unique=True))
def test_no_two_ids_share_a_folder(ids: list[str]) -> None:
    """Different ids have different folders, also where upper and lower case are the same."""
    assert len({quote(name).lower() for name in ids}) == len(ids)
    assert len({quote_scope(name).lower() for name in ids}) == len(ids)


def test_where_records_lie() -> None:
    """Scopes are folders of their name, resources lie below `resources`, and so on within each."""
    places = Places("a/p", {"a/p/site": False, "a/p/site/page": False, "a/p/site/assets": True, "a/p/db": True})
    assert places.folder("a/p") == ""
    assert places.folder("a/p/db/x") == "db/x"  # nothing says that it is a resource
    assert places.folder("a/p/site/page") == "resources/site/resources/page"
    assert places.folder("a/p/site/assets") == "resources/site/assets"


@pytest.mark.parametrize(
    ("unit", "path"),
    [("a/p", "a/p"), ("A/logs", "%41/%6Cogs"), ("a/test/T", "a/test/%54"), ("a/state.json", "a/%73tate.json")],
)
def test_where_units_lie(unit: str, path: str) -> None:
    """A stage lies in its application's folder, a test scope below `test`."""
    assert unit_path(unit) == path


@pytest.mark.parametrize("chain", ["", "a", "a/", "/p", "a/test", "a/p/x", "a/test/t/x", "a//p"])
def test_what_is_no_unit(chain: str) -> None:
    """Anything but a stage or a test scope is refused."""
    with pytest.raises(StateError, match="not a unit"):
        check_unit(chain)
