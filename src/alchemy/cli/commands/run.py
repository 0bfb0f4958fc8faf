"""`alchemy run`: run the program with what state holds, and change nothing."""

from __future__ import annotations

from typing import Any

import click

from alchemy.cli.options import given, launch_options


@click.command("run")
@click.argument("program", required=False)
@launch_options("stage", "local", "quiet", "verbose", "state_dir", "state_store")
@click.option("--json", "as_json", is_flag=True, help="Write every event as a line of JSON, and nothing else.")
def command(program: str | None, as_json: bool, **options: Any) -> int:
    """Run PROGRAM without changing anything: resources have the outputs that state remembers.

    No provider is called, and the stage is not locked.
    """
    from alchemy.cli.launching import run_program

    return run_program(program, options={**given(options), "phase": "read"}, operation="run", as_json=as_json)
