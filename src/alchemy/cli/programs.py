"""The program: which file it is, and how it is loaded."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from alchemy.engine.loading import PROGRAM
from alchemy.errors import ConfigurationError

NAMES = ("alchemy.run.py", "alchemy_run.py")

Main = Callable[[], Coroutine[Any, Any, Any]]


def default_program(folder: Path) -> Path | None:
    """Give the program that a folder holds, if it does."""
    return next((folder / name for name in NAMES if (folder / name).is_file()), None)


def find_program(given: str | None) -> Path:
    """Give the absolute path of the program to run.

    Args:
        given: a file, or a folder that holds one; `None`: the current folder.

    Raises:
        ConfigurationError: there is none; says what was looked for, and where.
    """
    place = Path(given) if given is not None else Path()
    if place.is_file():
        return place.absolute()
    if not place.is_dir():
        raise ConfigurationError(
            f"there is no program {given}", hint=f"name a Python file, or a folder that holds {NAMES[0]}"
        )
    found = default_program(place)
    if found is None:
        raise ConfigurationError(
            f"there is no program in {place.resolve()}: looked for {' and '.join(NAMES)}",
            hint="`alchemy init` makes one; or name the file: alchemy deploy PATH",
        )
    return found.absolute()


def load_main(program: Path) -> Main:
    """Load a program, and give its `main`, not called yet.

    It is compiled from the file as it stands: Python's own cache of compiled files takes a file that was edited
    within a second for the old one when its size stayed.

    Raises:
        ConfigurationError: it cannot be read, or has no `async def main()`.
        Exception: whatever the program raises while it is loaded.
    """
    try:
        source = program.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{program} cannot be read: {error.strerror or error}") from error
    spec = importlib.util.spec_from_file_location(PROGRAM, program)
    if spec is None:
        raise ConfigurationError(f"{shown(program)} is not a Python file", hint="its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[PROGRAM] = module
    add_to_path(program.parent)
    exec(compile(source, str(program), "exec", dont_inherit=True), module.__dict__)
    return _main_of(module, shown(program))


def add_to_path(folder: Path) -> None:
    """Let modules beside the program be imported, as Python does for a script."""
    entry = str(folder.absolute())
    if entry not in sys.path:
        sys.path.insert(0, entry)


def _main_of(module: object, name: str) -> Main:
    main: Any = getattr(module, "main", None)
    example = "async def main() -> None:"
    if main is None:
        raise ConfigurationError(f"{name} defines no `main`", hint=f"the program starts there: {example}")
    if not callable(main):
        raise ConfigurationError(f"`main` in {name} is a {type(main).__name__}", hint=f"make it a function: {example}")
    if not inspect.iscoroutinefunction(main):
        raise ConfigurationError(f"`main` in {name} is not asynchronous", hint=f"write {example}")
    needed = [
        parameter.name
        for parameter in inspect.signature(main).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if needed:
        raise ConfigurationError(
            f"`main` in {name} takes {', '.join(needed)}: nobody gives it arguments",
            hint=f"write {example} and read options from the environment: alchemy.env(NAME)",
        )
    return main  # type: ignore[no-any-return]


def shown(path: Path) -> str:
    """Give a path as people know it: relative to the current folder where it lies below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def shown_store(url: str) -> str:
    """Give a store's URL as people know it: relative where its place lies below the current folder."""
    from alchemy.stores import is_local

    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    return f"{parts.scheme}:{shown(path)}" if is_local(url) and path.is_relative_to(Path.cwd()) else url
