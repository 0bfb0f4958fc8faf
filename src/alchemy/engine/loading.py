"""From a provider's name in a record to the provider, and back.

A record says `module:Class`, or `file:path#Class` for a class defined in a program, whose module has no name of its
own. Such a file is loaded without being run as a program: its `main` is not called.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from alchemy.errors import ConfigurationError
from alchemy.provider import Provider
from alchemy.resource import Resource

PROGRAM = "__alchemy_program__"
"""The module name under which the command line loads a program."""


def provider_name(cls: type[Resource]) -> str:
    """Give what a record says of a resource class's provider; empty for a composite, which has none."""
    given = cls._provider
    if given is None:
        return ""
    if isinstance(given, str):
        return given
    module = sys.modules.get(given.__module__)
    path = getattr(module, "__file__", None)
    if path and given.__module__ in ("__main__", "<run_path>", PROGRAM):
        return f"file:{_relative(Path(path))}#{given.__qualname__}"
    return f"{given.__module__}:{given.__qualname__}"


def _relative(path: Path) -> str:
    """Give a path below the current folder relative to it, so that a checkout may be moved."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.resolve().as_posix()


def load_provider(name: str, *, fqn: str) -> Provider[Any]:
    """Give a new provider for what a record says.

    Raises:
        ConfigurationError: it cannot be imported; names it, and the record that needs it.
    """
    place, _, qualname = name.rpartition("#" if name.startswith("file:") else ":")
    hint = "install or restore the module, or bring the class back under its name"
    try:
        module = _load_file(place.removeprefix("file:")) if name.startswith("file:") else importlib.import_module(place)
        found: Any = module
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, OSError, SyntaxError) as error:
        raise ConfigurationError(f"the provider {name!r} of {fqn} cannot be loaded: {error}", hint=hint) from error
    if not (isinstance(found, type) and issubclass(found, Provider)):
        raise ConfigurationError(f"the provider {name!r} of {fqn} is not a subclass of Provider", hint=hint)
    return cast("type[Provider[Any]]", found)()


def _load_file(place: str) -> ModuleType:
    path = Path(place).resolve()
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) and Path(str(module.__file__)).resolve() == path:
            return module
    spec = importlib.util.spec_from_file_location(f"{PROGRAM}.{path.stem}", path)
    if spec is None or not path.exists():
        raise ImportError(f"there is no Python file {place}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        # From the source: Python's own cache takes a file edited within a second for the old one.
        exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module
