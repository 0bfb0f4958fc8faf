"""What an earlier run could not delete, nor this one at its beginning: it is tried once a run, and told once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from alchemy.errors import ResourceFailed


class Undeletable:
    """The failures, by FQN.

    That of something in a nested scope with a store of its own is told when somebody asks for it, or at the end of the
    run: entering the scope may have it forgotten.
    """

    def __init__(self) -> None:
        self._failures: dict[str, ResourceFailed] = {}
        self._untold: dict[str, Callable[[], None]] = {}

    def __contains__(self, fqn: str) -> bool:
        return fqn in self._failures

    def note(self, failures: Iterable[ResourceFailed]) -> None:
        """Take note of what could not be deleted."""
        self._failures.update({failure.fqn: failure for failure in failures})

    def put_off(self, fqn: str, tell: Callable[[], None]) -> None:
        """Take note of how to report a failure when it is asked for."""
        self._untold[fqn] = tell

    def failure_of(self, fqn: str) -> ResourceFailed | None:
        """Give the failure, if there is one; it is reported by now."""
        self._tell(fqn)
        return self._failures.get(fqn)

    def tell(self) -> None:
        """Report what was put off, and nobody asked for."""
        for fqn in list(self._untold):
            self._tell(fqn)

    def forgive(self, fqn: str) -> bool:
        """Forget a failure along with the record; say whether it was to be reported still."""
        self._failures.pop(fqn, None)
        return self._untold.pop(fqn, None) is not None

    def _tell(self, fqn: str) -> None:
        tell = self._untold.pop(fqn, None)
        if tell is not None:
            tell()
