"""Newer releases of the state service than there are, and what its databases say of their migrations."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
from pathlib import Path
from typing import Any

import httpx
from tests.integration.service.clients import TOKEN

from alchemy.stores import service

NEWEST = 99
"""The version that the newer release says it has."""
_LOAD = {"method": "load", "params": [0], "context": {"chain": ["notes", "prod"]}}
MIGRATED = [(1, "records, locks, blobs"), (2, "one more column"), (3, "one more table")]
_MORE = """
  { description: "one more column", steps: ["ALTER TABLE records ADD COLUMN note TEXT", "SELECT 1"] },
  { description: "one more table", steps: ["CREATE TABLE extra (note TEXT)", "INSERT INTO extra VALUES (1)"] },
];
const SCHEMA"""
_STEPS = re.compile(r"this\.run\((step|\"INSERT INTO migrations|\"UPDATE schema_version)")
_ENDLESS = """
  standing = 0;
  step(...given) {
    if (this.standing++ === AT) {
      console.error("stands before a step");
      this.run("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1e12) SELECT max(i) FROM n");
    }
    return this.run(...given);
  }
  migrate() {"""


def newer() -> str:
    """Give the service's module with two more migrations."""
    source = service.source()
    end = "\n];\nconst SCHEMA"
    assert source.count(end) == 1
    # Named columns, as a release that adds one would have it.
    source = source.replace("INTO records VALUES", "INTO records (scope, id, part, unit, origin, text) VALUES")
    source, count = re.subn(r"(?m)^const VERSION = \d+;", f"const VERSION = {NEWEST};", source)
    assert count == 1
    return source.replace(end, _MORE)


def standing(source: str, at: int) -> str:
    """Give a module whose objects never get past one of the statements of their migrations, counted from 0."""
    source, count = _STEPS.subn(r"this.step(\1", source)
    assert (count, source.count("\n  migrate() {")) == (3, 1)
    return source.replace("\n  migrate() {", _ENDLESS.replace("AT", str(at)))


def migrations(folder: Path) -> list[list[tuple[Any, ...]]]:
    """Give each object's table of migrations, of a service that is not running."""
    found = []
    for file in [file for file in folder.rglob("*.sqlite") if count_rows(file)]:
        with contextlib.closing(sqlite3.connect(file)) as connection:
            version = connection.execute("SELECT version FROM schema_version").fetchall()
            rows = connection.execute("SELECT version, description FROM migrations ORDER BY version").fetchall()
            assert version == [(len(rows),)]
            found.append(rows)
    return found


def count_rows(file: Path) -> int:
    """Say how many records an object's database has."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM records").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


class Traffic:
    """Reads `notes/prod` all the time.

    Args:
        url: of the service.
        rows: what is to be found.

    Attributes:
        answered: how many answers there were.
        unanswered: how many requests got none.
        wrong: answers that were others.
    """

    def __init__(self, url: str, rows: dict[str, str]) -> None:
        self.answered = 0
        self.unanswered = 0
        self.wrong: list[str] = []
        self._url = url
        self._rows = rows

    async def __call__(self) -> None:
        async with _client() as http:
            while True:
                try:
                    answer = await http.post(self._url, json=_LOAD)
                except httpx.TransportError:
                    self.unanswered += 1
                    await asyncio.sleep(0.01)
                    continue
                if answer.status_code != 200 or _rows(answer) != self._rows:
                    self.wrong.append(answer.text)
                self.answered += 1

    async def more(self, count: int = 20) -> None:
        """Return when so many more were answered."""
        end = self.answered + count
        while self.answered < end:
            await asyncio.sleep(0.01)


async def look(url: str) -> dict[str, str]:
    """Read `notes/prod` once."""
    async with _client() as http:
        return _rows(await http.post(url, json=_LOAD))


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False, timeout=60)


def _rows(answer: httpx.Response) -> dict[str, str]:
    return {fqn: text for fqn, text, _ in answer.json().get("result", {}).get("rows", [])}
