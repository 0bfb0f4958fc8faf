"""Asking a person before something is destroyed or forgotten."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from alchemy.cli import terminal

SHOWN = 20


def is_wanted(heading: str, names: Sequence[str], question: str, *, refusal: str, kept: str) -> bool:
    """Show what will be done, and ask a person whether that is meant.

    Args:
        names: what it will be done to; the first `SHOWN` are shown.
        refusal: what to say where nobody can be asked.
        kept: what to say when the answer is no.

    Raises:
        UsageError: there is no terminal to ask on.
    """
    if not sys.stdin.isatty():
        raise click.UsageError(refusal)
    terminal.note(heading)
    for name in names[:SHOWN]:
        terminal.note(f"  {name}")
    if len(names) > SHOWN:
        terminal.note(f"  … and {len(names) - SHOWN} more")
    wanted = click.confirm(question, err=True)
    if not wanted:
        terminal.note(kept)
    return wanted
