"""Options: what there is, where each may be given, and which source wins.

Strongest first: code (an explicit `None` is not a value), command line, environment, `[tool.alchemy]` in
`pyproject.toml`, default. `OPTIONS`, in `options`, is the one table.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

from alchemy.errors import ConfigurationError
from alchemy.events import Listener
from alchemy.options import BY_NAME, NESTED, OPTIONS, OnFailure, Option, Phase, Strategy, flag, milliseconds

if TYPE_CHECKING:
    from alchemy.ports import StateStore


class NestedOptions(TypedDict, total=False):
    """The options that `alchemy.run(...)` takes, for type checkers; `OPTIONS` says what each means."""

    password: str | None
    state_store: StateStore | str | None
    destroy_strategy: Strategy | None
    batch_size: int | None
    max_retries: int | None
    retry_delay: float | None
    timeout: float | None
    continue_on_error: bool | None
    on_failure: OnFailure | None
    adopt: bool | None
    quiet: bool | None


class AppOptions(NestedOptions, total=False):
    """The options that `alchemy(...)` takes."""

    stage: str | None
    phase: Phase | None
    state_dir: str | os.PathLike[str] | None
    encrypt_state: bool | None
    ci_state_store_check: bool | None
    enable_locking: bool | None
    lock_timeout: float | None
    backups: int | None
    parallelism: int | None
    force: bool | None
    verbose: bool | None
    local: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of a scope, resolved. The table `OPTIONS` says what each means, and its unit.

    Attributes:
        said: the names of those that some source said; the others hold their defaults.
        firm: the names of those that were said in code, on the command line or in the environment.
    """

    stage: str
    phase: Phase = "up"
    password: str | None = field(default=None, repr=False)
    state_store: StateStore | str | None = None
    state_dir: str = ".alchemy"
    encrypt_state: bool = False
    ci_state_store_check: bool = True
    enable_locking: bool = True
    lock_timeout: float = 30.0
    destroy_strategy: Strategy = "sequential"
    batch_size: int = 10
    max_retries: int = 3
    retry_delay: float = 1.0
    timeout: float | None = None
    continue_on_error: bool = True
    on_failure: OnFailure = "keep"
    backups: int = 20
    parallelism: int = 32
    adopt: bool = False
    force: bool = False
    quiet: bool = False
    verbose: bool = False
    local: bool = False
    said: frozenset[str] = field(default=frozenset(), repr=False)
    firm: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def is_place_said(self) -> bool:
        """Whether anybody said where state is kept, be it the default place."""
        return not self.said.isdisjoint(("state_store", "state_dir"))

    def over(self, kept: Mapping[str, Any]) -> Settings:
        """Give these with what a program said in its code when it ran last: only what is firm is stronger.

        Raises:
            ConfigurationError: what was kept is no option, or no value of one.
        """
        weaker = {name: value for name, value in given_options(kept).items() if name not in self.firm}
        return replace(self, **weaker) if weaker else self

    def nested(self, options: Mapping[str, Any]) -> Settings:
        """Give the settings of a nested scope: these, with `options` on top.

        Raises:
            ConfigurationError: an option that does not exist, or that a nested scope cannot change.
        """
        given = given_options(options)
        for name in given:
            if name not in NESTED:
                raise ConfigurationError(
                    f"a nested scope cannot change {name!r}", hint=f"it can change {', '.join(sorted(NESTED))}"
                )
        return replace(self, **given) if given else self


@dataclass(slots=True)
class Halt:
    """How the command line ends a program before its own end.

    Attributes:
        asked: a person wants it to stop; from then on no run starts anything new.
        failed: the program has raised, so that what it did not do was not forgotten.
    """

    asked: bool = False
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What the command line hands to the program it runs.

    Attributes:
        options: given on the command line; stronger than the environment, weaker than code.
        listeners: hear every event of every application the program opens.
        operation: what holds the lease, for others to read: `deploy`, `destroy`, …
        root: the project's folder; relative paths and `pyproject.toml` are looked up there.
        program: the file that is run; `None`: the process's own.
        rebuild: a run in the phase `up` only reads every declared resource back from its provider, and records it.
        halt: whether everything is to stop.
    """

    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    listeners: tuple[Listener, ...] = ()
    operation: str = "deploy"
    root: Path = field(default_factory=Path.cwd)
    program: Path | None = None
    rebuild: bool = False
    halt: Halt = field(default_factory=Halt)


launch: ContextVar[Launch | None] = ContextVar("alchemy_launch", default=None)


def given_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Check the names and values of options given in code, and leave out the `None`s.

    Raises:
        ConfigurationError: no such option, or a value of another type.
    """
    given: dict[str, Any] = {}
    for name, value in options.items():
        option = BY_NAME.get(name)
        if option is None:
            near = difflib.get_close_matches(name, BY_NAME, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"options are {', '.join(BY_NAME)}"
            raise ConfigurationError(f"there is no option {name!r}", hint=hint)
        if value is not None:
            given[name] = _checked(option, value, f"the option {name!r}")
    return given


def resolve(options: Mapping[str, Any]) -> Settings:
    """Put an application's settings together from all sources, strongest first.

    Args:
        options: given in code.

    Raises:
        ConfigurationError: a source holds something that is not an option, or not a value of it.
    """
    current = launch.get() or Launch()
    sources: list[Mapping[str, Any]] = [  # all but the last are firm
        given_options(options),
        given_options(current.options),
        _environment(),
        project_options(current.root),
    ]
    values: dict[str, Any] = {}
    ranks: dict[str, int] = {}
    for option in OPTIONS:
        for rank, source in enumerate(sources):
            if option.name in source:
                values[option.name], ranks[option.name] = source[option.name], rank
                break
        else:
            values[option.name] = option.default() if callable(option.default) else option.default
    if ranks.get("state_dir", len(sources)) < ranks.get("state_store", 0):
        values["state_store"] = None  # `--state-dir x` means that folder, whatever store the project has
        del ranks["state_store"]
    firm = frozenset(name for name, rank in ranks.items() if rank < len(sources) - 1)
    return Settings(**values, said=frozenset(ranks), firm=firm)


def check_lasting(settings: Settings) -> None:
    """Refuse the default place for state where nothing on the disk outlives the run.

    Raises:
        ConfigurationError: this is CI, and nobody said where state is to be kept.
    """
    if settings.is_place_said or settings.local or not settings.ci_state_store_check or not _is_ci():
        return
    raise ConfigurationError(
        f"this is CI (CI={os.environ['CI']}), and state would be kept in {settings.state_dir} on the runner, "
        "whose disk is thrown away: the next run would know nothing of what this one made, and create everything again",
        hint="say where state is kept: state_store in [tool.alchemy], --state-store URL or ALCHEMY_STATE_STORE; "
        "where that folder does last, --state-dir, or ALCHEMY_CI_STATE_STORE_CHECK=false",
    )


def _is_ci() -> bool:
    return os.environ.get("CI", "").strip().lower() not in ("", "0", "false", "no", "off")


def project_options(root: Path) -> dict[str, Any]:
    """Read `[tool.alchemy]` of the project's `pyproject.toml`; the key `app` is not an option and left out."""
    table = dict(project_table(root))
    table.pop("app", None)
    return given_options(table)


def project_table(root: Path) -> Mapping[str, Any]:
    """Give `[tool.alchemy]` as it stands; empty when there is no such file or table."""
    path = root / "pyproject.toml"
    if not path.exists():
        return {}
    import tomllib

    try:
        tool = tomllib.loads(path.read_text()).get("tool", {})
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path.name} cannot be read: {error}", hint="mend the file") from error
    table: Any = cast("dict[str, Any]", tool).get("alchemy", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        raise ConfigurationError("[tool.alchemy] in pyproject.toml must be a table")
    return cast("dict[str, Any]", table)


def _environment() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for option in OPTIONS:
        text = os.environ.get(option.env) if option.env else None
        if text:
            parse = milliseconds if option.env_note == "in milliseconds" else option.parse
            found[option.name] = _parsed(parse, text, f"the environment variable {option.env}")
    return found


def _parsed(parse: Callable[[str], Any], text: str, what: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigurationError(f"{what} is {text!r}: {error}") from error


def _checked(option: Option, value: Any, what: str) -> Any:
    if option.name in ("password", "state_store", "stage", "state_dir"):
        if isinstance(value, str) or (option.name == "state_store" and hasattr(value, "acquire")):
            return value
        if option.name in ("state_dir", "state_store") and isinstance(value, os.PathLike):
            return os.fspath(cast("os.PathLike[str]", value))
        if option.name == "state_store":
            raise ConfigurationError(f"{what} must be a state store or its URL, not {type(value).__name__}")
        raise ConfigurationError(f"{what} must be text, not {type(value).__name__}")
    if isinstance(value, bool) != (option.parse is flag):
        raise ConfigurationError(f"{what} cannot be {value!r}")
    return value if isinstance(value, bool) else _parsed(option.parse, str(value), what)
