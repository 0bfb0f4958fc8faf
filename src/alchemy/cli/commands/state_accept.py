"""`alchemy state accept`: take back a record that was edited by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alchemy.cli.options import given, launch_options

if TYPE_CHECKING:
    from alchemy.ports import StateStore
    from alchemy.upkeep.accepting import Accepted


@click.command("accept")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Check the files and show what would change; change nothing.")
@click.option(
    "--force", is_flag=True, help="Take the edit though a run that was cut short has changed the record since."
)
@launch_options("local", "state_dir", "state_store", "lock_timeout")
def command(files: tuple[Path, ...], dry_run: bool, force: bool, **options: Any) -> None:
    """Take back FILE, a record's state.json that was edited by hand, or one that was removed.

    Until then nothing in its stage can be deployed or destroyed, because it is not what alchemy wrote. Name all
    files that were edited in a stage at once.
    """
    from alchemy.cli.places import find_place, reading

    paths = [path.absolute() for path in files]
    place = find_place(given(options), operation="accept")

    async def work(store: StateStore) -> list[Accepted]:
        from alchemy.upkeep.accepting import accept

        return await accept(store, paths, timeout=place.settings.lock_timeout, force=force, dry_run=dry_run)

    for accepted in reading(place, work):
        _show(accepted, "would be" if dry_run else "is")


def _show(accepted: Accepted, verb: str) -> None:
    what = f"{verb} gone from state" if accepted.is_gone else f"{verb} taken as it stands in its file"
    click.echo(f"{accepted.fqn} {what}")
    if accepted.is_gone:
        return
    if accepted.compared_with is None:
        click.echo("  no earlier version is known to compare it with")
        return
    click.echo(f"  compared with {accepted.compared_with}:" + ("" if accepted.changes else " nothing differs"))
    for change in accepted.changes:
        click.echo(f"  {change.key}: {_shown(change.old)} -> {_shown(change.new)}")


def _shown(value: Any) -> str:
    import msgspec

    from alchemy.cli.commands.state import mask

    return msgspec.json.encode(mask(value)).decode()
