"""Which stage `alchemy destroy` means: found in what was typed, in the program's text, and in the state."""

from __future__ import annotations

from pathlib import Path

from alchemy.cli.places import Place, check_chain, is_unit, stage_of
from alchemy.cli.programs import NAMES, default_program, find_program, shown
from alchemy.errors import ConfigurationError
from alchemy.names import join
from alchemy.ports import StateStore


def parted(target: str | None) -> tuple[Path | None, str | None]:
    """Give the program, or the chain, that was typed: a file, or a folder that holds a program, is a program.

    Raises:
        ConfigurationError: it looks like a path, and there is no such file.
    """
    if target is None:
        return None, None
    path = Path(target)
    if path.is_file() or (path.is_dir() and default_program(path)):
        return find_program(target), None
    if target.endswith(".py") or target.startswith((".", "/", "~")):
        raise ConfigurationError(
            f"there is no program {target}", hint="name an existing file, or a chain such as notes/prod"
        )
    return None, check_chain(target)


async def find_unit(store: StateStore, place: Place, chain: str | None) -> str:
    """Give the stage or test that is meant, which need not exist.

    Args:
        store: where it would be.
        place: the project, whose program may name the application and the stage.
        chain: what was typed: a stage, an application, or nothing.

    Raises:
        ConfigurationError: it cannot be known; lists what there is.
    """
    if chain is None:
        chain = _named(place) or await _only_application(store, place)
    if is_unit(chain):
        return chain
    if "/" in chain:
        raise ConfigurationError(
            f"{chain} is not a stage: only whole stages and tests can be destroyed",
            hint="take what is to go out of the program, and deploy",
        )
    return join(chain, await _stage(store, place, chain))


def _named(place: Place) -> str | None:
    """Give the application that the program's text names."""
    apps = list(dict.fromkeys(opened.app for opened in place.opened if opened.app))
    if len(apps) > 1 and place.program:
        raise ConfigurationError(
            f"{shown(place.program)} opens several applications: {', '.join(apps)}",
            hint="say which one: alchemy destroy APP/STAGE",
        )
    return apps[0] if apps else None


async def _only_application(store: StateStore, place: Place) -> str:
    apps = list(await store.list_scopes(""))
    if len(apps) == 1:
        return apps[0]
    if place.program:
        why = f"{shown(place.program)} does not name its application in plain text"
    else:
        why = f"there is neither {NAMES[0]} nor {NAMES[1]} here"
    if not apps:
        raise ConfigurationError(f"{why}, and the state holds no application", hint="there is nothing to destroy")
    raise ConfigurationError(
        f"{why}, and the state holds several applications: {', '.join(apps)}",
        hint="say which one: alchemy destroy APP/STAGE",
    )


async def _stage(store: StateStore, place: Place, app: str) -> str:
    """Give the stage: from the command line, else as the program's text says, else as the options do."""
    opened = place.said_of(app)
    if "stage" in place.given:
        return str(place.given["stage"])
    if opened and "stage" in opened.options:
        return str(opened.options["stage"])
    if opened and "stage" in opened.computed:
        have = ", ".join(stage_of(unit) for unit in await store.list_scopes(app)) or "none"
        raise ConfigurationError(
            f"the program computes its stage, so it must be said which one is to go; {app} has {have}",
            hint="--stage NAME",
        )
    return place.settings.stage
