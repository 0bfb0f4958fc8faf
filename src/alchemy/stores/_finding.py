"""Which applications, units and locks an `.alchemy` folder holds: names of folders, and back. Changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec

from alchemy.names import RESERVED_STAGE, unit_of
from alchemy.state import Application, unseal
from alchemy.stores._journal import commits_of, scan
from alchemy.stores._layout import NOT_APPS, RECORD, unquote
from alchemy.stores._reading import list_journals, peek
from alchemy.stores._tree import read_file


def find_apps(root: str) -> Iterator[tuple[str, str]]:
    """Give the folders that may be an application's, each after its name."""
    for path in app_folders(root):
        yield name_app(path), path


def app_folders(root: str) -> list[str]:
    """List the folders that may be an application's."""
    return [f"{root}/{name}" for name in _folders(root) if name not in NOT_APPS and not name.startswith(".")]


def unit_folders(folder: str) -> list[str]:
    """List the folders that may be a unit's in an application's."""
    stages = [f"{folder}/{name}" for name in _folders(folder) if name != RESERVED_STAGE]
    tests = f"{folder}/{RESERVED_STAGE}"
    return stages + [f"{tests}/{name}" for name in _folders(tests)]


def name_app(folder: str) -> str:
    """Find out what an application is called, also when its folder's name was cut.

    Raises:
        StateDamaged: what would say it cannot be read.
    """
    name = _leaf(folder)
    return unquote(name) or _cut_app(folder) or name


def name_unit(folder: str, app: str) -> str | None:
    """Find out what a unit is called; `None` when its name was cut and nothing in it says it. Raises as `name_app`."""
    own = unquote(_leaf(folder))
    if own is None:
        return _cut_unit(folder)
    above = _leaf(folder.rpartition("/")[0])
    return f"{app}/{RESERVED_STAGE}/{own}" if above == RESERVED_STAGE else f"{app}/{own}"


def lock_files(folder: str) -> list[str]:
    """List the lock files in a folder and below it."""
    found: list[str] = []
    for above, _, names in os.walk(folder):
        found.extend(f"{above}/{name}" for name in names if name.endswith(".lock"))
    return found


def _leaf(path: str) -> str:
    return path.rpartition("/")[2]


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _cut_app(folder: str) -> str | None:
    try:
        return msgspec.convert(unseal(read_file(f"{folder}/{RECORD}"), where=folder), Application).app
    except FileNotFoundError:
        units = (_cut_unit(path) for path in unit_folders(folder))
        return next((unit.partition("/")[0] for unit in units if unit is not None), None)


def _cut_unit(folder: str) -> str | None:
    try:
        body = unseal(read_file(f"{folder}/{RECORD}"), where=folder)
    except FileNotFoundError:
        body = {}
    name = body.get("fqn", body.get("unit"))
    if isinstance(name, str):
        return name
    for token, journal in list_journals(folder):
        path = f"{folder}/{journal}"
        for frame in scan(path, token, read_file(path)).frames:
            for commit in commits_of(frame, where=path):
                for raw in commit.set:
                    return unit_of(peek(raw).fqn)
    return None
