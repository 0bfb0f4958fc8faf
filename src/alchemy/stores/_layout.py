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
from collections.abc import Iterable, Mapping
from urllib.parse import unquote as _percent_decode

from alchemy.errors import StateError
from alchemy.names import RESERVED_STAGE, is_within, leaf, parent, unit_of
from alchemy.ports import LogEnd

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


def is_unit(chain: str) -> bool:
    """Say whether a chain is that of a stage or a test scope: what is loaded, and journaled, as one."""
    parts = chain.split("/")
    return all(parts) and unit_of(chain) == chain and len(parts) > 1 and parts[1:] != [RESERVED_STAGE]


def check_unit(unit: str) -> str:
    """Give `unit` back if it is the chain of a stage or a test scope."""
    if not is_unit(unit):
        raise StateError(
            f"{unit!r} is not a unit: only a stage or a test scope is loaded as one",
            hint="name a stage, such as 'app/prod', or a test scope, such as 'app/test/id'",
        )
    return unit


def check_chain(chain: str) -> str:
    """Give `chain` back if it can be held: an application, a unit, or a scope within one."""
    parts = chain.split("/")
    if not all(parts) or parts[1:] == [RESERVED_STAGE]:
        raise StateError(
            f"{chain!r} is not a chain that can be held",
            hint="name an application, a stage, such as 'app/prod', or a scope in it, such as 'app/prod/database'",
        )
    return chain


def check_within(fqn: str, unit: str) -> None:
    """Refuse to write what lies outside the unit that is held."""
    if not is_within(fqn, unit):
        raise StateError(f"{fqn} is not within {unit}, which is what this run holds")


def check_commit(chain: str, *fqns: str) -> None:
    """Refuse to write, in one commit, what lies outside the chain that is held, or in several units of it."""
    below = f"{chain}/"
    for fqn in fqns:
        if not fqn.startswith(below):
            check_within(fqn, chain)
    if "/" not in chain and fqns:
        one_unit(chain, fqns)


def one_unit(chain: str, fqns: Iterable[str]) -> str:
    """Give the unit that all of `fqns`, written under a lease on `chain`, lie in.

    Raises:
        StateError: they lie in several, or in none: a commit is one unit's.
    """
    units = {unit_of(fqn) for fqn in fqns} or {unit_of(chain)}
    if len(units) > 1:
        raise StateError(
            f"one commit cannot write to {' and '.join(sorted(units))}",
            hint="write to each unit in a commit of its own",
        )
    return check_unit(units.pop())


def check_log_name(name: str) -> str:
    """Give `name` back if a log can be called so: it must not lead out of its folder."""
    return _check_name(name, "a log's name")


def check_log_end(unit: str, log: LogEnd) -> LogEnd:
    """Give the end of a log back if a unit's logs can be called so."""
    check_unit(unit)
    for name in (log.name, *log.drop):
        check_log_name(name)
    return log


def check_backup_name(name: str) -> str:
    """Give `name` back if a backup can be called so."""
    return _check_name(name, "a backup's name")


def _check_name(name: str, what: str) -> str:
    if not _FILE_NAME.fullmatch(name) or name.endswith(ASIDE):
        raise StateError(f"{name!r} cannot be {what}", hint="use letters, digits, '-', '_' and '.'")
    return name


def lock_name(chain: str, *, folder: bool = False) -> str:
    """Give the path of a chain's lock (without `.lock`), or of the folder with those below it, from the locks'."""
    *above, name = check_chain(chain).split("/")
    parts = [_lock_folder(part) for part in above]
    return "/".join([*parts, _lock_folder(name) if folder else quote_scope(name)])


def _lock_folder(name: str) -> str:
    """Keep a folder of locks from being called like the lock or guard of another chain."""
    quoted = quote_scope(name)
    stem, dot, suffix = quoted.rpartition(".")
    return f"{stem}%2E{suffix}" if dot and suffix in ("lock", "guard", "new") else quoted


def unit_path(unit: str) -> str:
    """Give a unit's folder relative to the root."""
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
