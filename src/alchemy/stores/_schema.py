"""Versions of a database's tables, and the steps from one to the next: one idea for every kind of database. Pure.

The database says which version its tables have (`schema_version`, one row) and when it came to each (`migrations`).
Both are looked at whenever it is opened, never taken from memory: another process may have changed them. What is
missing is done in order, each step in a transaction of its own, in which the version is read once more. A step bears to
be done again. Tables of a newer version are refused and not touched. See `docs/schema-versions.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from alchemy.errors import StateTooNew

FIRST = 0
"""The version of a database in which there is nothing yet."""


class Migration(NamedTuple):
    """A step to a version from the one before.

    Attributes:
        version: that the tables have afterwards.
        description: for people who look into the table `migrations`.
        statements: done in this order, in one transaction; each bears to be done again.
    """

    version: int
    description: str
    statements: Sequence[str]


def newest(migrations: Sequence[Migration]) -> int:
    """Give the version that this package works with."""
    return migrations[-1].version


def missing(version: int, migrations: Sequence[Migration], *, where: str) -> Sequence[Migration]:
    """Give the steps that lead from `version` to the newest.

    Raises:
        StateTooNew: the database is newer than this package; `where` it is.
    """
    if version > newest(migrations):
        raise StateTooNew(
            f"{where} has tables of version {version}; this alchemy knows versions up to {newest(migrations)}",
            hint="install a newer alchemy; nothing was changed",
        )
    return [step for step in migrations if step.version > version]
