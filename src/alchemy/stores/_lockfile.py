"""A lock's file: what it says of a holder, and whether that holder still holds.

Whoever holds a chain keeps an flock on its file, which the kernel takes from a dead process at once. Taking a chain
puts a *new file* (already locked) in the old one's place: a holder that was broken keeps its flock on a file that no
longer counts. The file stays when the chain is given back, for its token only grows.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from dataclasses import dataclass

import msgspec

from alchemy.errors import StateDamaged
from alchemy.ports import Lease, Owner
from alchemy.stores._clocks import awake, machine
from alchemy.stores._tree import read_file

_BLOCK = 512


class Held(msgspec.Struct, kw_only=True):
    """A lock file's content; padded with spaces, so that it can be rewritten in place by one write.

    Attributes:
        held: `False` once it was given back or broken; then only the token counts.
        unit: the chain.
        renewed, machine: when it was taken or renewed last, by the clock that whoever has the same `machine` shares.
        brief: held for the moment of one commit under a lease on another chain.
        broken: who took it away, and when; empty when nobody did.
    """

    token: int
    held: bool
    unit: str
    owner: Owner
    since: str
    deadline: float
    ttl: float
    renewed: float = 0.0
    machine: str = ""
    brief: bool = False
    broken: str = ""

    def lease(self) -> Lease:
        """Give it as the lease that it stands for."""
        return Lease(unit=self.unit, token=self.token, owner=self.owner, since=self.since, deadline=self.deadline)

    def extend(self) -> None:
        """Move the deadline by the ttl from now."""
        self.deadline = time.time() + self.ttl
        self.renewed, self.machine = awake(), machine()


@dataclass(slots=True)
class Sighting:
    """A holder, and since when (by this process's clock) its lock file has not changed."""

    token: int
    deadline: float
    first_seen: float


_decoder = msgspec.json.Decoder(Held)
_encoder = msgspec.json.Encoder()


def read_lock(path: str) -> Held | None:
    """Read a lock file; `None` when there is none."""
    try:
        raw = read_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return _decoder.decode(raw)
    except ValueError as error:  # also what is not UTF-8
        raise StateDamaged(
            f"{path} cannot be read: {error}", path=path, hint="delete it when nobody is working on that scope"
        ) from error


def holds(path: str, content: Held, sighting: Sighting | None = None) -> bool:
    """Say whether a lock's holder still holds. To be called under the guard.

    On one machine the flock tells the dead from the living at once, and a common clock how long ago the living have
    renewed. Of others is known what their lock file says: it counts until it has not changed for a ttl, by this
    process's own clock, or until a whole ttl after its deadline, whatever the clocks' difference. Process numbers
    are never compared.
    """
    if not content.held:
        return False
    flocked = is_flocked(path)
    if content.machine and content.machine == machine():
        return flocked and awake() - content.renewed <= content.ttl
    if not flocked and (content.owner.host == socket.gethostname() or time.time() > content.deadline + content.ttl):
        return False
    if sighting is None or (sighting.token, sighting.deadline) != (content.token, content.deadline):
        return True
    return awake() - sighting.first_seen <= content.ttl


def is_flocked(path: str) -> bool:
    """Say whether a process keeps its flock on a file; none does where there is no file."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def put_lock(path: str, content: Held, *, flocked: bool) -> tuple[int, int]:
    """Put a new lock file in place; it is durable, and locked before anybody can see it. Give it open, and its size."""
    aside = f"{path}.new"
    raw = _encoder.encode(content)
    size = -(-(len(raw) + 64) // _BLOCK) * _BLOCK
    fd = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        if flocked:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.pwrite(fd, raw.ljust(size), 0)
        os.fsync(fd)
        os.rename(aside, path)  # noqa: PTH104
        folder = os.open(path.rpartition("/")[0], os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except BaseException:
        os.close(fd)
        raise
    return fd, size


def rewrite_lock(fd: int, content: Held, size: int) -> None:
    """Write a lock file's content in place."""
    os.pwrite(fd, _encoder.encode(content).ljust(size), 0)
