"""The command line's options are the table's."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from alchemy.cli.options import flag_of, given, launch_options
from alchemy.config import resolve
from alchemy.options import BY_NAME


def parsed(*args: str, names: tuple[str, ...] = ("stage", "force", "parallelism", "destroy_strategy")) -> Any:
    """What a command with these options is given, or the output of one that refuses."""
    found: list[dict[str, Any]] = []

    @click.command()
    @launch_options(*names)
    def command(**values: Any) -> None:
        found.append(given(values))

    result = CliRunner().invoke(command, args)
    return found[0] if found else result.output


def test_only_what_was_said_is_given() -> None:
    """A flag that is not given must not hide the environment's; values have the types that `alchemy(...)` takes."""
    assert parsed() == {}
    said = parsed("--force", "--parallelism", "4", "--strategy", "parallel", "--stage", "prod")
    assert said == {"force": True, "parallelism": 4, "destroy_strategy": "parallel", "stage": "prod"}
    assert resolve(said).parallelism == 4


@pytest.mark.parametrize("args", [("--parallelism", "0"), ("--parallelism", "many"), ("--strategy", "fast")])
def test_a_value_is_checked_as_everywhere(args: tuple[str, str]) -> None:
    """By the function that checks the environment's too."""
    assert args[1] in parsed(*args)


def test_help_says_what_holds_otherwise() -> None:
    """The table's text, the environment variable and the default."""
    told = " ".join(parsed("--help").split())
    for part in (BY_NAME["parallelism"].help, "ALCHEMY_PARALLELISM", "default 32", "default the user's name"):
        assert part in told


def test_a_flag_is_the_name_with_dashes() -> None:
    """Except for the strategy, which the requirements call so."""
    assert (flag_of("state_dir"), flag_of("destroy_strategy")) == ("--state-dir", "--strategy")


def test_a_flag_that_switches_off() -> None:
    """`--no-lock` gives false, and nothing when it is not said; the lock's timeout is in seconds."""
    names = ("enable_locking", "lock_timeout")
    assert parsed(names=names) == {}
    assert parsed("--no-lock", "--lock-timeout", "2.5", names=names) == {"enable_locking": False, "lock_timeout": 2.5}
    assert resolve(parsed("--no-lock", names=names)).enable_locking is False
    assert "take it from them" in " ".join(parsed("--help", names=names).split())
    assert "at least 0" in parsed("--lock-timeout", "-1", names=names)
