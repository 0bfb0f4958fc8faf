"""`alchemy scope validate`: find everything that is wrong with what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from alchemy.cli.commands.scope.arguments import takes
from alchemy.cli.options import given

if TYPE_CHECKING:
    from alchemy.ports import Problem
    from alchemy.upkeep.stores import Stores


@click.command("validate")
@takes(chain=False, as_json="Write each problem as a line of JSON.")
def command(chain: str | None, as_json: bool, **options: Any) -> int:
    """Check whether what is stored is whole.

    That of CHAIN, such as notes/prod, or all there is: every record, what records refer to, their order, the log of
    commits and the backups. Of each problem, the file and what to do about it; the exit code is 1 when there is one.
    """
    import msgspec

    from alchemy.cli import terminal
    from alchemy.cli.columns import plural
    from alchemy.cli.finding import looking
    from alchemy.cli.places import check_chain, find_place

    name = check_chain(chain) if chain is not None else ""
    place = find_place(given(options), operation="scope validate")
    units, found = looking(place, lambda stores: _look(stores, name))
    for problem in found:
        if as_json:
            click.echo(msgspec.json.encode(problem))
        else:
            click.echo(terminal.clean(problem.where))
            click.echo(terminal.clean(f"  {_sentence(problem)}"))
            click.echo(terminal.clean(f"  {problem.remedy}"))
    if found:
        terminal.note(f"{plural(len(found), 'problem')} in {name or 'the state'}")
        return 1
    if not as_json:
        click.echo(f"{name or ', '.join(units) or 'the state'}: nothing is wrong")
    return 0


def _sentence(problem: Problem) -> str:
    about = f"{problem.fqn}: " if problem.fqn and problem.fqn not in problem.what else ""
    return f"{about}{problem.what}"


async def _look(stores: Stores, name: str) -> tuple[list[str], list[Problem]]:
    from alchemy.cli.finding import find, find_units
    from alchemy.errors import StateError
    from alchemy.upkeep.validate import problems_in

    units: list[str] = []
    try:
        units = await find_units(stores.first, name or None)
        if name:
            await find(stores, name)  # for a name that does not exist there is an error, not a clean bill of health
    except StateError:
        pass  # it is among the problems
    return units, await problems_in(stores, units, name)
