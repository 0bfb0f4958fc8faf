"""`alchemy scope list`: all applications, stages and tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import click

from alchemy.cli.commands.scope.arguments import takes
from alchemy.cli.options import given

if TYPE_CHECKING:
    from alchemy.errors import AlchemyError
    from alchemy.ports import Lease, StateStore
    from alchemy.upkeep.runs import PastRun
    from alchemy.upkeep.stores import Contents, Stores


@dataclass(frozen=True, slots=True)
class Row:
    """One application without anything in it, or one stage or test.

    Attributes:
        forgotten: how many a reset has forgotten, and the next deploy will look for.
        resources: how many; `None` when the state cannot be read: `error` says why.
        error: also why what a nested scope keeps elsewhere is not counted.
    """

    chain: str
    kind: str
    resources: int | None
    last_run: PastRun | None
    lock: Lease | None
    error: AlchemyError | None
    forgotten: int = 0


@click.command("list")
@takes(chain=None)
def command(as_json: bool, **options: Any) -> int:
    """List all applications, stages and tests.

    Of each: how many resources it has, its last run and how that went, and who holds it.
    """
    import msgspec

    from alchemy.cli import terminal
    from alchemy.cli.columns import aligned
    from alchemy.cli.finding import looking
    from alchemy.cli.places import find_place

    place = find_place(given(options), operation="scope list")
    rows = looking(place, _rows)
    if as_json:
        for row in rows:
            click.echo(msgspec.json.encode(_as_json(row)))
    else:
        lines = aligned([(row.chain, _count(row), _last_run(row)) for row in rows])
        for row, line in zip(rows, lines, strict=True):
            click.echo(terminal.clean(line))
            if row.lock is not None:
                click.echo(terminal.clean(f"  held by {row.lock.owner}"))
    for row in rows:
        if row.error is not None:
            terminal.problem(f"{row.chain}: {row.error.message}", row.error.hint)
    return 1 if any(row.error for row in rows) else 0


async def _rows(stores: Stores) -> list[Row]:
    store = stores.first
    locks = {lease.unit: lease for lease in await store.locks()}
    found: list[Row] = []
    for app in await store.list_scopes(""):
        units = list(await store.list_scopes(app))
        if not units:
            found.append(Row(app, "application", 0, None, locks.get(app), None))
        found += [await _row(stores, unit, locks.get(unit)) for unit in units]
    return found


async def _row(stores: Stores, unit: str, lock: Lease | None) -> Row:
    from alchemy.errors import StateError
    from alchemy.names import RESERVED_STAGE

    kind = "test" if unit.split("/")[1] == RESERVED_STAGE else "stage"
    last = await _newest(stores.first, unit)
    try:
        contents = await stores.contents(unit)
    except StateError as error:
        return Row(unit, kind, None, last, lock, error)
    count = sum(not record.is_scope for record in contents.records.values())
    unreadable = next(iter(contents.unreadable.values()), None)
    return Row(unit, kind, count, last, lock, unreadable, len(_forgotten(contents, unit)))


def _forgotten(contents: Contents, unit: str) -> Mapping[str, Any]:
    own = contents.records.get(unit)
    entries = own.output.get("ledger") if own is not None else None
    return cast("Mapping[str, Any]", entries) if isinstance(entries, dict) else {}


async def _newest(store: StateStore, unit: str) -> PastRun | None:
    from alchemy.upkeep.runs import summarize

    names = await store.logs(unit)
    return summarize(names[-1], await store.read_log(unit, names[-1])) if names else None


def _count(row: Row) -> str:
    from alchemy.cli.columns import plural

    if row.resources is None:
        return "cannot be read"
    if row.kind == "application":
        return "nothing deployed"
    return plural(row.resources, "resource") + (f", {row.forgotten} forgotten" if row.forgotten else "")


def _last_run(row: Row) -> str:
    from alchemy.cli.columns import age

    run = row.last_run
    if run is None:
        return ""
    if run.finished is None:
        how = "not ended" if row.lock is None else "running"
    else:
        how = "ok" if run.finished.ok else "failed"
    return f"{run.what} {age(run.started)} ago, {how}"


def _as_json(row: Row) -> dict[str, Any]:
    from msgspec import to_builtins

    run = row.last_run
    return {
        "chain": row.chain,
        "kind": row.kind,
        "resources": row.resources,
        "forgotten": row.forgotten,
        "last_run": run.as_json() if run is not None else None,
        "lock": to_builtins(row.lock),
        "error": row.error.message if row.error else None,
    }
