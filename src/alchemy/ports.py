"""The seams: what the engine needs from a store, and what a scope needs from the engine. Protocols only."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec

from alchemy.names import Naming
from alchemy.state import Application, Record

if TYPE_CHECKING:
    from alchemy.declared import Declared
    from alchemy.finalizing import Finalize
    from alchemy.scope import Scope


class Owner(msgspec.Struct, kw_only=True, frozen=True):
    """Who holds a unit.

    Attributes:
        user, host: as the operating system names them.
        pid: of the process; meaningful on `host` only.
        operation: `deploy`, `destroy`, `test`, …
        run: the CI run's URL or number, when there is one.
    """

    user: str
    host: str
    pid: int
    operation: str
    run: str | None = None

    def __str__(self) -> str:
        where = f"{self.user}@{self.host} (pid {self.pid})"
        return f"{where}, {self.operation}" + (f", {self.run}" if self.run else "")


class Lease(msgspec.Struct, kw_only=True, frozen=True):
    """The right to write what lies within a chain.

    Attributes:
        unit: the chain: `notes/prod`, or `notes/test/<id>`; also `notes`, or `notes/prod/database`.
        token: the fencing token: larger than every earlier one of this chain, never used again.
        since: when it was taken; UTC, ISO 8601.
        deadline: until when others wait for a renewal; seconds since the epoch.
    """

    unit: str
    token: int
    owner: Owner
    since: str
    deadline: float


class Snapshot(msgspec.Struct, kw_only=True):
    """A unit as loaded: its records by FQN (the unit's own, scopes' and resources'), and what was odd about it.

    `notices` are sentences for people, such as "the last commit was cut short; set aside as …". `logs` are the names
    of the unit's logs, oldest first, where the store says them without being asked; `None`: ask it.
    """

    records: dict[str, Record]
    notices: list[str] = []
    logs: list[str] | None = None


class LogEnd(msgspec.Struct, kw_only=True, frozen=True):
    """The end of a run's log, as it goes along when the run's unit is given back.

    Attributes:
        name: the log's.
        lines: still to be added to it; may be none.
        drop: names of older logs that go now.
    """

    name: str
    lines: bytes = b""
    drop: Sequence[str] = ()


class Problem(msgspec.Struct, kw_only=True, frozen=True):
    """Something wrong with what a store keeps.

    Attributes:
        where: the file, or the store's key.
        what: is wrong with it; a sentence without an end.
        remedy: what to do: a command where there is one.
        fqn: of the record that it is about.
    """

    where: str
    what: str
    remedy: str
    fqn: str | None = None


class StateStore(Protocol):
    """Where records live.

    A unit (a stage or a test scope) is a snapshot and a log of commits. Writes name the lease they are made
    under; the store refuses them when somebody newer holds the unit (`LeaseLost`). `set` and `delete` are plain
    calls: *the order of calls is the order of commits*, and awaiting what they return waits until the commit is
    durable. One may await none but the last.

    Chains are scopes' paths (`notes/prod/database`), FQNs a chain and an id.
    """

    @property
    def url(self) -> str:
        """Where it is, without credentials: `file:///…/.alchemy`, `memory:1`."""
        ...

    async def init(self) -> None:
        """Make ready for use; safe to repeat. Raises `StateError` when the place cannot be used."""
        ...

    async def deinit(self) -> None:
        """Let go of files and connections; what was acknowledged stays. Safe to repeat."""
        ...

    async def application(self, app: str) -> Application | None:
        """Read an application's record."""
        ...

    async def create_application(self, application: Application) -> Application:
        """Write an application's record once; give the one that stands, whoever wrote it."""
        ...

    async def acquire(self, chain: str, *, owner: Owner, timeout: float, ttl: float = 60.0) -> Lease:
        """Take a chain: an application, a unit, or a scope within one, with everything below it.

        It cannot be held while somebody holds one above or below it; those beside it are not concerned. The lease is
        renewed in the background until it is released, and kept for ten minutes while the event loop is blocked.
        Runs hold units; a lease on another chain is for rare writes by hand: each commit takes the unit for a moment.

        Args:
            chain: to be held.
            owner: told to whoever waits.
            timeout: seconds to wait for another holder; 0 asks once.
            ttl: seconds without a renewal after which others may take it.

        Raises:
            LockedError: somebody else still holds it, or a chain above or below it; says which.
        """
        ...

    def check(self, lease: Lease) -> bool:
        """Say without asking anybody whether the chain is surely held still: to be asked before every provider call.

        `True`: it was renewed less than a ttl ago, by a clock that goes on while the machine sleeps or the process is
        stopped. `False`: that is not sure; `renew` finds out.

        Raises:
            LeaseLost: it is known to be lost.
        """
        ...

    async def renew(self, lease: Lease) -> Lease:
        """Move the deadline. Raises `LeaseLost`, which says who took it, when somebody newer holds the chain."""
        ...

    async def release(self, lease: Lease, *, log: LogEnd | None = None) -> None:
        """Give the chain back; safe to repeat, and harmless when the lease is lost.

        Args:
            log: of the unit that is given back. It is written in the same step, or before: whoever finds the unit free
                finds the log whole. It is written also when the lease is lost, and when it cannot be written, that
                keeps nothing from being given back, and nothing is raised: a log is not state.
        """
        ...

    async def locks(self) -> Sequence[Lease]:
        """List the leases that are held now."""
        ...

    async def break_(self, chain: str) -> None:
        """Take the chain away from whoever holds it: its next write is refused. Those above and below it stay held."""
        ...

    async def load(self, unit: str, *, lease: Lease | None = None) -> Snapshot:
        """Read every record of a unit.

        With a lease, what a crash left behind is brought in order too (a torn last commit is set aside).

        Raises:
            StateDamaged, StateTooNew: names the file and the remedy; nothing was changed.
        """
        ...

    async def salvage(self, lease: Lease) -> str | None:
        """Make a unit loadable again that `load` calls damaged.

        What can be read stays, to be verified (`Record.verify`); all that was there is put aside. An interruption
        loses nothing, and leaves the unit damaged.

        Returns:
            Where it was put, for people; `None` when nothing was damaged, and nothing was done.

        Raises:
            StateTooNew: nothing was done.
        """
        ...

    async def list(self, chain: str) -> Sequence[str]:
        """List the ids of the resources directly in a scope, sorted."""
        ...

    async def list_scopes(self, chain: str) -> Sequence[str]:
        """List the chains directly below `chain`, sorted; below `""` the applications, below one its stages.

        Test scopes are listed as `app/test/<id>` below the application.
        """
        ...

    async def count(self, chain: str) -> int:
        """Count the resources in a scope and everything below it."""
        ...

    async def get(self, fqn: str) -> Record | None:
        """Read one record."""
        ...

    async def get_batch(self, fqns: Sequence[str]) -> Mapping[str, Record]:
        """Read several; those that do not exist are left out."""
        ...

    async def all(self, chain: str) -> Mapping[str, Record]:
        """Read every record of a scope and everything below it, by FQN; the scope's own included."""
        ...

    def set(self, lease: Lease, *records: Record, drop: Sequence[str] = ()) -> Awaitable[None]:
        """Write records, and drop the FQNs of `drop`, in one commit: all of it or nothing (a rename is both).

        They are encoded at the call; later changes to them do not count.

        Raises (when awaited):
            LeaseLost: somebody newer holds the unit; nothing of it was written.
            StateError: the medium refused; the store accepts nothing more in this run.
        """
        ...

    def delete(self, lease: Lease, *fqns: str) -> Awaitable[None]:
        """Drop records in one commit; one that does not exist is no error. Raises as `set` does."""
        ...

    def clear_scope(self, lease: Lease, chain: str, *records: Record) -> Awaitable[None]:
        """Drop every record of a scope and below it, its own included, and write records, in one commit.

        Args:
            records: what is there afterwards, wherever in the unit; encoded at the call.

        Raises (when awaited): as `set` does; nothing of it happened.
        """
        ...

    async def fold(self, lease: Lease) -> None:
        """Turn the log of commits into a snapshot at the end of a run. A crash in it loses nothing.

        A unit without any record, its own included, is removed, except for logs and backups.
        """
        ...

    def save_backup(self, lease: Lease, name: str, content: bytes) -> Awaitable[None]:
        """Keep a copy of the unit, as `alchemy.history` makes it. Like `set` it is a plain call, and takes part in its
        order: the backup is durable before any later `set` or `delete` of that lease is.

        Args:
            name: from `history.backup_name`; one that is taken is refused, and what stands is not touched.

        Raises (when awaited): as `set` does.
        """
        ...

    async def backups(self, unit: str) -> Sequence[str]:
        """List the names of a unit's backups, oldest first."""
        ...

    async def read_backup(self, unit: str, name: str) -> bytes:
        """Read a backup whole; `history.decode_backup` notices when it was changed.

        Raises:
            StateError: there is none of that name; lists those there are.
        """
        ...

    async def drop_backups(self, unit: str, *names: str) -> None:
        """Remove backups; one that does not exist is no error."""
        ...

    async def append_log(self, unit: str, name: str, lines: bytes) -> None:
        """Add lines of JSON to a run's log; a log is not state and is written without waiting for the disk."""
        ...

    async def logs(self, unit: str) -> Sequence[str]:
        """List the names of a unit's logs, oldest first."""
        ...

    async def read_log(self, unit: str, name: str) -> bytes:
        """Read a log whole. Raises `StateError` when there is none of that name; lists those there are."""
        ...

    async def drop_logs(self, unit: str, *names: str) -> None:
        """Remove logs; one that does not exist is no error."""
        ...

    async def problems(self, chain: str) -> Sequence[Problem]:
        """Find everything wrong with what is stored at a chain and below it, below `""` all there is.

        Nothing is changed, and damage is told and not raised; what is sound gives nothing.
        """
        ...


@runtime_checkable
class Forceful(Protocol):
    """What a store has besides that can be told to let the scope it is given to begin without state (`force_update`).

    A deploy does it, once a scope that has such a store of its own is entered, or the stage: nobody else does, and
    what reads or destroys by way of such a store leaves everything as it is.
    """

    force_update: bool

    async def redeploy(self) -> Sequence[str]:
        """Put what keeps the state in its place again, before it is used; give what people should know of that."""
        ...

    async def refuses_to_clear(self, lease: Lease, chain: str) -> int | None:
        """Say whether `clear_scope` can be asked for: the status with which it is refused, else `None`.

        Raises:
            LeaseLost: somebody newer holds the chain.
        """
        ...


class Runner(Protocol):
    """What a scope needs from the engine."""

    def declare(self, declared: Declared) -> None:
        """Start a resource."""
        ...

    def observe(self, declared: Declared) -> None:
        """Take note that the program's `await` on a resource returned."""
        ...

    def enter(self, scope: Scope) -> None:
        """Take note that a nested scope was declared; raises when its name is taken in state by a resource."""
        ...

    async def open(self, scope: Scope) -> None:
        """Make a nested scope's own store ready, when it has one."""
        ...

    def leave(self, scope: Scope) -> None:
        """Take note that everything in a nested scope has ended."""
        ...

    async def finalize(self, scope: Scope, options: Finalize) -> list[str]:
        """Destroy what left the program; give the FQNs in order."""
        ...

    async def take_back(self, scope: Scope) -> list[Exception]:
        """Destroy what was created in a scope in this run; give what could not be destroyed."""
        ...

    async def data(self, scope: Scope) -> Mapping[str, Any]:
        """Give a scope's persisted data."""
        ...

    async def set_data(self, scope: Scope, key: str, value: Any) -> None:
        """Persist one value of a scope, durable when it returns."""
        ...

    async def delete_data(self, scope: Scope, key: str) -> None:
        """Forget one value of a scope."""
        ...

    def physical_name(self, fqn: str, kind: str, naming: Naming) -> str:
        """Compute a name that is the same in every run, and in no other copy of the application."""
        ...

    def stop(self) -> None:
        """Start nothing new from now on."""
        ...

    def note_failure(self) -> None:
        """Take note that something failed: what has not begun waits to see whether the program deals with it."""
        ...
