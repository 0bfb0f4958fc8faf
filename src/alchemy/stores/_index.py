"""Which records a unit has, so that all below a chain are found without looking at every one. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from alchemy.names import parent


class Index:
    """The FQNs of a unit's records, each with whether it is a scope's.

    Attributes:
        scopes: by FQN; to be read only.
    """

    def __init__(self, scopes: Mapping[str, bool]) -> None:
        self.scopes: dict[str, bool] = {}
        self._below: dict[str, set[str]] = {}
        for fqn, scope in scopes.items():
            self.add(fqn, scope=scope)

    def add(self, fqn: str, *, scope: bool) -> None:
        """Take note of a record."""
        if fqn not in self.scopes:
            self._link(fqn)
        self.scopes[fqn] = scope

    def drop(self, fqn: str) -> None:
        """Forget a record; what is below it stays."""
        if self.scopes.pop(fqn, None) is not None:
            self._unlink(fqn)

    def within(self, chain: str) -> list[str]:
        """List the records of `chain` and of everything below it."""
        found: list[str] = []
        left = [chain]
        while left:
            fqn = left.pop()
            if fqn in self.scopes:
                found.append(fqn)
            left.extend(self._below.get(fqn, ()))
        return found

    def _link(self, fqn: str) -> None:
        # A prefix without a record is linked too, or what is below it would not be reached from further up.
        while above := parent(fqn):
            siblings = self._below.setdefault(above, set())
            if fqn in siblings:
                return
            siblings.add(fqn)
            fqn = above

    def _unlink(self, fqn: str) -> None:
        while fqn not in self.scopes and fqn not in self._below and (above := parent(fqn)):
            siblings = self._below[above]
            siblings.discard(fqn)
            if siblings:
                return
            del self._below[above]
            fqn = above
