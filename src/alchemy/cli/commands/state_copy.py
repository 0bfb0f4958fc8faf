"""`alchemy state copy`: from one store to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from alchemy.cli.options import given, launch_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alchemy.cli.places import Place
    from alchemy.upkeep.copying import Copied


@click.command("copy")
@click.argument("chain", required=False)
@click.option("--from", "source", metavar="URL", help="The store to copy from; the project's own if it is not said.")
@click.option("--to", "target", metavar="URL", required=True, help="The store to copy to.")
@launch_options("local", "lock_timeout")
def command(chain: str | None, source: str | None, target: str, **options: Any) -> None:
    """Copy state to another store: CHAIN, an application, a stage or a test, or all there is.

    What is copied is locked on both sides, and compared record by record when it is there. The source is left as it
    is. A stage is copied whole or not at all: after an interruption, say the same again.
    """
    import asyncio
    from dataclasses import replace

    from alchemy.cli import terminal
    from alchemy.cli.columns import plural
    from alchemy.cli.launching import tell_notices
    from alchemy.cli.places import find_place

    place = find_place(given(options), operation="copy", stores=[url for url in (source, target) if url])
    if source is not None:  # stronger here than what the program's text says
        place = replace(place, settings=replace(place.settings, state_store=source, said=frozenset({"state_store"})))
    tell_notices()
    url, copied = asyncio.run(_copy(place, target, chain))
    if not copied:
        terminal.note("there is nothing to copy")
        return
    for one in copied:
        what = f"{plural(one.records, 'record')} and {plural(one.backups, 'backup')}"
        click.echo(f"{one.unit}: {what} {'were there already' if one.already else 'copied'}")
        for left in one.left_out:
            click.echo(f"  not copied: {left}")
    terminal.note(f"the source is unchanged; to go on with the copy, set state_store to {url}")


async def _copy(place: Place, target: str, chain: str | None) -> tuple[str, Sequence[Copied]]:
    from alchemy.cli.finding import find_whole_units
    from alchemy.cli.places import opened_store
    from alchemy.stores import open_store
    from alchemy.stores._sealed import plain
    from alchemy.upkeep.copying import copy

    to = open_store(target, root=place.root)
    async with opened_store(place) as source:
        units = await find_whole_units(source, chain)
        await to.init()
        try:
            return to.url, await copy(plain(source), to, units, place.settings)
        finally:
            await to.deinit()
