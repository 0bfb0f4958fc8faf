"""`alchemy scope restore`: bring back what a backup has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from alchemy.cli.commands.scope.arguments import takes
from alchemy.cli.options import given

if TYPE_CHECKING:
    from alchemy.ports import StateStore
    from alchemy.upkeep.restore import Merge
    from alchemy.upkeep.stores import Stores


@click.command("restore")
@takes("quiet", "verbose", chain=True, as_json="Write every event, or with --list every backup, as a line of JSON.")
@click.option("--backup", "backup", metavar="NAME", help="The backup to restore, as --list names it.")
@click.option("--overwrite", is_flag=True, help="Where a record differs, take the backup's.")
@click.option("--list", "listed", is_flag=True, help="List the backups there are, newest last.")
def command(chain: str, as_json: bool, backup: str | None, overwrite: bool, listed: bool, **options: Any) -> int:
    """Bring back what a backup has and state has not.

    Of CHAIN, such as notes/prod. Nothing that is there now is dropped, and it is backed up first; where it differs from
    the backup, that is told, and with --overwrite the backup's is taken, if it tells of the same object. The next run
    looks at what was restored before it believes it. A state that is damaged is put aside first.
    """
    from alchemy.cli.commands.scope.running import carry_out
    from alchemy.cli.finding import looking
    from alchemy.cli.places import check_chain, find_place, held_by
    from alchemy.upkeep.restore import restore

    if listed == (backup is not None):
        raise click.UsageError("say --backup NAME, or --list to see which there are")
    if listed and overwrite:
        raise click.UsageError("--overwrite goes with --backup NAME")
    name = check_chain(chain)
    unit = held_by(name)
    place = find_place(given(options), operation="restore")

    async def look(stores: Stores) -> None:
        store = await _store_of(stores, name, unit)
        names = await _backups(store, name, unit)
        if listed:
            await _list(store, unit, names, as_json=as_json)
        elif backup not in names:
            _unknown(name, unit, str(backup), names)

    looking(place, look)
    if backup is None:
        return 0
    merges: list[Merge] = []

    async def work() -> None:
        merges.append(await restore(unit, name, backup, overwrite=overwrite, **place.store))

    code = carry_out(place, work, as_json=as_json)
    if not as_json and not place.settings.quiet:
        for merge in merges:
            _report(merge)
    return code


async def _store_of(stores: Stores, name: str, unit: str) -> StateStore:
    """Give the store that a chain is kept in: the first, or that of the nearest scope with one of its own."""
    from alchemy.errors import StateError
    from alchemy.names import is_within

    try:
        contents = await stores.contents(unit)
    except StateError:
        return stores.first
    holders = [fqn for fqn in contents.kept_in if is_within(name, fqn)]
    return await stores.open(contents.kept_in[max(holders, key=len)]) if holders else stores.first


async def _backups(store: StateStore, name: str, unit: str) -> list[str]:
    from alchemy.cli.finding import find_units
    from alchemy.cli.places import is_unit
    from alchemy.errors import ConfigurationError

    if not is_unit(unit):
        units = await find_units(store, name)
        raise ConfigurationError(f"{name} is not a stage", hint=f"say which one: {', '.join(units)}")
    names = list(await store.backups(unit))
    if not names:
        await find_units(store, name)
        raise ConfigurationError(
            f"{unit} has no backup in {store.url}", hint="every run that changes a stage makes one before it does"
        )
    return names


async def _list(store: StateStore, unit: str, names: list[str], *, as_json: bool) -> None:
    import msgspec

    from alchemy.cli.columns import age, aligned, plural, seconds_of
    from alchemy.errors import StateDamaged, StateError
    from alchemy.history import decode_backup

    rows: list[tuple[str, ...]] = []
    for name in names:
        try:
            backup = decode_backup(await store.read_backup(unit, name), where=name)
        except StateError as error:
            what = "damaged" if isinstance(error, StateDamaged) else "not readable"
            rows.append((name, what, error.message, ""))
            data: dict[str, Any] = {"name": name, "error": error.message}
        else:
            count = sum(not record.is_scope for record in backup.records.values())
            made = age(seconds_of(backup.made_at))
            rows.append((name, plural(count, "resource"), f"before a {backup.operation}", f"{made} ago"))
            data = {"name": name, "resources": count, "operation": backup.operation, "made_at": backup.made_at}
        if as_json:
            click.echo(msgspec.json.encode(data))
    if not as_json:
        for line in aligned(rows):
            click.echo(line)


def _unknown(name: str, unit: str, backup: str, names: list[str]) -> None:
    from alchemy.cli.finding import near
    from alchemy.errors import ConfigurationError

    have = near(backup, names) or f"there are {', '.join(reversed(names))}"
    raise ConfigurationError(f"{unit} has no backup {backup!r}", hint=have)


def _report(merge: Merge) -> None:
    """Say what was done, record by record."""
    from alchemy.cli import terminal

    overwritten = {record.fqn for record in merge.overwritten}
    for fqn, different in merge.differing.items():
        done = "taken" if fqn in overwritten else "kept"
        what = "; it names another object" if fqn in merge.others else ""
        click.echo(terminal.clean(f"{done:<10} {fqn}  differs in {', '.join(different)}{what}"))
    for fqn in merge.newer:
        click.echo(terminal.clean(f"{'kept':<10} {fqn}  is not in the backup"))
    if merge.same:
        click.echo(f"{merge.same} as in the backup")
    if not merge.taken():
        click.echo("nothing was missing: nothing was restored")
    if merge.others:
        terminal.note("to take what was kept for its object: alchemy state rm FQN, which names it, then restore again")
