"""`alchemy scope logs`: what happened in a run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import click

from alchemy.cli.commands.scope.arguments import takes
from alchemy.cli.options import given

if TYPE_CHECKING:
    from alchemy.events import Event
    from alchemy.ports import StateStore
    from alchemy.upkeep.runs import PastRun
    from alchemy.upkeep.stores import Stores

PAUSE = 0.25
"""Seconds between two looks at a log that grows."""


@click.command("logs")
@takes("verbose", chain=True, as_json="Write the events as they were recorded, one a line.")
@click.option("--list", "listed", is_flag=True, help="List the runs there are, newest last.")
@click.option("--run", "run", metavar="NAME", help="The run, as --list names it; the newest by default.")
@click.option("--follow", "-f", is_flag=True, help="Go on until the run ends.")
def command(chain: str, as_json: bool, listed: bool, run: str | None, follow: bool, **options: Any) -> int:
    """Show what happened in a run, the newest by default.

    CHAIN is a stage, such as notes/prod; of a scope or resource in it, what concerns that is shown.
    """
    from alchemy.cli import terminal
    from alchemy.cli.finding import looking
    from alchemy.cli.places import check_chain, find_place

    if listed and (run or follow):
        raise click.UsageError("--list shows no run: leave out --run and --follow")
    name = check_chain(chain)
    place = find_place(given(options), operation="scope logs")

    async def show(stores: Stores) -> None:
        unit = await find_logged(stores.first, name)
        if listed:
            await _list(stores.first, unit, as_json=as_json)
            return
        log = run or (await stores.first.logs(unit))[-1]
        await _check_log(stores.first, unit, log)
        write = _writer(unit, name, as_json=as_json, verbose=place.settings.verbose)
        written = 0
        async for line, event in _lines(stores.first, unit, log, follow=follow):
            written += write(line, event)
        if not written:
            terminal.note(f"the run {log} has nothing to tell of {name}")

    looking(place, show)
    return 0


async def find_logged(store: StateStore, chain: str) -> str:
    """Give the stage that a chain belongs to, which has had runs; it may have been destroyed since.

    Raises:
        ConfigurationError: there is no such stage; several would do; or it never had a run.
    """
    from alchemy.cli.finding import find_units
    from alchemy.cli.places import held_by, is_unit
    from alchemy.errors import ConfigurationError

    unit = held_by(chain)
    if is_unit(unit):
        if await store.logs(unit):
            return unit
        await find_units(store, unit)
        raise ConfigurationError(f"{unit} has no log", hint="runs of stages leave one, tests do not")
    units = [unit for unit in await find_units(store, chain) if await store.logs(unit)]
    if len(units) == 1:
        return units[0]
    if not units:
        raise ConfigurationError(f"nothing in {chain} has a log", hint="every deploy of a stage leaves one")
    raise ConfigurationError(f"{chain} has several stages", hint=f"say which one: {', '.join(units)}")


async def _check_log(store: StateStore, unit: str, name: str) -> None:
    from alchemy.cli.finding import near
    from alchemy.errors import ConfigurationError

    known = await store.logs(unit)
    if name not in known:
        raise ConfigurationError(
            f"{unit} has no run {name!r}", hint=near(name, known) or f"list them: alchemy scope logs {unit} --list"
        )


async def _list(store: StateStore, unit: str, *, as_json: bool) -> None:
    import msgspec

    from alchemy.cli.columns import age, aligned
    from alchemy.upkeep.runs import summarize

    runs = [summarize(name, await store.read_log(unit, name)) for name in await store.logs(unit)]
    if as_json:
        for run in runs:
            click.echo(msgspec.json.encode(run.as_json()))
        return
    for line in aligned([(run.name, run.what, f"{age(run.started)} ago", _outcome(run)) for run in runs]):
        click.echo(line)


def _outcome(run: PastRun) -> str:
    from alchemy.cli.render import counted

    if run.finished is None:
        return "not ended"
    how = counted(run.finished.counts) or "nothing to do"
    return how if run.finished.ok else f"{how}, not finished"


async def _lines(store: StateStore, unit: str, name: str, *, follow: bool) -> AsyncIterator[tuple[bytes, Event | None]]:
    """Give a log's events; following, those that are still to come, until the run ends."""
    from alchemy.cli import terminal
    from alchemy.events import RunFinished
    from alchemy.upkeep.runs import events_in

    told, ended = 0, False
    while True:
        is_held = follow and any(lease.unit == unit for lease in await store.locks())
        raw = await store.read_log(unit, name)
        whole = raw if not is_held else raw[: raw.rfind(b"\n") + 1]
        for line, event in events_in(whole[told:]):
            ended = ended or isinstance(event, RunFinished)
            yield line, event
        told = len(whole)
        if not follow or ended:
            return
        if not is_held:
            terminal.note("the run was ended without a chance to say so")
            return
        await asyncio.sleep(PAUSE)


def _told_apart(event: Event) -> list[str]:
    """Give what a log says of a run that a display says elsewhere: who runs it, and why it failed."""
    from alchemy.events import RunFinished, RunStarted

    if isinstance(event, RunStarted) and event.owner:
        return [f"  by {event.owner}" + (f", {event.program}" if event.program else "")]
    if isinstance(event, RunFinished) and len(event.failures) > event.counts.get("failed", 0):  # else each has a line
        return [f"  {line}" for failure in event.failures for line in failure.splitlines()]
    return []


def _writer(unit: str, chain: str, *, as_json: bool, verbose: bool) -> Callable[[bytes, Event | None], bool]:
    """Make what writes a line of a log, if it concerns the chain, and says whether it did."""
    from alchemy.cli import terminal
    from alchemy.cli.columns import moment
    from alchemy.cli.render import line_of
    from alchemy.names import is_within

    def write(line: bytes, event: Event | None) -> bool:
        fqn = getattr(event, "fqn", None)
        if chain != unit and is_within(chain, unit) and not (fqn is not None and is_within(fqn, chain)):
            return False
        if as_json:
            click.echo(line)
        elif event is not None and (text := line_of(event, verbose=verbose)):
            first, *more = [*text.splitlines(), *_told_apart(event)]
            click.echo(terminal.clean(f"{moment(event.at)}  {first}"))
            for rest in more:
                click.echo(terminal.clean(f"{'':21}{rest}"))
        else:
            return False
        return True

    return write
