"""`alchemy scope rebuild`: make the state anew from what exists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from alchemy.cli.options import given, launch_options


@click.command("rebuild")
@click.argument("target", required=False)
@launch_options(
    "stage",
    "local",
    "adopt",
    "parallelism",
    "lock_timeout",
    "enable_locking",
    "quiet",
    "verbose",
    "state_dir",
    "state_store",
)
@click.option("--json", "as_json", is_flag=True, help="Write every event as a line of JSON, and nothing else.")
def command(target: str | None, as_json: bool, **options: Any) -> int:
    """Read everything the program declares back, and record it.

    TARGET is a program, as for deploy, or a stage such as notes/prod that the program of the current folder opens.
    Every declared resource is looked up in its provider; nothing is created, changed or destroyed. What is missing
    is listed. A state that is damaged is put aside first.
    """
    from alchemy.cli.launching import run_program

    program, unit = _parted(target)
    found = given(options)
    if unit is not None:
        found = _with_stage(found, unit)
    return run_program(program, options=found, operation="rebuild", unit=unit, as_json=as_json)


def _parted(target: str | None) -> tuple[str | None, str | None]:
    """Give the program, or the stage, that was typed."""
    from alchemy.cli.places import is_unit
    from alchemy.cli.targets import parted
    from alchemy.errors import ConfigurationError
    from alchemy.names import RESERVED_STAGE

    program, chain = parted(target)
    if chain is None:
        return (str(program) if program else None), None
    if not is_unit(chain) or chain.split("/")[1] == RESERVED_STAGE:
        raise ConfigurationError(f"{chain} is not a stage: only whole stages can be rebuilt", hint="such as notes/prod")
    return None, chain


def _with_stage(options: Mapping[str, Any], unit: str) -> dict[str, Any]:
    """Let the program open the stage that was typed, unless it says another itself."""
    stage = unit.partition("/")[2]
    if options.get("stage", stage) != stage:
        raise click.UsageError(f"{unit} and --stage {options['stage']} do not go together: leave one out")
    return {**options, "stage": stage}
