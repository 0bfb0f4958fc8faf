"""From a path to a source: which of the two forms it is."""

from __future__ import annotations

import json
from pathlib import Path

from alchemy.errors import ConfigurationError, StateDamaged, StateError
from alchemy.importing.flat import read_flat
from alchemy.importing.found import Source
from alchemy.importing.typescript import read_folder
from alchemy.state import Json


def read_source(path: Path, *, app: str | None, stage: str | None, default_stage: str, folder: Path) -> Source:
    """Read a source whole; blocks while it does.

    Args:
        path: a folder that Alchemy for TypeScript wrote (`.alchemy`, or an application's folder in it), or a flat JSON
            file.
        app: the application: which one of a folder, or whose a flat file is; `None`: the only one.
        stage: the stage: which one of a folder (`None`: all), or which one a flat file is.
        default_stage: what a flat file is when nothing says its stage.
        folder: where relative paths start, unless the source lies in another project's `.alchemy`.

    Raises:
        ConfigurationError: there is no such thing, or it has to be said which part of it is meant.
        StateDamaged: it is not what it should be; names the file and the key.
        StateTooNew: a newer version wrote it.
    """
    if path.is_dir():
        return read_folder(path, app=app, stage=stage, folder=folder, load=load_json)
    if not path.is_file():
        raise ConfigurationError(
            f"there is neither a file nor a folder {path}",
            hint="name a folder written by Alchemy for TypeScript, or a JSON file",
        )
    return read_flat(path, load_json(path), app=app, stage=stage, default_stage=default_stage, folder=folder)


def load_json(path: Path) -> Json:
    """Read a file of JSON.

    Raises:
        StateDamaged: it is not JSON. StateError: it cannot be read.
    """
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise StateDamaged(
            f"{path} is not JSON: {error}", path=str(path), hint="nothing was imported; correct the source first"
        ) from error
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}", hint="check its permissions") from error


def _without_doubles(pairs: list[tuple[str, Json]]) -> Json:
    """Refuse an object with a key twice: Python would drop the first, and a resource with it."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for index, (key, _) in enumerate(pairs) if key in dict(pairs[:index]))
        raise ValueError(f"the key {twice!r} is there twice")
    return found
