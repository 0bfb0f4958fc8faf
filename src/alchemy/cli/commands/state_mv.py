"""`alchemy state mv`: another name for what is in state."""

from __future__ import annotations

from typing import Any

import click

from alchemy.cli.options import given, launch_options


@click.command("mv")
@click.argument("old")
@click.argument("new")
@launch_options("local", "state_dir", "state_store", "lock_timeout", "quiet", "verbose")
def command(old: str, new: str, **options: Any) -> int:
    """Rename OLD, a resource or a scope with everything in it, to NEW, in state.

    Both are full names, such as notes/prod/api, of one stage. Nothing in the provider is touched. Change the program
    likewise: what it does not find under its name, the next deploy creates, and what it does not name it destroys.
    """
    from alchemy.cli.commands.scope.running import carry_out
    from alchemy.cli.places import check_chain, find_place
    from alchemy.cli.terminal import clean
    from alchemy.upkeep.renaming import rename

    before, after = check_chain(old), check_chain(new)
    place = find_place(given(options), operation="mv")
    moved: list[tuple[str, str]] = []

    async def work() -> None:
        moved.extend(await rename(before, after, **place.store))

    code = carry_out(place, work, as_json=False)
    if not place.settings.quiet:
        for was, now in moved:
            click.echo(clean(f"{was} -> {now}"))
    return code
