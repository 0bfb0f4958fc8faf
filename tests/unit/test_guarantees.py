"""The page that says what is guaranteed names tests that exist, and no more than the long ones as long."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/guarantees.md").read_text()


def test_every_test_that_is_named_exists() -> None:
    """In the file that it is said to be in."""
    file, named = "", 0
    for line in PAGE.splitlines():
        for word in re.findall(r"`((?:unit|integration|e2e)/\S+\.py)`( †)?|`(test_\w+)`", line):
            if word[0]:
                file = (ROOT / "tests" / word[0]).read_text()
                assert bool(word[1]) == ("mark.torture" in file) or "|" not in line, line
            else:
                named += 1
                assert f"def {word[2]}(" in file, word[2]
    assert named > 30
