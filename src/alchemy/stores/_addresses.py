"""Where a nested scope keeps its state: what its record says of that, and how it is found again.

A place within the project stays in the record as the program says it, so that a project may be moved as a whole. Beside
it stands the way to the project's folder from the store that the record lies in, if that is on this machine too: so it
is found as well by a command that runs elsewhere and was told of that store alone.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from alchemy.state import JsonObject, Record
from alchemy.stores import is_local, is_relative, is_there, placed

STORE = "state_store"
PROJECT = "project"


def address(place: str, *, root: Path, outer: str) -> JsonObject:
    """Give what a scope's record says of its own store.

    Args:
        place: a URL without credentials, or a path; relative to the project's folder.
        root: that folder.
        outer: the URL of the store that the record lies in.
    """
    if not is_relative(place) or not is_local(outer):
        return {STORE: place}
    return {STORE: place, PROJECT: os.path.relpath(root.absolute(), _path_of(outer))}


def place_of(record: Record, *, outer: str, root: Path | None = None) -> str | None:
    """Give the place in full at which a scope keeps its state, when it has a store of its own.

    That of the project which the record lies in is meant, wherever the asking is done; that of `root`, if there is no
    such folder any more, or the state is only there, as after the outer store was copied.

    Args:
        outer: the URL of the store that the record was found in.
        root: the folder of the project that asks; `None`: the current one.
    """
    place = record.props.get(STORE) if record.is_scope else None
    if not isinstance(place, str) or not is_relative(place):
        return place if isinstance(place, str) else None
    projects = [*_project(record, outer), root or Path.cwd()]
    found = [placed(place, project) for project in projects]
    return next((full for full in found if is_there(full)), found[0])


def _project(record: Record, outer: str) -> list[Path]:
    """Give the folder of the project that a record lies in, if that is known and there."""
    way = record.props.get(PROJECT)
    if not isinstance(way, str) or not is_local(outer):
        return []
    folder = Path(os.path.normpath(_path_of(outer) / way))
    return [folder] if folder.is_dir() else []


def _path_of(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))
