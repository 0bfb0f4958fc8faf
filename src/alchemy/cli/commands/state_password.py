"""`alchemy state rekey` and `alchemy state check-password`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from alchemy.cli.options import given, launch_options

if TYPE_CHECKING:
    from alchemy.cli.places import Place
    from alchemy.upkeep.passwords import Rekeyed, Verdict
    from alchemy.upkeep.stores import Stores

NEW = "ALCHEMY_NEW_PASSWORD"


@click.command("check-password")
@click.argument("chain", required=False)
@launch_options("local", "state_dir", "state_store")
def check_command(chain: str | None, **options: Any) -> int:
    """Say whether ALCHEMY_PASSWORD opens everything that is encrypted in CHAIN, or in all state there is.

    Exits with 1 when something does not open. Nothing is locked or changed.
    """
    from alchemy.cli.finding import find_whole_units, looking
    from alchemy.cli.places import find_place
    from alchemy.upkeep.passwords import check

    place = find_place(given(options), operation="check-password")
    password = _password(place)

    async def work(stores: Stores) -> list[Verdict]:
        units = await find_whole_units(stores.first, chain)
        return [await check(stores, unit, password) for unit in units]

    verdicts = looking(place, work)
    for verdict in verdicts:
        _show(verdict)
    return 1 if any(verdict.refused for verdict in verdicts) else 0


def _show(verdict: Verdict) -> None:
    from alchemy.cli import terminal
    from alchemy.cli.columns import plural

    for chain in verdict.apart:
        terminal.note(f"{chain} has a password of its own, which is not checked")
    if verdict.refused:
        for message in verdict.refused[:5]:
            terminal.problem(message)
        more = len(verdict.refused) - 5
        click.echo(f"{verdict.unit}: does not open" + (f" ({more} more)" if more > 0 else ""))
    elif verdict.opened:
        click.echo(f"{verdict.unit}: {plural(verdict.opened, 'secret')} opened")
    else:
        click.echo(f"{verdict.unit}: nothing is encrypted")


@click.command("rekey")
@click.argument("chain", required=False)
@launch_options("local", "state_dir", "state_store", "lock_timeout", "quiet", "verbose")
def rekey_command(chain: str | None, **options: Any) -> int:
    """Encrypt CHAIN, or all state there is, with another password.

    The old one is in ALCHEMY_PASSWORD, the new one in ALCHEMY_NEW_PASSWORD, or asked for. A stage changes at once and
    as a whole; after an interruption say the same again: what is done already is left as it is. Backups that were made
    before are not changed.
    """
    from alchemy.cli import terminal
    from alchemy.cli.columns import plural
    from alchemy.cli.commands.scope.running import carry_out
    from alchemy.cli.finding import find_whole_units
    from alchemy.cli.places import find_place, reading
    from alchemy.upkeep.passwords import rekey

    place = find_place(given(options), operation="rekey")
    _password(place)
    new = _new_password()
    units = reading(place, lambda store: find_whole_units(store, chain))
    done: list[Rekeyed] = []

    async def work() -> None:
        for unit in units:
            done.append(await rekey(unit, new, **place.store))

    code = carry_out(place, work, as_json=False)
    for one in done:
        for apart in one.apart:
            terminal.note(f"{apart} has a password of its own, and keeps it")
        what = f"{plural(one.records, 'record')} encrypted anew" if one.records else "nothing was to be changed"
        click.echo(f"{one.unit}: {what}")
        if one.backups:
            click.echo(f"  still under the old password: {plural(len(one.backups), 'backup')}")
            for name in one.backups:
                click.echo(f"    {name}")
    if any(one.records for one in done):
        terminal.note("from now on ALCHEMY_PASSWORD is the new one")
    return code


def _password(place: Place) -> str:
    from alchemy.errors import ConfigurationError

    if place.settings.password is None:
        raise ConfigurationError("there is no password", hint="set ALCHEMY_PASSWORD to the one that state has now")
    return place.settings.password


def _new_password() -> str:
    new = os.environ.get(NEW)
    if new:
        return new
    if not sys.stdin.isatty():
        raise click.UsageError(f"the new password is not set in {NEW}, and there is no terminal to ask on")
    asked: str = click.prompt("The new password", hide_input=True, confirmation_prompt=True, err=True)
    return asked
