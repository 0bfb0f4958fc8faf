"""What a program says of itself is found in its text, without running it."""

from __future__ import annotations

import pytest

from alchemy.cli.literals import Opened, opened_in

IMPORT = "from alchemy import alchemy\n"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (IMPORT + 'alchemy("notes")', Opened("notes")),
        (
            IMPORT + 'async def main():\n    async with alchemy("notes", stage="prod") as app: pass',
            Opened("notes", {"stage": "prod"}),
        ),
        (
            IMPORT + 'async def main():\n    app = await alchemy("notes", state_dir=".s")',
            Opened("notes", {"state_dir": ".s"}),
        ),
        ("from alchemy import alchemy as a\na('notes')", Opened("notes")),
        ("from alchemy import Resource, alchemy\nalchemy('notes')", Opened("notes")),
        (
            "import alchemy\nalchemy.alchemy('notes', state_store='file:///x')",
            Opened("notes", {"state_store": "file:///x"}),
        ),
        ("import alchemy as al\nal.alchemy('notes')", Opened("notes")),
        ("async def main():\n    from alchemy import alchemy\n    alchemy('notes')", Opened("notes")),
        (IMPORT + 'APP = "notes"\nSTAGE: str = "prod"\nalchemy(APP, stage=STAGE)', Opened("notes", {"stage": "prod"})),
        (IMPORT + "alchemy('notes', local=True)", Opened("notes", {"local": True})),
        (IMPORT + "alchemy(app='notes')", Opened("notes")),
        (IMPORT + "alchemy('notes', stage=None, adopt=True)", Opened("notes")),
    ],
)
def test_what_is_written_plainly_is_found(source: str, expected: Opened) -> None:
    """Names under which the package is imported, and constants of the module, are followed."""
    assert opened_in(source) == [expected]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ('alchemy(f"notes-{x}")', Opened(None)),
        ("alchemy(name())", Opened(None)),
        ('alchemy("notes", stage=x())', Opened("notes", computed=frozenset({"stage"}), hidden=frozenset({"stage"}))),
        (
            'alchemy("notes", stage="a" + "b")',
            Opened("notes", computed=frozenset({"stage"}), hidden=frozenset({"stage"})),
        ),
        (
            'alchemy("notes", stage="prod", **more)',
            Opened("notes", {"stage": "prod"}, frozenset({"state_dir", "state_store", "local"})),
        ),
        ('A = "x"\nA = "y"\nalchemy(A)', Opened(None)),
    ],
)
def test_what_is_computed_is_not_guessed(call: str, expected: Opened) -> None:
    """A value that depends on running the program is known to be computed, not taken for something else."""
    assert opened_in(IMPORT + call) == [expected]


def test_other_calls_do_not_count() -> None:
    """Only `alchemy` of this package opens an application: no method of it, and no other function of the name."""
    assert opened_in('def alchemy(name): ...\nalchemy("not ours")') == []
    assert opened_in('from .alchemy import alchemy\nalchemy("not ours")') == []
    assert opened_in(IMPORT + 'alchemy.run("nested")\nalchemy.secret("value")\nalchemy.test("id")') == []


def test_several_are_listed_in_order() -> None:
    """Every application of the program, in the order of its text."""
    assert [each.app for each in opened_in(IMPORT + 'alchemy("b")\nalchemy("a")')] == ["b", "a"]


def test_a_broken_program_is_a_syntax_error() -> None:
    """Whoever asks decides what to do about it."""
    with pytest.raises(SyntaxError):
        opened_in("async def main(:")
