"""The table of options: what there is, what each means, and where it may be given.

The documentation and the command line are made from it; `config` says which source wins.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from alchemy.names import default_stage

Phase = Literal["up", "destroy", "read"]
OnFailure = Literal["keep", "destroy"]
Strategy = Literal["sequential", "parallel", "batched"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One row of the table.

    Attributes:
        name: in code, and in `[tool.alchemy]`.
        default: what holds when nobody says anything; a function is called.
        parse: turns text of the environment into the value.
        env: the environment variable, if there is one; `env_note` says when its unit differs.
        nested: whether `alchemy.run(...)` may override it for its scope.
    """

    name: str
    help: str
    parse: Callable[[str], Any]
    default: Any = None
    env: str | None = None
    env_note: str = ""
    nested: bool = False


def flag(text: str) -> bool:
    word = text.strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off", ""):
        return False
    raise ValueError("expected true or false")


def _choice(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            near = difflib.get_close_matches(text, words, 1)
            raise ValueError(f"expected one of {', '.join(words)}" + (f"; did you mean {near[0]!r}?" if near else ""))
        return text

    return parse


def _at_least(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise ValueError(f"expected a whole number of at least {least}")
        return number

    return parse


_positive = _at_least(1)
_count = _at_least(0)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise ValueError("expected a number of at least 0")
    return number


def milliseconds(text: str) -> float:
    return _seconds(text) / 1000


OPTIONS: tuple[Option, ...] = (
    Option(
        name="stage",
        help="The environment to work on: one isolated copy of the application.",
        parse=str,
        default=default_stage,
        env="ALCHEMY_STAGE",
    ),
    Option(
        name="phase",
        help="What a run does: `up` makes things so, `destroy` takes them away, `read` gives what state holds.",
        parse=_choice(*get_args(Phase)),
        default="up",
    ),
    Option(
        name="password",
        help="What secrets in state are encrypted with.",
        parse=str,
        env="ALCHEMY_PASSWORD",
        nested=True,
    ),
    Option(
        name="state_store",
        help="Where state is kept: a store, or its URL, such as `sqlite:state.db`; what is relative in it is so to the "
        "project's folder. Default: the files of `state_dir`.",
        parse=str,
        env="ALCHEMY_STATE_STORE",
        nested=True,
    ),
    Option(
        name="state_dir",
        help="The folder of the file store, and of what `--local` keeps. Said in a stronger place than `state_store`, "
        "it is where state is kept.",
        parse=str,
        default=".alchemy",
        env="ALCHEMY_STATE_DIR",
    ),
    Option(
        name="encrypt_state",
        help="Encrypt whole records and backups with the password, not secrets alone. Names, kinds, statuses, "
        "dependencies and times stay in clear.",
        parse=flag,
        default=False,
        env="ALCHEMY_ENCRYPT_STATE",
    ),
    Option(
        name="ci_state_store_check",
        help="Refuse to work on a stage in CI (`CI` is set) when nobody said where state is kept: the runner's disk "
        "does not last. With `local`, and in tests, nothing is refused.",
        parse=flag,
        default=True,
        env="ALCHEMY_CI_STATE_STORE_CHECK",
    ),
    Option(
        name="enable_locking",
        help="Wait for somebody else who holds the stage. `False`: take it from them; they can write no more.",
        parse=flag,
        default=True,
    ),
    Option(
        name="lock_timeout",
        help="Seconds to wait for somebody else's lease.",
        parse=_seconds,
        default=30.0,
        env="ALCHEMY_LOCK_TIMEOUT",
        env_note="in milliseconds",
    ),
    Option(
        name="destroy_strategy",
        help="How to destroy: `sequential` one by one in reverse, `parallel` all that the order of dependencies "
        "allows, `batched` the same, `batch_size` at a time.",
        parse=_choice(*get_args(Strategy)),
        default="sequential",
        env="ALCHEMY_DESTROY_STRATEGY",
        nested=True,
    ),
    Option(
        name="batch_size",
        help="How many to destroy at a time with the strategy `batched`.",
        parse=_positive,
        default=10,
        nested=True,
    ),
    Option(
        name="max_retries",
        help="How often a call that failed in a way that may pass is tried again.",
        parse=_count,
        default=3,
        env="ALCHEMY_MAX_RETRIES",
        nested=True,
    ),
    Option(
        name="retry_delay",
        help="Seconds before the first retry; doubled for each further one, with jitter.",
        parse=_seconds,
        default=1.0,
        nested=True,
    ),
    Option(
        name="timeout",
        help="Seconds that one provider call may take; none: as long as it needs.",
        parse=_seconds,
        nested=True,
    ),
    Option(
        name="continue_on_error",
        help="Go on destroying what does not depend on something that could not be destroyed.",
        parse=flag,
        default=True,
        nested=True,
    ),
    Option(
        name="on_failure",
        help="When a scope's body raises: `keep` what it created, for the next run to go on from, or "
        "`destroy` what was created in it in this run, before the error goes on. What was there before stays.",
        parse=_choice(*get_args(OnFailure)),
        default="keep",
        nested=True,
    ),
    Option(
        name="backups",
        help="How many backups of a stage are kept. One is made before a run's first write.",
        parse=_positive,
        default=20,
    ),
    Option(
        name="parallelism",
        help="How many provider calls may run at once in the whole run.",
        parse=_positive,
        default=32,
        env="ALCHEMY_PARALLELISM",
    ),
    Option(
        name="adopt",
        help="Take over objects that exist already under a name the program chose.",
        parse=flag,
        default=False,
        nested=True,
    ),
    Option(
        name="force",
        help="Update every resource, also those whose inputs are unchanged.",
        parse=flag,
        default=False,
    ),
    Option(
        name="quiet",
        help="Show nothing but failures.",
        parse=flag,
        default=False,
        nested=True,
    ),
    Option(
        name="verbose",
        help="Show what providers say, and unchanged resources.",
        parse=flag,
        default=False,
    ),
    Option(
        name="local",
        help="Use the Cloudflare on this machine: no account is needed.",
        parse=flag,
        default=False,
        env="ALCHEMY_LOCAL",
    ),
)

BY_NAME = {option.name: option for option in OPTIONS}
NESTED = frozenset(option.name for option in OPTIONS if option.nested)
