"""What most commands of the group take: a chain, where state is, and `--json`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from alchemy.cli.options import launch_options

F = TypeVar("F", bound=Callable[..., Any])


def takes(*options: str, chain: bool | None, as_json: str = "Write each as a line of JSON.") -> Callable[[F], F]:
    """Add a command's argument and options.

    Args:
        options: of the table, before those that say where state is.
        chain: whether it must be given; `None`: it is not taken.
        as_json: what `--json` does.
    """

    def add(function: F) -> F:
        function = click.option("--json", "as_json", is_flag=True, help=as_json)(function)
        where = ("state_dir", "state_store") if "local" in options else ("local", "state_dir", "state_store")
        function = launch_options(*options, *where)(function)
        return function if chain is None else click.argument("chain", required=chain)(function)

    return add
