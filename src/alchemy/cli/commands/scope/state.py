"""`alchemy scope state`: the records themselves."""

from __future__ import annotations

from typing import Any

import click

from alchemy.cli.commands.scope.arguments import takes
from alchemy.cli.options import given


@click.command("state")
@takes(chain=True, as_json="Write each as one line of JSON.")
def command(chain: str, as_json: bool, **options: Any) -> int:
    """Show the records of a scope as JSON.

    Those of CHAIN, such as notes/prod, and of everything in it; secrets are shown as ***.
    """
    import msgspec

    from alchemy.cli.commands.state import mask, tell_sealed
    from alchemy.cli.finding import find, looking, tell
    from alchemy.cli.places import find_place
    from alchemy.state import to_json

    place = find_place(given(options), operation="scope state")
    contents = looking(place, lambda stores: find(stores, chain))
    for record in contents.records.values():
        line = msgspec.json.encode(mask(to_json(record)))
        click.echo(line if as_json else msgspec.json.format(line, indent=2))
    sealed = tell_sealed(to_json(record) for record in contents.records.values())
    return tell(contents.unreadable) or sealed
