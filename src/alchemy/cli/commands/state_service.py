"""`alchemy state-service`: a state store for a team, on a machine of its own or on a Cloudflare account."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import click

from alchemy.cli import terminal
from alchemy.cli.entry import Commands

_TOKEN = "ALCHEMY_STATE_TOKEN"


@click.group("state-service", cls=Commands)
def command() -> None:
    """The service that keeps state in Durable Objects: on a machine of one's own, or on a Cloudflare account."""


@command.command("serve")
@click.option(
    "--data",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that it keeps the state in; made when it is not there.",
)
@click.option(
    "--port", metavar="N", type=click.IntRange(0, 65535), default=8787, help="Port, 8787 by default; 0: any free one."
)
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    help="Address to listen on, 127.0.0.1 by default; it speaks plain HTTP: let others reach it over TLS only.",
)
def serve(data: Path, port: int, host: str) -> None:
    """Serve until it is stopped, with Ctrl-C or SIGTERM.

    Whoever shows the token in ALCHEMY_STATE_TOKEN may read and write everything in it. Programs keep their state there
    with --state-store cloudflare+http://HOST:PORT and the same token.
    """
    from alchemy.errors import ConfigurationError

    token = os.environ.get(_TOKEN, "")
    if not token:
        raise ConfigurationError(
            f"{_TOKEN} is not set: whoever knows the token may read and write the state",
            hint=f'{_TOKEN}="$(openssl rand -hex 32)" alchemy state-service serve …, and keep it',
        )
    asyncio.run(_serve(data.absolute(), host, port, token))


@command.command("set-token")
@click.option("--script-name", metavar="NAME", help="What the Worker is called; alchemy-state-service by default.")
def set_token(script_name: str | None) -> None:
    """Give the service on the Cloudflare account the token in ALCHEMY_STATE_TOKEN.

    Whoever shows another one is refused from then on. State stays as it is: the token encrypts nothing.
    """
    from alchemy.stores import service
    from alchemy.stores._cloudflare import checked_script, checked_token
    from alchemy.stores._service_deploying import change_token

    script = service.SCRIPT if script_name is None else checked_script(script_name)
    address = asyncio.run(change_token(script, checked_token()))
    click.echo(f"{address} takes the token in {_TOKEN}, and no other")


async def _serve(data: Path, host: str, port: int, token: str) -> None:
    from alchemy.local import install
    from alchemy.local._state_service import StateService, serve

    def ready(service: StateService) -> None:
        click.echo(f"serving {data} at {service.url}")
        click.echo(f"use it with --state-store cloudflare+{service.url} and the same {_TOKEN}")

    toolchain = await install(report=terminal.note)
    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def stop() -> None:
        stopped.set()
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        await serve(toolchain, data, token=token, host=host, port=port, ready=ready)
    except asyncio.CancelledError:
        if not stopped.is_set():
            raise
