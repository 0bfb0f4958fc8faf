"""Making a unit loadable again that is damaged: what can be read stays, and all there was is put aside. Blocks.

What was there goes to `.alchemy/.aside/<app>/<stage>-<time>/`; logs and backups stay. The order of the steps keeps the
unit damaged, and so refused by every run, until the last of them: a crash in between loses nothing, and the next
attempt finds what is left.

1. The records that can be read are written into a new journal, which does not count while the old `state.json` or
   journals are there.
2. The folders of record files are moved aside: from now on fewer files are there than the old `state.json` says.
3. The old `state.json` is moved: from now on the old journals do not say what they go on from.
4. The old journals are moved: the new journal is all there is.
"""

from __future__ import annotations

import os

import msgspec

from alchemy.errors import AlchemyError
from alchemy.state import Record, decode, encode
from alchemy.stores._disk import Disk
from alchemy.stores._folding import make_folders
from alchemy.stores._journal import START, commits_of, journal_name, journal_token, make_frame, scan, set_payload
from alchemy.stores._layout import ASIDE, BACKUPS, LOGS, RECORD
from alchemy.stores._reading import Manifest, list_journals, peek, read_head
from alchemy.stores._soundness import unsure
from alchemy.stores._tree import Tree, Walk, read_file


def readable_records(folder: str, unit: str) -> dict[str, Record]:
    """Give the records of a damaged unit that can be read, each as its newest writing that can be."""
    tree = Tree()
    manifest = Manifest()
    try:
        head = read_head(folder, unit)
    except (AlchemyError, OSError):
        head = None
    if head is not None:
        manifest, own = head
        if own is not None:
            tree.records[unit] = own
    Walk(tree, tolerant=True).scope(folder, unit)
    found = dict(tree.records)
    for token, name in list_journals(folder):
        _replay(f"{folder}/{name}", token, manifest.commit, found)
    return found


def _replay(path: str, token: int, folded: int, found: dict[str, Record]) -> None:
    """Take in what a journal changed, as far as it can be read."""
    try:
        frames = scan(path, token, read_file(path)).frames
    except OSError:
        return
    for frame in frames:
        # The journal of an interrupted salvage begins anew: it says everything that there is.
        if frame.n <= folded and not (frame.n == 1 and frame.prev == START):
            continue
        try:
            for commit in commits_of(frame, where=path):
                for fqn in commit.delete:
                    found.pop(fqn, None)
                for raw in commit.set:
                    found[peek(bytes(raw)).fqn] = decode(bytes(raw), where=path)
        except (AlchemyError, msgspec.DecodeError):
            continue


def salvage(disk: Disk, folder: str, unit: str, *, aside: str, token: int) -> None:
    """Put everything of a damaged unit aside but what can be read. To be called under the guard, exclusively.

    Args:
        aside: the folder that is made for it.
        token: of the lease; its journal is the new one.
    """
    records = readable_records(folder, unit)
    old = [name for name in os.listdir(folder) if name not in (LOGS, BACKUPS)]  # noqa: PTH208
    make_folders(disk, aside)
    if records:
        encoded = [encode(unsure(record)) for record in records.values()]
        frame, _ = make_frame(1, token, START, b"[%s]" % set_payload(encoded))
        path = f"{folder}/{journal_name(token)}"
        disk.write_file(path + ASIDE, frame, sync=True)
        disk.replace(path + ASIDE, path)
        disk.sync_folder(folder)
    for name in sorted(old, key=_step):
        disk.replace(f"{folder}/{name}", f"{aside}/{name}")
        disk.sync_folder(folder)
    disk.sync_folder(aside)


def _step(name: str) -> int:
    return 2 if journal_token(name) is not None else 1 if name == RECORD else 0
