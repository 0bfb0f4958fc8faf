"""How to finalize: a run's options for destroying, put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alchemy.config import Settings
from alchemy.options import Strategy


class Finalize:
    """How to finalize, with what was not said taken from the scope's settings."""

    __slots__ = (
        "_said",
        "_settings",
        "batch_size",
        "continue_on_error",
        "dry_run",
        "everything",
        "max_retries",
        "retry_delay",
        "strategy",
        "timeout",
    )

    def __init__(
        self,
        settings: Settings,
        *,
        strategy: Strategy | None = None,
        max_retries: int | None = None,
        retry_delay: float | None = None,
        batch_size: int | None = None,
        timeout: float | None = None,
        dry_run: bool = False,
        continue_on_error: bool | None = None,
        everything: bool = False,
    ) -> None:
        said = {
            "destroy_strategy": strategy,
            "max_retries": max_retries,
            "retry_delay": retry_delay,
            "batch_size": batch_size,
            "timeout": timeout,
            "continue_on_error": continue_on_error,
        }
        checked = settings.nested(said)
        self._settings = settings
        self._said = {name: value for name, value in said.items() if value is not None}
        self.strategy: Strategy = checked.destroy_strategy
        self.max_retries = checked.max_retries
        self.retry_delay = checked.retry_delay
        self.batch_size = checked.batch_size
        self.timeout = checked.timeout
        self.continue_on_error = checked.continue_on_error
        self.dry_run = dry_run
        self.everything = everything

    def within(self, own: Mapping[str, Any]) -> Settings:
        """Give the settings that hold in a scope with options of its `own`; what was said here is stronger."""
        return self._settings.nested({**own, **self._said})

    @property
    def says_strategy(self) -> bool:
        """Whether the strategy was said here, for everything."""
        return "destroy_strategy" in self._said


PER_SCOPE = ("destroy_strategy", "batch_size", "max_retries", "retry_delay", "timeout")
"""What a nested scope's record keeps of its options, for when its contents are destroyed without the program."""


def kept_options(said: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a stage's record keeps of the options that were said in code, for the same."""
    return {name: said[name] for name in (*PER_SCOPE, "continue_on_error") if name in said}
