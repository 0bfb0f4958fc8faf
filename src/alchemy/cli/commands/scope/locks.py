"""`alchemy scope locks`, and `list-locks`, which is the same: who holds what."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from alchemy.cli.commands.scope.arguments import takes
from alchemy.cli.options import given

if TYPE_CHECKING:
    from alchemy.upkeep.locks import Lock


@click.command("locks")
@takes(chain=False)
def command(chain: str | None, as_json: bool, **options: Any) -> int:
    """List who holds what.

    Who holds CHAIN, something in it or what it lies in; without it all locks there are. Locks in the stores that
    nested scopes have of their own are listed with the store.
    """
    return show(chain, options, as_json=as_json)


@click.command("list-locks")
@takes(chain=False)
def same_command(chain: str | None, as_json: bool, **options: Any) -> int:
    """List who holds what: the same as locks.

    Who holds CHAIN, something in it or what it lies in; without it all locks there are.
    """
    return show(chain, options, as_json=as_json)


def show(chain: str | None, options: dict[str, Any], *, as_json: bool) -> int:
    """Write the locks; give the exit code."""
    import msgspec

    from alchemy.cli import terminal
    from alchemy.cli.finding import find_units, looking
    from alchemy.cli.places import check_chain, find_place
    from alchemy.cli.programs import shown_store
    from alchemy.upkeep.locks import locks_of

    name = check_chain(chain) if chain is not None else None
    place = find_place(given(options), operation="scope locks")
    found = looking(place, lambda stores: locks_of(stores, name))
    for lock in found:
        if as_json:
            row = {"chain": lock.lease.unit, **msgspec.to_builtins(lock.lease), "store": lock.store}
            click.echo(msgspec.json.encode(row))
        else:
            where = f"  in {shown_store(lock.store)}" if lock.is_elsewhere else ""
            click.echo(terminal.clean(f"{lock.lease.unit}{where}"))
            click.echo(terminal.clean(f"  {in_words(lock)}"))
    if not found:
        looking(place, lambda stores: find_units(stores.first, name))  # raises when there is no such chain
    if not found and not as_json:
        terminal.note(f"nobody holds {name}" if name else "nobody holds anything")
    return 0


def in_words(lock: Lock) -> str:
    """Say who holds it, since when, and for how long others would wait for a sign of life."""
    from alchemy.cli.columns import age, seconds_of
    from alchemy.cli.render import duration

    lease = lock.lease
    left = lease.deadline - time.time()
    until = f"renewed, expires in {duration(left)}" if left > 0 else f"expired {age(lease.deadline)} ago"
    return f"{lease.owner}, for {age(seconds_of(lease.since))}, {until}"
