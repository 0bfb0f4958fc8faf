"""`alchemy state resolve`: say what became of an object that cannot be looked for."""

from __future__ import annotations

from typing import Any

import click

from alchemy.cli.options import given, launch_options


@click.command("resolve")
@click.argument("fqn")
@click.option(
    "--id", "ids", multiple=True, metavar="ID", help="It exists, and this is its id; or NAME=VALUE, an output."
)
@click.option("--gone", is_flag=True, help="It does not exist.")
@launch_options("local", "state_dir", "state_store", "lock_timeout", "quiet", "verbose")
def command(fqn: str, ids: tuple[str, ...], gone: bool, **options: Any) -> int:
    """Say what became of FQN, such as notes/prod/api, whose record was left half-way.

    A run that was cut short may not know whether an object exists that its provider cannot look for. Look it up, and
    say its id, or that it is gone; the next run goes on from there. Nothing in the provider is touched.
    """
    from alchemy.cli import terminal
    from alchemy.cli.commands.scope.running import carry_out
    from alchemy.cli.places import check_chain, find_place, held_by, is_unit
    from alchemy.upkeep.resolving import resolve

    if gone == bool(ids):
        raise click.UsageError("say one of the two: --id ID, or --gone")
    name = check_chain(fqn)
    if is_unit(name) or not is_unit(held_by(name)):
        raise click.UsageError(f"{name} is no resource: name it as `alchemy state list` does")
    place = find_place(given(options), operation="resolve")
    said: list[str] = []

    async def work() -> None:
        said.append(await resolve(name, ids, **place.store))

    code = carry_out(place, work, as_json=False)
    for line in said:
        click.echo(terminal.clean(line))
    return code
