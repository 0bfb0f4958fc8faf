"""D1 migrations: a folder of SQL files, each applied once, recorded as wrangler records them.

```sql
CREATE TABLE d1_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, applied_at TIMESTAMP …)
```

`name` is the file's. A file and its row go in one query, which D1 runs as one transaction: a migration is applied and
recorded, or neither.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from alchemy.clients.cloudflare import Cloudflare
from alchemy.clients.cloudflare_errors import calling
from alchemy.errors import DeclarationError, ProviderError
from alchemy.provider import Context
from alchemy.state import Json

_TABLE = (
    "CREATE TABLE IF NOT EXISTS d1_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, "
    "applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL);"
)
_APPLIED = "SELECT name FROM d1_migrations ORDER BY id;"
_NOTHING = re.compile(r"(?:\s|--[^\n]*|/\*.*?\*/)*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file.

    Attributes:
        name: the file's, with its suffix.
        sql: what it holds.
        digest: SHA-256 of its bytes, in hexadecimal.
    """

    name: str
    sql: str
    digest: str


def read_folder(folder: str | Path) -> list[Migration]:
    """Read the `.sql` files of a folder, in the order in which they are applied: that of their names.

    Raises:
        DeclarationError: there is no such folder, or a file of it cannot be read as UTF-8 text.
    """
    path = Path(folder)
    if not path.is_dir():
        raise DeclarationError(
            f"the migrations folder {str(folder)!r} {'is not a folder' if path.exists() else 'does not exist'}",
            hint=f"create it, or correct migrations_dir; it is looked for from {Path.cwd()}",
        )
    files = sorted((file for file in path.iterdir() if file.suffix == ".sql" and file.is_file()), key=lambda f: f.name)
    return [_read(file) for file in files]


def _read(file: Path) -> Migration:
    try:
        content = file.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DeclarationError(f"the migration {str(file)!r} cannot be read: {error}") from error
    return Migration(file.name, text, hashlib.sha256(content).hexdigest())


def fingerprint(migrations: Iterable[Migration]) -> Mapping[str, Json]:
    """Give what to compare a folder by."""
    return {"migrations": {each.name: each.digest for each in migrations}}


def pending(migrations: Sequence[Migration], applied: Iterable[str]) -> list[Migration]:
    """Give those that are not recorded yet, in order. Pure."""
    known = set(applied)
    return [each for each in migrations if each.name not in known]


def edited(migrations: Sequence[Migration], applied: Iterable[str], digests: Mapping[str, str]) -> list[str]:
    """Name the applied files that do not hold any more what was applied, as far as `digests` remembers. Pure."""
    known = set(applied)
    return [
        each.name for each in migrations if each.name in known and digests.get(each.name, each.digest) != each.digest
    ]


def script(migration: Migration) -> str:
    """Give a migration's SQL with the statement that records it. Pure."""
    name = migration.name.replace("'", "''")
    # The table may be one that Alchemy for TypeScript has made, which gives no time by itself.
    record = f"INSERT INTO d1_migrations (name, applied_at) VALUES ('{name}', CURRENT_TIMESTAMP);"
    if _NOTHING.fullmatch(migration.sql):
        return record
    import sqlite3

    # A last statement without its semicolon would run into the next one, and so would one before a comment.
    end = "\n" if sqlite3.complete_statement(migration.sql) else "\n;\n"
    return f"{migration.sql}{end}{record}"


async def migrate(api: Cloudflare, ctx: Context[Any], database_id: str, migrations: Sequence[Migration]) -> None:
    """Apply what is not applied yet. Safe to repeat; after a failure what came before it stays applied and recorded.

    Raises:
        ProviderError: a migration failed; names the file, with Cloudflare's message.
        Gone: there is no such database.
    """
    applied = await _applied(api, database_id)
    digests = cast("dict[str, str]", ctx.data.setdefault("migrations", {}))
    for name in edited(migrations, applied, digests):
        ctx.log(f"warning: the migration {name} was changed after it was applied; it is not applied again")
    for each in migrations:
        if each.name in applied:
            digests.setdefault(each.name, each.digest)
    for each in pending(migrations, applied):
        await _apply(api, database_id, each)
        digests[each.name] = each.digest
        ctx.log(f"applied the migration {each.name}")


async def _applied(api: Cloudflare, database_id: str) -> list[str]:
    with calling("read the table d1_migrations", service="d1"):
        page = await api.sdk.d1.database.query(database_id, account_id=api.account_id, sql=f"{_TABLE}\n{_APPLIED}")
    rows = (page.result[-1].results or []) if page.result else []
    return [str(row["name"]) for row in cast("list[dict[str, Any]]", rows)]


async def _apply(api: Cloudflare, database_id: str, migration: Migration) -> None:
    try:
        with calling(f"apply the migration {migration.name}", service="d1"):
            await api.sdk.d1.database.query(database_id, account_id=api.account_id, sql=script(migration))
    except ProviderError as error:
        if error.code == 7500:
            error.hint = f"correct {migration.name}: nothing of it was applied, and those before it stay applied"
        raise
