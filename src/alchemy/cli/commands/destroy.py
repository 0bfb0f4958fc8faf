"""`alchemy destroy`: destroy everything of a stage. State says what there is; the program is not run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from alchemy.cli.options import given, launch_options

if TYPE_CHECKING:
    from alchemy.ports import StateStore
    from alchemy.state import Record


@click.command("destroy")
@click.argument("target", required=False)
@launch_options(
    "stage",
    "local",
    "parallelism",
    "destroy_strategy",
    "lock_timeout",
    "enable_locking",
    "quiet",
    "verbose",
    "state_dir",
    "state_store",
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Write every event as a line of JSON, and nothing else.")
def command(target: str | None, yes: bool, as_json: bool, **options: Any) -> int:
    """Destroy everything of a stage.

    TARGET is a chain such as notes/prod, or an application, or a program. Without it the program of the current
    folder says which application is meant; it is read, not run. State alone says what is destroyed, and how:
    with the options that the program said last, unless the command line or the environment says otherwise.
    """
    return _destroy(target, given(options), yes=yes, as_json=as_json)


def _destroy(target: str | None, options: Mapping[str, Any], *, yes: bool, as_json: bool) -> int:
    from alchemy.cli.execution import execute
    from alchemy.cli.launching import finish, listen, use_local
    from alchemy.cli.places import check_unit, find_place, reading
    from alchemy.cli.programs import add_to_path
    from alchemy.cli.targets import find_unit, parted
    from alchemy.opening import destroy_unit

    program, chain = parted(target)
    place = find_place(options, operation="destroy", program=program)

    async def look(store: StateStore) -> tuple[str, list[str]]:
        unit = await find_unit(store, place, chain)
        await check_unit(store, unit)
        return unit, [] if yes else _contents(await store.all(unit))

    unit, names = reading(place, look)
    if names and not _is_wanted(unit, names):
        return 1
    add_to_path(place.root)  # providers may be modules beside the program
    if place.settings.local:
        use_local(place)
    display = listen(place, as_json=as_json)
    ending = execute(lambda: destroy_unit(unit, **place.store), display)
    return finish(ending, display, place)


def _contents(records: Mapping[str, Record]) -> list[str]:
    """Name what would be destroyed; what nested scopes keep in stores of their own is not looked up, but named."""
    found: list[str] = []
    for fqn, record in sorted(records.items()):
        if not record.is_scope:
            found.append(f"{fqn}  {record.kind}")
        elif record.props.get("state_store"):
            found.append(f"{fqn}  whatever is in {record.props['state_store']}")
    return found


def _is_wanted(unit: str, names: list[str]) -> bool:
    """Show what will be destroyed, and ask a person whether that is meant."""
    from alchemy.cli.asking import is_wanted
    from alchemy.cli.columns import plural

    count = plural(len(names), "resource")
    return is_wanted(
        f"This destroys {count} of {unit}:",
        names,
        "Destroy?",
        refusal=f"{unit} has {count}, and there is no terminal to ask whether to destroy: add --yes",
        kept="nothing was destroyed",
    )
