"""Which records a unit has, so that all below a chain are found without looking at every one. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from alchemy.names import parent

_Below = dict[str, set[str]]


class Index:
    """The FQNs of a unit's records, each with whether it is a scope's.

    What lies below what is worked out when it is asked for first: most runs never ask.

    Attributes:
        scopes: by FQN; to be read only.
    """

    def __init__(self, scopes: Mapping[str, bool]) -> None:
        self.scopes: dict[str, bool] = dict(scopes)
        self._below: _Below | None = None

    def add(self, fqn: str, *, scope: bool) -> None:
        """Take note of a record."""
        if self._below is not None and fqn not in self.scopes:
            _link(fqn, self._below)
        self.scopes[fqn] = scope

    def drop(self, fqn: str) -> None:
        """Forget a record; what is below it stays."""
        if self.scopes.pop(fqn, None) is not None and self._below is not None:
            self._unlink(fqn, self._below)

    def within(self, chain: str) -> list[str]:
        """List the records of `chain` and of everything below it."""
        if self._below is None:
            self._below = {}
            for fqn in self.scopes:
                _link(fqn, self._below)
        found: list[str] = []
        left = [chain]
        while left:
            fqn = left.pop()
            if fqn in self.scopes:
                found.append(fqn)
            left.extend(self._below.get(fqn, ()))
        return found

    def _unlink(self, fqn: str, below: _Below) -> None:
        while fqn not in self.scopes and fqn not in below and (above := parent(fqn)):
            siblings = below[above]
            siblings.discard(fqn)
            if siblings:
                return
            del below[above]
            fqn = above


def _link(fqn: str, below: _Below) -> None:
    # A prefix without a record is linked too, or what is below it would not be reached from further up.
    while above := parent(fqn):
        siblings = below.setdefault(above, set())
        if fqn in siblings:
            return
        siblings.add(fqn)
        fqn = above
