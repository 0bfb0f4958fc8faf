"""The state service: a Worker that keeps each application's state in a Durable Object.

It is deployed to Cloudflare by `CloudflareStateStore`, and run on one's own server by `alchemy state-service serve`.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib import resources

SCRIPT = "alchemy-state-service"
CLASS = "Store"
OLDEST = 2
"""The version that this library needs at least; one that is older than the library's own may lack `stage` or
`clearScope`."""
COMPATIBILITY_DATE = "2026-07-01"
_VERSION = re.compile(r"^const VERSION = (\d+);", re.MULTILINE)


@cache
def source() -> str:
    """Give the Worker's only module."""
    return resources.files(__name__).joinpath(f"{SCRIPT}.js").read_text("utf-8")


@cache
def version() -> int:
    """Give its version, which goes up with whatever clients can notice."""
    found = _VERSION.search(source())
    assert found is not None, "the service's module says its version"
    return int(found[1])


@cache
def digest() -> str:
    """Give 16 hexadecimal digits that are others when the module is another."""
    return hashlib.sha256(source().encode()).hexdigest()[:16]
