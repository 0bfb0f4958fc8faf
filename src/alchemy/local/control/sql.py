"""Cutting SQL text into statements.

D1 runs every statement of a text; the simulator answers only for the last. So they are cut apart here.
"""

from __future__ import annotations

import re
import sqlite3

# What a semicolon in it does not end: string, quoted names, comments. Unclosed ones run to the end of the text.
_TOKEN = re.compile(
    r"""'(?:[^']|'')*(?:'|\Z) | "(?:[^"]|"")*(?:"|\Z) | `(?:[^`]|``)*(?:`|\Z) | \[[^\]]*(?:\]|\Z)
    | --[^\n]* | /\*(?:(?!\*/).)*(?:\*/|\Z) | (?P<end>;) | [^'"`\[;/-]+ | .""",
    re.VERBOSE | re.DOTALL,
)
_BLANK = re.compile(r"(?:\s|;|--[^\n]*(?:\n|\Z)|/\*(?:(?!\*/).)*(?:\*/|\Z))*", re.DOTALL)


def statements(text: str) -> list[str]:
    """Return the statements in order, each with its semicolon when it had one; empty ones are left out.

    The body of a trigger is part of its statement.
    """
    found: list[str] = []
    start = 0
    for token in _TOKEN.finditer(text):
        # SQLite itself says whether a trigger is still open; everything else is complete at its first semicolon.
        if token.group("end") and sqlite3.complete_statement(text[start : token.end()]):
            found.append(text[start : token.end()])
            start = token.end()
    found.append(text[start:])
    return [statement.strip() for statement in found if not _BLANK.fullmatch(statement)]
