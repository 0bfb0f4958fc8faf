"""`alchemy scope`: look into scopes, and put them in order, without running the program."""

from __future__ import annotations

import click

from alchemy.cli.commands.scope import (
    cleanup,
    inspect,
    locks,
    logs,
    overview,
    rebuild,
    reset,
    restore,
    state,
    unlock,
    validate,
)
from alchemy.cli.entry import Commands


@click.group("scope", cls=Commands)
def command() -> None:
    """Look into scopes, and put them in order when something went wrong."""


for each in (
    overview.command,
    inspect.command,
    state.command,
    locks.command,
    locks.same_command,
    unlock.command,
    logs.command,
    validate.command,
    cleanup.command,
    reset.command,
    restore.command,
    rebuild.command,
):
    command.add_command(each)
