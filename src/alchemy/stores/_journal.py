"""The log of commits between two folds: `journal-<token>.ndjson`, one frame a group of commits.

A frame is two lines, a header and a payload:

```json
{"n":13,"fence":7,"prev":"9f86d081884c7d65","len":57,"sum":"e3b0c44298fc1c14"}
[{"set":[{"version":1,"…":"…"}]},{"delete":["notes/prod/readme"]}]
```

`n` counts the frames of the unit and never starts again; `sum` covers header and payload and is the next frame's
`prev`. So frames form one chain over all journals of a unit, and a holder's first frame says after which frame of
its predecessor it goes on: what a paused predecessor appends later is not part of the chain.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from alchemy.errors import StateDamaged
from alchemy.stores._disk import Disk
from alchemy.stores._refusals import NO_SPACE

START = "0" * 16
_NAME = re.compile(r"journal-(\d+)\.ndjson")
_HEADER = re.compile(
    rb'\{"n":(\d{1,18}),"fence":(\d{1,18}),"prev":"([0-9a-f]{16})","len":(\d{1,18}),"sum":"([0-9a-f]{16})"\}\n'
)
HINT = "restore the unit from a backup; until then nothing in it is changed"


class Fold(msgspec.Struct, kw_only=True):
    """What the record files will be once the fold that is being begun is done: see `_reading.Manifest`."""

    count: int
    hash: str


class Commit(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One element of a payload: what is dropped, and then what is written, as `state.encode` gives it.

    Attributes:
        gone: record files that may be missing from now on, with the checksums that they have while they are there,
            by FQN: of records that this frame or an earlier one drops.
    """

    set: list[msgspec.Raw] = []
    delete: list[str] = []
    gone: dict[str, str] = {}
    fold: Fold | None = None


_commits = msgspec.json.Decoder(list[Commit])
_encoder = msgspec.json.Encoder()


class Frame(NamedTuple):
    """A frame as it was read; `payload` is its second line."""

    n: int
    prev: str
    sum: str
    payload: bytes


@dataclass(slots=True)
class Scan:
    """What a journal holds.

    Attributes:
        path, token: of the journal.
        frames: the good ones, from its start.
        good: bytes of them; what follows is torn or damaged.
        size: bytes of the file.
        later: the number of the last good frame after a bad one, or 0.
    """

    path: str
    token: int
    frames: list[Frame] = field(default_factory=list[Frame])
    good: int = 0
    size: int = 0
    later: int = 0


@dataclass(slots=True)
class Chain:
    """The frames that count, in order, after the last folded one.

    Attributes:
        frames: to be replayed over the record files.
        n, head: number and checksum of the last frame; what the next one goes on from.
        torn: journals whose end was cut short and that nobody has gone on from.
    """

    frames: list[Frame]
    n: int
    head: str
    torn: list[Scan]


def journal_name(token: int) -> str:
    """Name the journal of the holder with this token."""
    return f"journal-{token}.ndjson"


def journal_token(name: str) -> int | None:
    """Give the token in a journal's name; `None` for other files."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def make_frame(n: int, fence: int, prev: str, payload: bytes) -> tuple[bytes, str]:
    """Give a frame's bytes and its checksum."""
    head = b'{"n":%d,"fence":%d,"prev":"%s","len":%d' % (n, fence, prev.encode(), len(payload))
    checksum = _sum(head, payload)
    return b'%s,"sum":"%s"}\n%s\n' % (head, checksum.encode(), payload), checksum


def fold_payload(fold: Fold) -> bytes:
    """Give one commit that announces a fold."""
    return _encoder.encode(Commit(fold=fold))


def gone_payload(sums: Mapping[str, bytes]) -> bytes:
    """Give one commit that announces the removal of record files."""
    return _encoder.encode(Commit(gone={fqn: checksum.decode() for fqn, checksum in sums.items()}))


def delete_payload(fqns: Sequence[str]) -> bytes:
    """Give one commit that drops records, as an element of a payload."""
    return b'{"delete":%s}' % _encoder.encode(fqns)


def set_payload(raws: Sequence[bytes], dropped: Sequence[str] = ()) -> bytes:
    """Give one commit that writes encoded records, and drops others first."""
    if dropped:
        return b'{"set":[%s],"delete":%s}' % (b",".join(raws), _encoder.encode(list(dropped)))
    return b'{"set":[%s]}' % b",".join(raws)


def commits_of(frame: Frame, *, where: str) -> list[Commit]:
    """Read a frame's commits."""
    try:
        return _commits.decode(frame.payload)
    except msgspec.DecodeError as error:
        raise StateDamaged(f"commit {frame.n} in {where} cannot be read: {error}", path=where, hint=HINT) from error


def scan(path: str, token: int, data: bytes) -> Scan:
    """Read a journal's frames as far as they are good."""
    found = Scan(path=path, token=token, size=len(data))
    frames = found.frames
    position = 0
    while position < len(data):
        read = _frame_at(data, position, token)
        if read is None or (frames and (read[0].n != frames[-1].n + 1 or read[0].prev != frames[-1].sum)):
            break
        frame, position = read
        frames.append(frame)
    found.good = position
    if position < len(data):
        found.later = _last_good_after(data, position, token)
    return found


def chain(journals: Sequence[Scan], *, n: int, head: str) -> Chain:
    """Put the journals' frames together.

    Args:
        journals: by growing token.
        n, head: number and checksum of the last frame that is folded already.

    Raises:
        StateDamaged: a frame is bad or missing and later ones are there.
    """
    folded = n
    frames: list[Frame] = []
    torn: list[Scan] = []
    suspect: Scan | None = None
    for journal in journals:
        mine = [frame for frame in journal.frames if frame.n > folded]
        if mine:
            first = mine[0]
            above = first.n - folded - 1
            if above > len(frames) or first.prev != (frames[above - 1].sum if above else head):
                raise _gap(suspect or (torn[-1] if torn else journal), first.n)
            del frames[above:]  # a paused predecessor wrote those after the takeover
            frames.extend(mine)
            torn.clear()
            suspect = None
        if journal.later > folded:
            suspect = journal
        if journal.good < journal.size:
            torn.append(journal)
    if suspect is not None:
        raise _gap(suspect, suspect.later)
    last = frames[-1] if frames else None
    return Chain(frames=frames, n=last.n if last else n, head=last.sum if last else head, torn=torn)


class Journal:
    """The journal of the holder, to be appended to.

    Args:
        folder: the unit's, which must exist.
        token: the holder's.
        n, head: the last frame of the unit, which the first one here goes on from.
    """

    def __init__(self, disk: Disk, folder: str, *, token: int, n: int, head: str) -> None:
        self.path = f"{folder}/{journal_name(token)}"
        self.n = n
        self.head = head
        self._disk = disk
        self._folder = folder
        self._token = token
        self._fd: int | None = None
        self._size = 0

    def append(self, payload: bytes) -> None:
        """Write one frame; it is durable on return.

        Raises:
            DiskFull: there was no room; the journal is as it was.
            OSError: as the disk gave it. Unless it is one of `NO_FILES` (then nothing was written), nothing more may
                be written.
        """
        frame, checksum = make_frame(self.n + 1, self._token, self.head, payload)
        try:
            if self._fd is None:
                self._begin()
            assert self._fd is not None
            self._disk.append(self._fd, frame)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            self._cut()
            raise DiskFull from error
        self._disk.fdatasync(self._fd)
        if os.fstat(self._fd).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "the file was removed meanwhile", self.path)
        self._size += len(frame)
        self.n += 1
        self.head = checksum

    def close(self) -> None:
        """Let go of the file; appending opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _begin(self) -> None:
        """Open the journal, with a name that would survive a power cut before anything is in it."""
        fd = self._disk.open_append(self.path)
        try:
            self._size = os.fstat(fd).st_size
            self._disk.sync_folder(self._folder)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def _cut(self) -> None:
        if self._fd is not None:
            self._disk.truncate(self._fd, self._size)
            if self._size == 0:
                self.close()  # the next append then makes its name durable


class DiskFull(Exception):
    """There was no room for a frame, and nothing of it is left in the journal; or for what the message names."""


def _sum(head: bytes, payload: bytes) -> str:
    digest = hashlib.blake2b(head, digest_size=8)
    digest.update(payload)
    return digest.hexdigest()


def _frame_at(data: bytes, position: int, token: int) -> tuple[Frame, int] | None:
    header = _HEADER.match(data, position)
    if header is None or int(header[2]) != token:
        return None
    start, end = header.end(), header.end() + int(header[4])
    payload = data[start:end]
    checksum = header[5].decode()
    if data[end : end + 1] != b"\n" or _sum(data[position : header.end(4)], payload) != checksum:
        return None
    return Frame(int(header[1]), header[3].decode(), checksum, payload), end + 1


def _last_good_after(data: bytes, position: int, token: int) -> int:
    # Not only at the beginnings of lines: the end of the line before may be what is damaged.
    last = 0
    while (position := data.find(b'{"n":', position)) >= 0:
        read = _frame_at(data, position, token)
        if read is None:
            position += 1
        else:
            last, position = read[0].n, read[1]
    return last


def _gap(journal: Scan, n: int) -> StateDamaged:
    return StateDamaged(
        f"{journal.path} is damaged: commit {n} is there, but one before it cannot be read",
        path=journal.path,
        hint=HINT,
    )
