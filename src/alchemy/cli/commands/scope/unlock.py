"""`alchemy scope unlock`: take a lock from a holder that will not give it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from alchemy.cli.commands.scope.arguments import takes
from alchemy.cli.options import given

if TYPE_CHECKING:
    from alchemy.upkeep.locks import Lock


@click.command("unlock")
@takes(chain=True, as_json="Write each lock that was taken away as a line of JSON.")
@click.option("--force", is_flag=True, help="Also take it from a holder that still shows signs of life.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def command(chain: str, as_json: bool, force: bool, yes: bool, **options: Any) -> int:
    """Take a lock away from its holder.

    That of CHAIN, such as notes/prod, and those in it; not one on what CHAIN lies in. Who holds it is shown first. A
    holder that has died loses its lock by itself. One that still renews it is asked to stop with Ctrl-C; --force takes
    the lock from it, and its next write is refused.
    """
    from alchemy.cli import terminal
    from alchemy.cli.finding import find_units, looking
    from alchemy.cli.places import check_chain, find_place
    from alchemy.errors import LockedError
    from alchemy.names import is_within
    from alchemy.upkeep.locks import break_locks, locks_of

    name = check_chain(chain)
    place = find_place(given(options), operation="scope unlock")
    around = looking(place, lambda stores: locks_of(stores, name))
    found = [lock for lock in around if is_within(lock.lease.unit, name)]
    if around and not found:
        lease = around[0].lease
        raise LockedError(
            f"{name} has no lock of its own, but lies in {lease.unit}, which is held: {_told(around[0])}",
            unit=lease.unit,
            owner=str(lease.owner),
            hint=f"to take that whole lock: alchemy scope unlock {lease.unit}",
        )
    if not found:
        looking(place, lambda stores: find_units(stores.first, name))
        terminal.note(f"nobody holds {name}: there is nothing to unlock")
        return 0
    alive = [lock for lock in found if lock.is_live]
    if alive and not force:
        lease = alive[0].lease
        raise LockedError(
            f"{lease.unit} is held by a run that is still alive: {_told(alive[0])}",
            unit=lease.unit,
            owner=str(lease.owner),
            hint=f"stop that run with Ctrl-C, or take the lock from it: alchemy scope unlock {name} --force",
        )
    if not yes and not _is_wanted(name, found):
        return 1
    for lock in looking(place, lambda stores: break_locks(stores, found)):
        _report(lock, as_json=as_json)
    return 0


def _told(lock: Lock) -> str:
    from alchemy.cli.commands.scope.locks import in_words

    return in_words(lock)


def _is_wanted(name: str, found: list[Lock]) -> bool:
    from alchemy.cli.asking import is_wanted

    return is_wanted(
        f"This takes {name} from:",
        [f"{lock.lease.unit}  {_told(lock)}" for lock in found],
        "Unlock?",
        refusal=f"{name} is held by {found[0].lease.owner}, and there is no terminal to ask on: add --yes",
        kept="nothing was unlocked",
    )


def _report(lock: Lock, *, as_json: bool) -> None:
    import msgspec

    from alchemy.cli import terminal

    if as_json:
        row = {"chain": lock.lease.unit, **msgspec.to_builtins(lock.lease), "store": lock.store}
        click.echo(msgspec.json.encode(row))
    else:
        click.echo(terminal.clean(f"{lock.lease.unit} was taken from {lock.lease.owner}"))
