"""What the objects of a store are called. Pure.

```
<prefix>/!alchemy                                     the mark: which form, and that the server honours conditions
<prefix>/<app>/application                            the application's row
<prefix>/<app>/lease/log/000000000001                 the log of leases on the application as a whole
<prefix>/<app>/units/<stage>/log/000000000001         a unit's log: leases and commits; test!!<id> for a test scope
<prefix>/<app>/units/<stage>/snap/000000000017        the unit as of that slot
<prefix>/<app>/units/<stage>/backups/<name>           also aside/<name>, logs/<name>/<part>
```
"""

from __future__ import annotations

import hashlib

from alchemy.names import unit_of
from alchemy.stores.backend import BlobKind

MARK = "!alchemy"
APPLICATION = "application"
UNITS = "units"
LEASE = "lease"
_MAX = 200
_KEPT = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
_BETWEEN = "!!"
_CUT = "!-"
_DIGITS = 12


def quote(name: str) -> str:
    """Give the part of a key that stands for a name, or for names with slashes between them.

    What is not in `[A-Za-z0-9._-]` becomes `!xx` of its UTF-8 bytes, a slash `!!`; dots too at either end of a name,
    which some services do not like there. What grows past 200 characters is cut and gets a hash after `!-`.
    """
    quoted = _BETWEEN.join(_quote(part) for part in name.split("/"))
    if len(quoted) > _MAX:
        digest = hashlib.blake2b(name.encode(), digest_size=10).hexdigest()
        quoted = f"{quoted[:170]}{_CUT}{digest}"
    return quoted


def unquote(quoted: str) -> str | None:
    """Give back the name; `None` when it was cut, or `quote` did not write it."""
    if _CUT in quoted:
        return None
    names: list[str] = []
    for part in quoted.split(_BETWEEN):
        first, *rest = part.split("!")
        try:
            raw = first.encode() + b"".join(bytes.fromhex(piece[:2]) + piece[2:].encode() for piece in rest)
            names.append(raw.decode())
        except ValueError:
            return None
    name = "/".join(names)
    return name if quote(name) == quoted else None


def log_of(chain: str) -> str:
    """Give the chain in whose log leases on `chain` stand: its unit's, or the application's own."""
    return unit_of(chain) if "/" in chain else chain


class Keys:
    """The keys of one store.

    Args:
        prefix: without slashes at its ends; may be empty.
    """

    def __init__(self, prefix: str) -> None:
        self._start = f"{prefix}/" if prefix else ""

    @property
    def root(self) -> str:
        """The prefix of everything, without a slash at its end; may be empty."""
        return self._start[:-1]

    @property
    def mark(self) -> str:
        """The object that says that this is a store of alchemy's."""
        return f"{self._start}{MARK}"

    def app(self, app: str) -> str:
        """Give the folder of an application."""
        return f"{self._start}{quote(app)}"

    def application(self, app: str) -> str:
        """Give the object of an application's row."""
        return f"{self.app(app)}/{APPLICATION}"

    def place(self, log: str) -> str:
        """Give the folder of a unit, or that of the leases on an application."""
        app, slash, rest = log.partition("/")
        return f"{self.app(app)}/{UNITS}/{quote(rest)}" if slash else f"{self.app(app)}/{LEASE}"

    def blobs(self, unit: str, kind: BlobKind) -> str:
        """Give the folder of a unit's blobs."""
        return f"{self.place(unit)}/{kind}"


def slot_key(folder: str, number: int) -> str:
    """Give the key of a slot of a log, or of a snapshot: in the order of their numbers."""
    return f"{folder}/{number:0{_DIGITS}}"


def slot_number(key: str) -> int | None:
    """Read the number back; `None` for what is no slot."""
    name = key.rpartition("/")[2]
    return int(name) if len(name) == _DIGITS and name.isascii() and name.isdigit() else None


def _quote(name: str) -> str:
    raw = name.encode()
    last = len(raw) - 1
    return "".join(
        chr(byte) if byte in _KEPT and not (byte == 0x2E and place in (0, last)) else f"!{byte:02x}"
        for place, byte in enumerate(raw)
    )
