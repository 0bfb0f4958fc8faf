"""`alchemy state`: look into the state, without locking or writing; and bring state from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import click

from alchemy.cli.commands import (
    state_accept,
    state_copy,
    state_export,
    state_import,
    state_mv,
    state_password,
    state_resolve,
    state_rm,
)
from alchemy.cli.entry import Commands
from alchemy.cli.options import given, launch_options

if TYPE_CHECKING:
    from alchemy.state import Record
    from alchemy.upkeep.stores import Contents, Stores


@click.group("state", cls=Commands)
def command() -> None:
    """Look into the state, bring it from elsewhere, move it, and change what it says."""


@command.command("list")
@click.argument("chain", required=False)
@launch_options("local", "state_dir", "state_store")
@click.option("--json", "as_json", is_flag=True, help="Write each as a line of JSON.")
def list_(chain: str | None, as_json: bool, **options: Any) -> int:
    """List the resources in CHAIN, such as notes/prod, or all there are: FQN, kind and status."""
    import msgspec

    from alchemy.cli.columns import aligned
    from alchemy.cli.finding import tell

    contents = _read(chain, options)
    found = [record for record in contents.records.values() if not record.is_scope]
    if as_json:
        for record in found:
            row = {"fqn": record.fqn, "kind": record.kind, "status": record.status}
            click.echo(msgspec.json.encode(row))
    else:
        for line in aligned([(record.fqn, record.kind, status_of(record)) for record in found]):
            click.echo(line)
    return tell(contents.unreadable)


@command.command("tree")
@click.argument("chain", required=False)
@launch_options("local", "state_dir", "state_store")
def tree(chain: str | None, **options: Any) -> int:
    """Show the scopes and resources in CHAIN, or all there are, as a tree."""
    from alchemy.cli.finding import tell
    from alchemy.cli.trees import draw

    contents = _read(chain, options)
    records = contents.records

    def words(fqn: str) -> list[str]:
        record = records.get(fqn)
        return [f"{record.kind}  {status_of(record)}"] if record is not None and not record.is_scope else [""]

    for line in draw(records, words):
        click.echo(line)
    return tell(contents.unreadable)


@command.command("get")
@click.argument("fqn")
@launch_options("local", "state_dir", "state_store")
def get(fqn: str, **options: Any) -> int:
    """Show the record of FQN, such as notes/prod/api, as JSON; secrets are shown as ***."""
    import msgspec

    from alchemy.cli.finding import find, looking, tell, unknown
    from alchemy.cli.places import check_chain, find_place, held_by, is_unit
    from alchemy.state import to_json

    place = find_place(given(options), operation="state")
    name = check_chain(fqn)

    async def look(stores: Stores) -> Any:
        application = await stores.first.application(name) if "/" not in name else None
        if application is not None:
            return msgspec.to_builtins(application)
        unit = held_by(name)
        units = await stores.first.list_scopes(name.partition("/")[0])
        known = await stores.contents(unit) if is_unit(unit) and unit in units else await find(stores, None)
        if name not in known.records:
            tell(known.unreadable)
            unknown(name, known.records)
        return to_json(known.records[name])

    data = looking(place, look)
    click.echo(msgspec.json.format(msgspec.json.encode(mask(data)), indent=2))
    return tell_sealed([data])


def tell_sealed(records: Iterable[Any]) -> int:
    """Say on stderr that contents were not shown because they are encrypted, if so; give the exit code."""
    from alchemy.cli import terminal
    from alchemy.state import SEALED

    if not any(SEALED in record for record in records):
        return 0
    terminal.problem("what is encrypted is not shown", "set ALCHEMY_PASSWORD to the password it was encrypted with")
    return 1


def mask(data: Any) -> Any:
    """Give a record's JSON without any secret: `***` stands for everything under `@secret`, whatever is beside it, and
    for what is encrypted as a whole.
    """
    if isinstance(data, dict):
        items = cast("dict[str, Any]", data)
        if "fqn" in items and isinstance(items.get("sealed"), dict):
            items = {**items, "sealed": "***"}
        return "***" if "@secret" in items else {key: mask(value) for key, value in items.items()}
    return [mask(item) for item in cast("list[Any]", data)] if isinstance(data, list) else data


def status_of(record: Record) -> str:
    """Say how far a resource has come, and whether something that it replaced is still to be deleted."""
    old = len(record.generations)
    return str(record.status) + (f" (and {old} replaced, to be deleted)" if old else "")


def _read(chain: str | None, options: Mapping[str, Any]) -> Contents:
    """Give what is in a chain, or everything."""
    from alchemy.cli.finding import find, looking
    from alchemy.cli.places import find_place

    place = find_place(given(options), operation="state")
    return looking(place, lambda stores: find(stores, chain))


command.add_command(state_copy.command)
command.add_command(state_export.command)
command.add_command(state_import.command)
command.add_command(state_mv.command)
command.add_command(state_rm.command)
command.add_command(state_password.rekey_command)
command.add_command(state_password.check_command)
command.add_command(state_accept.command)
command.add_command(state_resolve.command)
