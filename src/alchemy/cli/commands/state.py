"""`alchemy state`: look into the state. Nothing is locked, and nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast

import click

from alchemy.cli.entry import Commands
from alchemy.cli.options import given, launch_options

if TYPE_CHECKING:
    from alchemy.ports import StateStore
    from alchemy.state import Record


@click.group("state", cls=Commands)
def command() -> None:
    """Look into the state."""


@command.command("list")
@click.argument("chain", required=False)
@launch_options("state_dir", "state_store")
@click.option("--json", "as_json", is_flag=True, help="Write each as a line of JSON.")
def list_(chain: str | None, as_json: bool, **options: Any) -> None:
    """List the resources in CHAIN, such as notes/prod, or all there are: FQN, kind and status."""
    import msgspec

    found = [record for record in _read(chain, options).values() if not record.is_scope]
    if as_json:
        for record in found:
            row = {"fqn": record.fqn, "kind": record.kind, "status": record.status}
            click.echo(msgspec.json.encode(row))
        return
    names, kinds = (max((len(text) for text in texts), default=0) for texts in _columns(found))
    for record in found:
        click.echo(f"{record.fqn:<{names}}  {record.kind:<{kinds}}  {_status(record)}")


@command.command("tree")
@click.argument("chain", required=False)
@launch_options("state_dir", "state_store")
def tree(chain: str | None, **options: Any) -> None:
    """Show the scopes and resources in CHAIN, or all there are, as a tree."""
    records = _read(chain, options)
    below: dict[str, dict[str, Any]] = {}
    for fqn in records:
        branch: dict[str, Any] = below
        for part in fqn.split("/"):
            branch = branch.setdefault(part, {})
    _draw(below, records, "", "")


@command.command("get")
@click.argument("fqn")
@launch_options("state_dir", "state_store")
def get(fqn: str, **options: Any) -> None:
    """Show the record of FQN, such as notes/prod/api, as JSON; secrets are shown as ***."""
    import msgspec

    from alchemy.cli.places import check_chain, find_place, held_by, reading
    from alchemy.state import to_json

    place = find_place(given(options), operation="state")
    name = check_chain(fqn)

    async def look(store: StateStore) -> Any:
        if "/" not in name:
            application = await store.application(name)
            return msgspec.to_builtins(application) if application else _unknown(name, await _everything(store))
        record = (await store.all(held_by(name))).get(name)
        return to_json(record) if record else _unknown(name, await _everything(store))

    data = reading(place, look)
    click.echo(msgspec.json.format(msgspec.json.encode(mask(data)), indent=2))


def mask(data: Any) -> Any:
    """Give a record's JSON without any secret: `***` stands for everything under `@secret`, whatever is beside it."""
    if isinstance(data, dict):
        items = cast("dict[str, Any]", data)
        return "***" if "@secret" in items else {key: mask(value) for key, value in items.items()}
    return [mask(item) for item in cast("list[Any]", data)] if isinstance(data, list) else data


def _unknown(name: str, known: Sequence[str]) -> NoReturn:
    import difflib

    from alchemy.errors import ConfigurationError

    near = difflib.get_close_matches(name, known, 3)
    hint = f"did you mean {', '.join(near)}?" if near else "`alchemy state list` shows what there is"
    raise ConfigurationError(f"there is no {name} in state", hint=hint)


def _read(chain: str | None, options: Mapping[str, Any]) -> dict[str, Record]:
    """Give the records in a chain, or all, sorted by FQN."""
    from alchemy.cli.places import check_chain, check_unit, find_place, held_by, is_unit, reading

    place = find_place(given(options), operation="state")

    async def look(store: StateStore) -> dict[str, Record]:
        apps = await store.list_scopes("")
        if chain is None:
            units = [unit for app in apps for unit in await store.list_scopes(app)]
            return {fqn: record for unit in units for fqn, record in (await store.all(unit)).items()}
        name = check_chain(chain)
        unit = held_by(name)
        if not is_unit(unit):
            # an application, or all its tests
            app = name.partition("/")[0]
            units = list(await store.list_scopes(app)) if app in apps else []
            if not units:
                _unknown(name, list(apps))
            within = [known for known in units if known == name or known.startswith(f"{name}/")]
            return {fqn: record for known in within for fqn, record in (await store.all(known)).items()}
        await check_unit(store, unit)
        records = await store.all(name)
        if not records:
            _unknown(name, list(await store.all(unit)))
        return dict(records)

    return dict(sorted(reading(place, look).items()))


async def _everything(store: StateStore) -> list[str]:
    units = [unit for app in await store.list_scopes("") for unit in await store.list_scopes(app)]
    return [fqn for unit in units for fqn in await store.all(unit)]


def _columns(records: Sequence[Record]) -> tuple[list[str], list[str]]:
    return [record.fqn for record in records], [record.kind for record in records]


def _status(record: Record) -> str:
    old = len(record.generations)
    return str(record.status) + (f" (and {old} replaced, to be deleted)" if old else "")


def _draw(below: Mapping[str, Any], records: Mapping[str, Record], chain: str, indent: str) -> None:
    last = len(below) - 1
    for index, (name, inner) in enumerate(below.items()):
        fqn = f"{chain}/{name}" if chain else name
        record = records.get(fqn)
        what = f"  {record.kind}  {_status(record)}" if record is not None and not record.is_scope else ""
        guide, further = ("", "") if not chain else ("└─ ", "   ") if index == last else ("├─ ", "│  ")
        click.echo(f"{indent}{guide}{name}{what}")
        _draw(inner, records, fqn, indent + further)
