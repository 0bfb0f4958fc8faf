"""`alchemy local`: the Cloudflare on this machine."""

from __future__ import annotations

import asyncio
import json
import shlex
from typing import TYPE_CHECKING, Any

import click

from alchemy.cli.commands import local_objects
from alchemy.cli.entry import Commands
from alchemy.cli.options import launch_options

if TYPE_CHECKING:
    from alchemy.local import LocalCloudflare, Status


@click.group("local", cls=Commands)
def command() -> None:
    """The Cloudflare on this machine. Its data lies in the state folder, under local."""


@command.command("start")
@launch_options("state_dir")
def start(**options: Any) -> None:
    """Start it in the background, if it is not running, and print where it is."""
    from alchemy.cli.local_cloudflare import data_folder, ensure_running

    _print_addresses(ensure_running(data_folder(options)))


@command.command("stop")
@launch_options("state_dir")
def stop(**options: Any) -> None:
    """Stop it; its data stays."""
    from alchemy.cli.local_cloudflare import data_folder

    data = data_folder(options)
    from alchemy.local import stop as stop_it

    click.echo("stopped" if asyncio.run(stop_it(data)) else "it was not running")


@command.command("status")
@launch_options("state_dir")
@click.option("--json", "as_json", is_flag=True, help="Write it as one JSON object.")
def status(as_json: bool, **options: Any) -> int:
    """Print what runs, and where. Exit code 1 when it is not running."""
    from alchemy.cli.local_cloudflare import data_folder

    data = data_folder(options)
    from alchemy.local import status as ask

    found = asyncio.run(ask(data))
    if as_json:
        click.echo(json.dumps(_as_object(found)))
        return 0 if found.running else 1
    if not found.running or found.info is None:
        click.echo("not running")
        return 1
    _print_addresses(found.info)
    click.echo(f"has       {found.databases} D1, {found.namespaces} KV, {found.buckets} R2")
    for worker in found.workers:
        click.echo(
            f"worker    {worker.name}  {worker.url}  {worker.entry_url}"
            if worker.enabled
            else f"worker    {worker.name}"
        )
    return 0


@command.command("reset")
@launch_options("state_dir")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def reset(yes: bool, **options: Any) -> None:
    """Stop it, and delete everything in it.

    State still knows what was there: destroy before, or forget it after with `alchemy scope reset`.
    """
    import sys

    from alchemy.cli.local_cloudflare import data_folder

    data = data_folder(options)
    from alchemy.local import reset as reset_it

    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError(f"there is no terminal to ask on whether to delete {data}: add --yes")
        click.confirm(f"Delete everything in {data}?", abort=True, err=True)
    asyncio.run(reset_it(data))
    click.echo("reset")


@command.command("env")
@launch_options("state_dir")
def env(**options: Any) -> None:
    """Print the variables that lead to it: eval "$(alchemy local env)"."""
    from alchemy.cli.local_cloudflare import data_folder

    data = data_folder(options)
    from alchemy.errors import ConfigurationError
    from alchemy.local import environment
    from alchemy.local import status as ask

    found = asyncio.run(ask(data))
    if found.info is None:
        raise ConfigurationError("the local Cloudflare is not running", hint="alchemy local start")
    for name, value in environment(found.info).items():
        click.echo(f"export {name}={shlex.quote(value)}")


def _as_object(found: Status) -> dict[str, Any]:
    info = found.info
    return {
        "running": found.running,
        "base_url": info.base_url if info else None,
        "account_id": info.account_id if info else None,
        "workers": [{"name": worker.name, "url": worker.url, "enabled": worker.enabled} for worker in found.workers],
        "databases": found.databases,
        "namespaces": found.namespaces,
        "buckets": found.buckets,
    }


def _print_addresses(info: LocalCloudflare) -> None:
    click.echo(f"api       {info.base_url}")
    click.echo(f"workers   http://NAME.localhost:{info.entry_port}")
    click.echo(f"data      {info.data_dir}")


for each in (local_objects.objects, local_objects.evict, local_objects.delete_object):
    command.add_command(each)
