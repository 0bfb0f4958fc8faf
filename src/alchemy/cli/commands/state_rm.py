"""`alchemy state rm`: forget something for good, and leave it where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from alchemy.cli.options import given, launch_options

if TYPE_CHECKING:
    from alchemy.state import Record


@click.command("rm")
@click.argument("fqn")
@launch_options("local", "state_dir", "state_store", "lock_timeout", "quiet", "verbose")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def command(fqn: str, yes: bool, **options: Any) -> int:
    """Forget FQN, a resource or a scope with everything in it, and destroy nothing.

    What is left behind in the provider is listed: nobody looks after it any more. To have the next deploy find it
    again, use `alchemy scope reset`.
    """
    from alchemy.cli.commands.scope.running import carry_out
    from alchemy.cli.finding import find, looking
    from alchemy.cli.forgetting import may_forget, name_left
    from alchemy.cli.places import check_chain, find_place, is_unit
    from alchemy.names import unit_of
    from alchemy.upkeep.forgetting import forget, remembered
    from alchemy.upkeep.stores import Stores

    name = check_chain(fqn)
    place = find_place(given(options), operation="rm")
    if not yes and not is_unit(name) and "/" in name:

        async def look(stores: Stores) -> list[Record]:
            inside = remembered(await stores.contents(unit_of(name)), name)
            if not inside:
                await find(stores, name)  # says so, unless it is a scope without resources
            return inside

        if not may_forget(name, looking(place, look), how="for good"):
            return 1
    left: list[Record] = []

    async def work() -> None:
        left.extend(await forget(name, **place.store))

    code = carry_out(place, work, as_json=False)
    if left and not place.settings.quiet:
        name_left(left, "left behind:")
    return code
