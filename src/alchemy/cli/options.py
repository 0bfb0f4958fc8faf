"""Options of the command line, made from `alchemy.options`: one table for code, environment, command line and docs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args

import click

from alchemy.options import BY_NAME, Option, Strategy

F = TypeVar("F", bound=Callable[..., Any])

FLAGS = {"destroy_strategy": "--strategy", "enable_locking": "--no-lock"}
"""Options that are called otherwise on the command line than in code."""
WORDS_OFF = {"enable_locking": "Do not wait for somebody else who holds the stage: take it from them."}
"""What a flag does that switches an option off."""
_WORDS = {"stage": "NAME", "state_dir": "DIR", "state_store": "URL", "parallelism": "N", "lock_timeout": "SECONDS"}


def _checked(option: Option) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """Check a value by the same function that checks the environment's."""

    def check(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
        if value is None:
            return None
        try:
            return option.parse(value)
        except ValueError as error:
            raise click.BadParameter(f"{value!r}: {error}", ctx, param) from error

    return check


def flag_of(name: str) -> str:
    """Give the option's form on the command line: `--state-dir`."""
    return FLAGS.get(name, "--" + name.replace("_", "-"))


def launch_options(*names: str) -> Callable[[F], F]:
    """Add options of the table to a command, in this order."""

    def add(function: F) -> F:
        for name in reversed(names):
            function = _option(BY_NAME[name])(function)
        return function

    return add


def _option(option: Option) -> Callable[[F], F]:
    places = [f"env {option.env}"] if option.env else []
    if option.default is not None and not isinstance(option.default, bool):
        places.append("default the user's name" if callable(option.default) else f"default {option.default}")
    text = option.help.replace("`", "") + (f"  [{'; '.join(places)}]" if places else "")
    flag = flag_of(option.name)
    if isinstance(option.default, bool):
        word = not option.default  # the flag says the opposite of what holds without it
        text = WORDS_OFF.get(option.name, text)
        return click.option(flag, option.name, is_flag=True, flag_value=word, default=None, help=text)
    if option.name == "destroy_strategy":
        return click.option(flag, option.name, type=click.Choice(get_args(Strategy)), help=text)
    return click.option(
        flag, option.name, metavar=_WORDS.get(option.name, "VALUE"), callback=_checked(option), help=text
    )


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Give what was said on the command line; a flag that was not given is left out, not false."""
    return {name: value for name, value in values.items() if name in BY_NAME and value is not None}
