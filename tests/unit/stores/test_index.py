"""What lies below what, asked for at any time between changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alchemy.names import is_within
from alchemy.stores._index import Index

NAMES = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join)
STEPS = st.lists(st.tuples(st.sampled_from(["add", "drop", "ask"]), NAMES), max_size=30)


@given(first=st.dictionaries(NAMES, st.booleans()), steps=STEPS)
def test_all_below_a_chain_is_found(first: dict[str, bool], steps: list[tuple[str, str]]) -> None:
    """However records came and went before, also where there is none for what holds them."""
    index, there = Index(first), set(first)
    for step, fqn in steps:
        if step == "add":
            index.add(fqn, scope=False)
            there.add(fqn)
        elif step == "drop":
            index.drop(fqn)
            there.discard(fqn)
        else:
            assert sorted(index.within(fqn)) == sorted(name for name in there if is_within(name, fqn))
    assert index.scopes.keys() == there
