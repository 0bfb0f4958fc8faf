"""`alchemy scope inspect`: the tree of scopes and resources, with what is known of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from alchemy.cli.commands.scope.arguments import takes
from alchemy.cli.options import given

if TYPE_CHECKING:
    from alchemy.state import Record
    from alchemy.upkeep.stores import Contents


@click.command("inspect")
@takes(chain=False)
def command(chain: str | None, as_json: bool, **options: Any) -> int:
    """Show scopes and resources as a tree.

    Those in CHAIN, such as notes/prod, or all there are. Of each resource: kind, status, how long ago it was last
    written, what it was made from, and the objects that it
    replaced and that are still to be deleted.
    """
    import msgspec

    from alchemy.cli import terminal
    from alchemy.cli.finding import find, looking, tell
    from alchemy.cli.places import find_place
    from alchemy.cli.trees import draw

    place = find_place(given(options), operation="scope inspect")
    contents = looking(place, lambda stores: find(stores, chain))
    if as_json:
        for record in contents.records.values():
            click.echo(msgspec.json.encode(_as_json(record, contents)))
    else:
        for line in draw(contents.records, lambda fqn: _words(fqn, contents)):
            click.echo(terminal.clean(line))
    return tell(contents.unreadable)


def _words(fqn: str, contents: Contents) -> list[str]:
    """Say what is known of a scope or a resource: beside its name, and below it."""
    from alchemy.cli.columns import age, seconds_of
    from alchemy.cli.programs import shown_store

    record = contents.records.get(fqn)
    if record is None:
        return [""]
    if record.is_scope:
        forgotten = [f"{name} was forgotten by a reset" for name in record.output.get("ledger", {})]
        return [
            "",
            *forgotten,
            *([f"state in {shown_store(contents.kept_in[fqn])}"] if fqn in contents.kept_in else []),
        ]
    marks = {
        "retained": record.retain,
        "protected": record.protect,
        "to be verified": record.verify,
        "not in the program": fqn in contents.orphans,
    }
    flags = [word for word, is_set in marks.items() if is_set]
    beside = "  ".join([record.kind, record.status, age(seconds_of(record.updated_at)), *flags])
    below = [f"needs {_near(dep, fqn)}" for dep in record.deps]
    for old in record.generations:
        name = f" {old.physical_name}" if old.physical_name else ""
        below.append(f"replaced {old.kind}{name} (generation {old.generation}) is still to be deleted")
    return [beside, *below]


def _near(dep: str, fqn: str) -> str:
    """Name a resource as seen from another of the same unit."""
    from alchemy.names import unit_of

    unit = unit_of(fqn)
    return dep.removeprefix(f"{unit}/")


def _as_json(record: Record, contents: Contents) -> dict[str, Any]:
    return {
        "fqn": record.fqn,
        "kind": record.kind,
        "status": record.status,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "deps": record.deps,
        "generation": record.generation,
        "generations": [
            {"generation": old.generation, "kind": old.kind, "status": old.status, "physical_name": old.physical_name}
            for old in record.generations
        ],
        "target": record.target,
        "physical_name": record.physical_name,
        "retain": record.retain,
        "protect": record.protect,
        "verify": record.verify,
        "orphan": record.fqn in contents.orphans,
        "state_store": contents.kept_in.get(record.fqn),
    }
