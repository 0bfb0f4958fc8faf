"""The state service's module as it is shipped: small, readable, and part of what is installed."""

from __future__ import annotations

import re

from alchemy.stores import service


def test_it_is_small() -> None:
    """It stays under 400 lines of at most 120 characters, in one module without imports from elsewhere."""
    lines = service.source().splitlines()
    assert len(lines) < 400
    assert max(map(len, lines)) <= 120
    assert re.findall(r"^import .* from (.*);$", service.source(), re.MULTILINE) == ['"cloudflare:workers"']


def test_it_says_its_version() -> None:
    """Its version is read from the module, so that library and service cannot disagree."""
    assert service.version() >= 1
    assert re.fullmatch(r"[0-9a-f]{16}", service.digest())
