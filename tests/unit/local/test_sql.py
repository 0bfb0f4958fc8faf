"""Cutting SQL into statements."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alchemy.local.control.sql import statements


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (" ; ;; -- nothing\n /* nothing */ ;", []),
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1; SELECT 2;", ["SELECT 1;", "SELECT 2;"]),
        ("SELECT ';', \"a;b\", [c;d], `e;f`; SELECT 2", ["SELECT ';', \"a;b\", [c;d], `e;f`;", "SELECT 2"]),
        ("SELECT 'it''s; fine'; SELECT 2", ["SELECT 'it''s; fine';", "SELECT 2"]),
        ("-- a; b\nSELECT 1; /* c; d */ SELECT 2", ["-- a; b\nSELECT 1;", "/* c; d */ SELECT 2"]),
        ("SELECT 1 - 2 / 3; SELECT 4", ["SELECT 1 - 2 / 3;", "SELECT 4"]),
        ("SELECT 'never closed; SELECT 2", ["SELECT 'never closed; SELECT 2"]),
        (
            "create temp trigger t after insert on x begin select 1; select 2; end; select 3",
            ["create temp trigger t after insert on x begin select 1; select 2; end;", "select 3"],
        ),
    ],
)
def test_statements_are_found(text: str, found: list[str]) -> None:
    """Semicolons in strings, names, comments and triggers end nothing; what is empty is left out."""
    assert statements(text) == found


_PIECES = st.sampled_from(["SELECT 1", ";", "'a;b'", "--x;\n", "/*;*/", " ", '"', "'", "[", "]", "`", "END", "\n", "-"])


@given(st.lists(_PIECES, max_size=12).map("".join))
def test_nothing_is_lost(text: str) -> None:
    """Whatever the text, its statements in order are the text, save for blanks and comments between them."""
    rest = text
    for statement in statements(text):
        before, found, rest = rest.partition(statement)
        assert found == statement
        assert statements(before) == []
    assert statements(rest) == []


def test_a_dump_is_cut_as_sqlite_reads_it() -> None:
    """A dump with awkward values, cut and run one by one, gives the same database."""
    source = sqlite3.connect(":memory:")
    source.executescript(
        'CREATE TABLE t (a TEXT, "odd;name" TEXT); CREATE INDEX i ON t (a);'
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET a = a || ';'; SELECT 1; END;"
    )
    source.executemany("INSERT INTO t VALUES (?, ?)", [("a';'b", "--;"), ("/*;", "*/"), ("\n;\n", '"')])
    dump = "\n".join(source.iterdump())
    copy = sqlite3.connect(":memory:", isolation_level=None)
    for statement in statements(dump):
        copy.execute(statement)
    assert copy.execute("SELECT * FROM t").fetchall() == source.execute("SELECT * FROM t").fetchall()
    source.close()
    copy.close()


def test_semicolons_in_a_string_are_not_tried_one_by_one() -> None:
    """SQLite is asked once a statement, not once for each semicolon in a long string."""
    asked: list[str] = []

    def complete(text: str) -> bool:
        asked.append(text)
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "complete_statement", complete)
        assert len(statements(f"INSERT INTO t VALUES ('{';' * 1000}');" * 3)) == 3
    assert len(asked) == 3
