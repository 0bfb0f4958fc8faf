"""Where state is, and what is in it: for the commands that work without running the program."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from alchemy import config
from alchemy.cli.literals import Opened, opened_in
from alchemy.cli.programs import default_program, shown
from alchemy.config import Launch, Settings
from alchemy.errors import ConfigurationError
from alchemy.names import RESERVED_STAGE, parent
from alchemy.ports import StateStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """The project that a command works on.

    Attributes:
        program: its program, if there is one; read, never run.
        opened: the applications that the program opens, as far as its text says.
        settings: the options, from the command line, the environment, the project's table and that text.
        given: the options that were said on the command line.
    """

    root: Path
    program: Path | None
    opened: Sequence[Opened]
    settings: Settings
    given: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def local_data(self) -> Path:
        """Give the folder of the Cloudflare on this machine."""
        return self.root / self.settings.state_dir / "local"

    @property
    def store(self) -> Mapping[str, Any]:
        """Give the options that say where state is, as the program's text does."""
        options = self.opened[0].options if self.opened else {}
        return {name: options[name] for name in ("state_dir", "state_store") if name in options}

    def said_of(self, app: str) -> Opened | None:
        """Give what the program's text says of an application; one whose name is computed may be any."""
        return next((opened for opened in self.opened if opened.app in (app, None)), None)


def find_place(
    options: Mapping[str, Any], *, operation: str, program: Path | None = None, stores: Sequence[str] = ()
) -> Place:
    """Put together what a command works on, set it as what is launched, and go into its folder.

    Paths in a program mean the same wherever it is called from: relative to the folder it lies in. The Cloudflare on
    this machine is started when state lies there.

    Args:
        options: from the command line.
        operation: what holds the lease, for others to read.
        program: the program; `None`: the current folder's, if it has one.
        stores: more stores that are used, besides the one of the settings.

    Raises:
        ConfigurationError: an option cannot be used.
    """
    program = program.absolute() if program else default_program(Path.cwd())
    root = program.parent if program else Path.cwd()
    os.chdir(root)
    config.launch.set(Launch(options=options, operation=operation, root=root, program=program))
    opened = _opened_by(program) if program else []
    literal = {name: value for name, value in opened[0].options.items() if name != "stage"} if opened else {}
    place = Place(root, program, opened, config.resolve(literal), options)
    used = [place.settings.state_store, *stores]
    if operation != "local" and place.settings.local and any(map(_is_at_cloudflare, used)):
        from alchemy.cli.local_cloudflare import ensure_running

        ensure_running(place.local_data)
    return place


def _is_at_cloudflare(store: object) -> bool:
    """Whether a store lies on the account, which with `local` is the one on this machine."""
    return isinstance(store, str) and urlsplit(store).scheme == "cloudflare"


def _opened_by(program: Path) -> list[Opened]:
    try:
        return opened_in(program.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []  # destroying must work while the program is broken


@contextlib.asynccontextmanager
async def opened_store(place: Place) -> AsyncGenerator[StateStore]:
    """Open the place's store for reading; nothing is made where there is none."""
    from alchemy.stores import store_of
    from alchemy.upkeep.stores import check_there

    settings = place.settings
    folder = place.root / settings.state_dir
    check_said(place)
    store = store_of(settings, place.root)
    if settings.state_store is None and not folder.is_dir():
        config.check_lasting(settings)
        raise ConfigurationError(
            f"there is no state in {shown(folder)}",
            hint="deploy something first, or say where it is: --state-dir DIR, --state-store URL",
        )
    check_there(store.url)
    await store.init()
    try:
        yield store
    finally:
        await store.deinit()


def check_said(place: Place) -> None:
    """Raise `ConfigurationError` when the program keeps its state in a store that only running it would tell."""
    if not place.settings.is_place_said and any("state_store" in opened.hidden for opened in place.opened):
        assert place.program is not None
        raise ConfigurationError(
            f"{shown(place.program)} makes its state store itself, so it must be said where that is",
            hint="--state-store URL, ALCHEMY_STATE_STORE, or state_store in [tool.alchemy]",
        )


def reading(place: Place, work: Callable[[StateStore], Awaitable[T]]) -> T:
    """Run `work` with the place's store, and give what it gives."""

    async def run() -> T:
        async with opened_store(place) as store:
            return await work(store)

    return asyncio.run(run())


async def units_of(store: StateStore, app: str) -> list[str]:
    """List the stages and tests of an application."""
    return list(await store.list_scopes(app))


def stage_of(unit: str) -> str:
    """Give a unit's name within its application: `prod`, or `test/<id>`."""
    return unit.partition("/")[2]


async def check_unit(store: StateStore, unit: str) -> None:
    """Raise `ConfigurationError` when there is no such stage; lists those there are."""
    app = unit.partition("/")[0]
    apps = list(await store.list_scopes(""))
    if app not in apps:
        near = difflib.get_close_matches(app, apps, 1)
        have = f"there are {', '.join(apps)}" if apps else "the state is empty"
        raise ConfigurationError(
            f"there is no application {app!r} in {store.url}", hint=f"did you mean {near[0]!r}?" if near else have
        )
    units = await units_of(store, app)
    if unit not in units:
        have = ", ".join(stage_of(known) for known in units)
        raise ConfigurationError(
            f"{app} has no stage {stage_of(unit)!r}"
            + (f"; it has {have}" if have else f": nothing of {app} is deployed"),
            hint=f"say one that is there: {', '.join(units)}" if have else None,
        )


def check_chain(text: str) -> str:
    """Give a chain from the command line without a slash at its end. Raises `ConfigurationError` for a blank part."""
    chain = text.rstrip("/")
    if not all(chain.split("/")):
        raise ConfigurationError(f"{text!r} is not a chain", hint="such as notes/prod")
    return chain


def is_unit(chain: str) -> bool:
    """Say whether a chain names a stage or a test."""
    parts = chain.split("/")
    return len(parts) == 3 if len(parts) > 1 and parts[1] == RESERVED_STAGE else len(parts) == 2


def held_by(chain: str) -> str:
    """Give the unit that a longer chain lies in."""
    while not is_unit(chain) and "/" in chain:
        chain = parent(chain)
    return chain
