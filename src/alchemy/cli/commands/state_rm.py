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
    from alchemy.cli import terminal
    from alchemy.cli.commands.scope.running import carry_out
    from alchemy.cli.finding import find, looking
    from alchemy.cli.places import check_chain, find_place, is_unit
    from alchemy.upkeep.forgetting import forget
    from alchemy.upkeep.stores import Stores

    name = check_chain(fqn)
    place = find_place(given(options), operation="rm")
    if not yes and not is_unit(name) and "/" in name:

        async def look(stores: Stores) -> list[Record]:
            found = (await find(stores, name)).records.values()
            return [record for record in found if not record.is_scope]

        if not _is_wanted(name, looking(place, look)):
            return 1
    left: list[Record] = []

    async def work() -> None:
        left.extend(await forget(name, **place.store))

    code = carry_out(place, work, as_json=False)
    if left and not place.settings.quiet:
        click.echo("left behind:")
        for line in _rows(left):
            click.echo(terminal.clean(f"  {line}"))
    return code


def _rows(records: list[Record]) -> list[str]:
    from alchemy.upkeep.reset import objects_of

    return [f"{record.fqn}  {words}" for record in records for words in objects_of(record)]


def _is_wanted(name: str, inside: list[Record]) -> bool:
    from alchemy.cli.asking import is_wanted
    from alchemy.cli.columns import plural

    count = plural(len(inside), "resource")
    return is_wanted(
        f"This forgets {count} for good, and leaves behind:",
        _rows(inside),
        "Forget?",
        refusal=f"{name} has {count}, and there is no terminal to ask whether to forget: add --yes",
        kept="nothing was forgotten",
    )
