"""`alchemy deploy`: make everything as the program says."""

from __future__ import annotations

from typing import Any

import click

from alchemy.cli.options import given, launch_options


@click.command("deploy")
@click.argument("program", required=False)
@launch_options(
    "stage",
    "local",
    "force",
    "adopt",
    "parallelism",
    "destroy_strategy",
    "lock_timeout",
    "enable_locking",
    "quiet",
    "verbose",
    "state_dir",
    "state_store",
)
@click.option("--json", "as_json", is_flag=True, help="Write every event as a line of JSON, and nothing else.")
def command(program: str | None, as_json: bool, **options: Any) -> int:
    """Make everything as PROGRAM says.

    PROGRAM is a Python file with `async def main()`, or a folder that holds alchemy.run.py. What is in state and
    not in the program any more is destroyed.
    """
    from alchemy.cli.launching import run_program

    return run_program(program, options=given(options), operation="deploy", as_json=as_json)
