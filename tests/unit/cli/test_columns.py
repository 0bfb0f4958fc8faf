"""How lists, moments and trees are written for people."""

from __future__ import annotations

import pytest

from alchemy.cli.columns import age, aligned, moment, plural, seconds_of
from alchemy.cli.trees import draw


@pytest.mark.parametrize(
    ("passed", "words"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (7200, "2 h"), (86400 * 400, "400 d"), (-5, "0 s")],
)
def test_an_age_is_told_in_its_largest_unit(passed: float, words: str) -> None:
    """Also when another machine's clock is ahead."""
    assert age(1000.0, now=1000.0 + passed) == words


def test_what_has_no_time_has_a_question_mark() -> None:
    """A record edited by hand may have anything there."""
    assert (age(seconds_of("soon")), moment(None)) == ("?", "?")
    assert seconds_of("1970-01-01T00:00:02.500Z") == 2.5


def test_columns_are_aligned_without_trailing_blanks() -> None:
    """Nothing is padded at the end, and no rows are no lines."""
    assert aligned([("a", "bb", ""), ("ccc", "d", "e")]) == ["a    bb", "ccc  d   e"]
    assert aligned([]) == []
    assert (plural(1, "run"), plural(0, "run")) == ("1 run", "0 runs")


def test_a_tree_has_words_beside_and_below() -> None:
    """Lines below a name stay inside its branch; those above that have no record of their own are drawn too."""
    lines = list(draw(["a/b/c", "a/b/d", "a/e"], lambda fqn: [fqn[-1].upper(), "more"] if fqn != "a" else []))
    assert lines == [
        "a",
        "├─ b  B",
        "│  │  more",
        "│  ├─ c  C",
        "│  │     more",
        "│  └─ d  D",
        "│        more",
        "└─ e  E",
        "      more",
    ]
