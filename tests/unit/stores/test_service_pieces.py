"""What goes to a state service in several requests, and what in one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alchemy.stores._service_pieces import content_of, pieces_of, shares_of

ROWS = st.dictionaries(st.text(min_size=1), st.text(max_size=40).map(str.encode), max_size=20)


@given(puts=ROWS, most=st.integers(1, 200))
def test_shares_are_all_there_is(puts: dict[str, bytes], most: int) -> None:
    """In their order, none empty but where there is nothing, and none too large but of one row."""
    shares = shares_of(puts, most)
    assert [(fqn, text.encode()) for share in shares for fqn, text in share.items()] == list(puts.items())
    assert all(shares) or not puts
    assert all(len(share) == 1 or sum(len(text.encode()) for text in share.values()) <= most for share in shares)


@given(content=st.binary(max_size=100))
def test_pieces_are_the_content(content: bytes) -> None:
    """Also of an empty one, which has a piece too."""
    pieces = dict(pieces_of("a-", content))
    assert content_of(pieces.values()) == content
    assert list(pieces) == ["a-000000"]
