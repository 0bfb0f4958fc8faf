"""Where the calls of a run's providers go, and whether an object that state knows lives there."""

from __future__ import annotations

import shlex
from typing import Any

from alchemy.errors import TargetMismatch
from alchemy.provider import Context, Provider


class Targets:
    """The accounts and data sets of one run; each is asked for once.

    Args:
        unit: whose run it is, for messages.
    """

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._known: dict[object, str] = {}

    async def of(self, provider: Provider[Any], context: Context[Any], stored: str = "") -> str:
        """Give where a provider's calls go, and check that a record's object lives there.

        Raises:
            TargetMismatch: it lives elsewhere; nothing was called.
        """
        configured = getattr(provider, "configured_target", None)
        if configured is not None and stored:
            self.check(provider, stored, configured(), context.fqn)
        key = type(provider).target  # the function: providers of one cloud share it
        target = self._known.get(key)
        if target is None:
            target = self._known[key] = await provider.target(context)
        self.check(provider, stored, target, context.fqn)
        return target

    def knows(self, provider: Provider[Any]) -> bool:
        """Whether `of` needs no call."""
        return type(provider).target in self._known

    def check(self, provider: Provider[Any], stored: str, target: str | None, fqn: str) -> None:
        """Raise `TargetMismatch` when a record's object lives elsewhere than where calls would go.

        Args:
            target: as far as it is known: one that ends in `:` stands for every account of that provider.
        """
        if not stored or not target:
            return
        if stored == target or (target.endswith(":") and stored.startswith(target)):
            return
        hint = "use the credentials (or --local) it was deployed with, or another stage: --stage NAME"
        is_remade = provider.is_remade(stored, target)
        if is_remade:
            command = shlex.join(["alchemy", "scope", "reset", self._unit])
            hint = (
                f"if it was reset since, forget what was in it: {command}, then deploy again; "
                "otherwise use the --state-dir it was deployed with, or another stage: --stage NAME"
            )
        raise TargetMismatch(
            f"{fqn} lives in {stored}, and this run is set up for {target.removesuffix(':')}",
            is_remade=is_remade,
            hint=hint,
        )
