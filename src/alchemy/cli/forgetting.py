"""Asking before something is forgotten, and naming what is left behind in the provider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from alchemy.state import Record


def may_forget(name: str, inside: Sequence[Record], *, how: str) -> bool:
    """Show what would be left behind, and ask a person whether that is meant.

    Args:
        inside: the resources at `name` and below it.
        how: it is forgotten: some words.
    """
    from alchemy.cli.asking import is_wanted
    from alchemy.cli.columns import plural

    count = plural(len(inside), "resource")
    return is_wanted(
        f"This forgets {count} {how}, and leaves behind:",
        _objects(inside),
        "Forget?",
        refusal=f"{name} has {count}, and there is no terminal to ask whether to forget: add --yes",
        kept="nothing was forgotten",
    )


def name_left(left: Sequence[Record], heading: str) -> None:
    """Name what stays in the provider, below a heading."""
    from alchemy.cli.terminal import clean

    click.echo(heading)
    for line in _objects(left):
        click.echo(clean(f"  {line}"))


def _objects(records: Sequence[Record]) -> list[str]:
    """Give a line for each object that a record stands for."""
    from alchemy.upkeep.reset import objects_of

    return [f"{record.fqn}  {words}" for record in records for words in objects_of(record)]
