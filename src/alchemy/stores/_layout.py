"""Where a unit's records lie in the `.alchemy` folder: names of files and folders. Pure.

```
<root>/<app>/state.json                                   the application
<root>/<app>/<stage>/state.json                           a unit; <root>/<app>/test/<id>/ for a test scope
<unit>/<scope>/state.json                                 a nested scope
<unit>/<scope>/resources/<id>/state.json                  a resource; its children below it in the same way
```
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from urllib.parse import unquote as _percent_decode

from alchemy.errors import StateError
from alchemy.names import RESERVED_STAGE, is_within, leaf, parent, unit_of

RECORD = "state.json"
RESOURCES = "resources"
LOGS = "logs"
BACKUPS = "backups"
ASIDE = ".new"
"""At the end of a file's name: it is being written and does not count yet."""
LOCKS = "locks"
NOT_APPS = frozenset({LOCKS, "local"})
MAX_NAME = 200
_PLAIN = re.compile(r"[a-z0-9_-][a-z0-9._-]*")
_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
_KEPT = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789._-")
_TAKEN = frozenset({RESOURCES, LOGS, BACKUPS, LOCKS})
_TAKEN_PREFIXES = ("journal", RECORD)


def quote(name: str) -> str:
    """Give the folder's name for an id.

    Everything outside `[a-z0-9._-]`, and a leading dot, becomes `%XX` of its UTF-8 bytes: upper-case letters
    too, for file systems that do not tell `A` from `a`. What grows past 200 bytes is cut and gets a hash after
    a `~`, which stands in no other name; the record inside says what it is truly called.
    """
    if len(name) <= MAX_NAME and _PLAIN.fullmatch(name):
        return name
    quoted = "".join(chr(byte) if byte in _KEPT else f"%{byte:02X}" for byte in name.encode())
    if quoted.startswith("."):
        quoted = "%2E" + quoted[1:]
    if len(quoted) > MAX_NAME:
        digest = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
        quoted = f"{quoted[:180]}~{digest}"
    return quoted


def quote_scope(name: str) -> str:
    """Give the folder's name for a scope: as `quote`, but none of the names that the layout uses itself."""
    if name in _TAKEN or name.startswith(_TAKEN_PREFIXES):
        return f"%{ord(name[0]):02X}{quote(name[1:])}"
    return quote(name)


def unquote(quoted: str) -> str | None:
    """Give back what a folder was named after; `None` when the name was cut."""
    return None if "~" in quoted else _percent_decode(quoted)


def check_unit(unit: str) -> str:
    """Give `unit` back if it is the chain of a stage or a test scope: what can be held and loaded."""
    parts = unit.split("/")
    if not all(parts) or unit_of(unit) != unit or len(parts) < 2 or parts[1:] == [RESERVED_STAGE]:
        raise StateError(
            f"{unit!r} is not a unit: only a stage or a test scope is held and loaded as one",
            hint="name a stage, such as 'app/prod', or a test scope, such as 'app/test/id'",
        )
    return unit


def check_within(fqn: str, unit: str) -> None:
    """Refuse to write what lies outside the unit that is held."""
    if not is_within(fqn, unit):
        raise StateError(f"{fqn} is not within {unit}, which is what this run holds")


def check_log_name(name: str) -> str:
    """Give `name` back if a log can be called so: it must not lead out of its folder."""
    return _check_name(name, "a log's name")


def check_backup_name(name: str) -> str:
    """Give `name` back if a backup can be called so."""
    return _check_name(name, "a backup's name")


def _check_name(name: str, what: str) -> str:
    if not _FILE_NAME.fullmatch(name) or name.endswith(ASIDE):
        raise StateError(f"{name!r} cannot be {what}", hint="use letters, digits, '-', '_' and '.'")
    return name


def unit_path(unit: str) -> str:
    """Give a unit's folder relative to the root, and its lock's path (without `.lock`) relative to the locks."""
    app, *rest = check_unit(unit).split("/")
    if len(rest) == 2:
        return f"{quote_scope(app)}/{RESERVED_STAGE}/{quote_scope(rest[1])}"
    return f"{quote_scope(app)}/{quote_scope(rest[0])}"


class Places:
    """Says in which folder of its unit a record lies.

    That depends on which of the prefixes of its FQN are resources; one without a record counts as a scope.

    Args:
        unit: the unit's chain.
        scopes: for each FQN with a record whether it is a scope.
    """

    def __init__(self, unit: str, scopes: Mapping[str, bool]) -> None:
        self._scopes = scopes
        self._known: dict[str, str] = {unit: ""}

    def folder(self, fqn: str) -> str:
        """Give the folder, relative to the unit's; `""` for the unit itself."""
        known = self._known.get(fqn)
        if known is not None:
            return known
        above = self.folder(parent(fqn))
        name = leaf(fqn)
        own = quote_scope(name) if self._scopes.get(fqn, True) else f"{RESOURCES}/{quote(name)}"
        folder = self._known[fqn] = f"{above}/{own}" if above else own
        return folder
