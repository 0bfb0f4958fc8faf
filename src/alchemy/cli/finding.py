"""Finding in state what a chain on the command line names, whatever store it lies in."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from typing import NoReturn, TypeVar

from alchemy.cli import terminal
from alchemy.cli.places import Place, check_chain, check_unit, held_by, is_unit, opened_store
from alchemy.errors import AlchemyError, ConfigurationError
from alchemy.ports import StateStore
from alchemy.upkeep.stores import Contents, Stores

T = TypeVar("T")


@contextlib.asynccontextmanager
async def opened_stores(place: Place) -> AsyncGenerator[Stores]:
    """Open the place's store, and with it whatever stores are come across in it."""
    async with opened_store(place) as store:
        stores = Stores(store)
        try:
            yield stores
        finally:
            await stores.close()


def looking(place: Place, work: Callable[[Stores], Awaitable[T]]) -> T:
    """Run `work` with the place's stores, and give what it gives."""

    async def run() -> T:
        async with opened_stores(place) as stores:
            return await work(stores)

    return asyncio.run(run())


async def find_units(store: StateStore, chain: str | None) -> list[str]:
    """Give the stages and tests that a chain lies in, or that lie in it; all for none.

    Raises:
        ConfigurationError: there is no such application, stage or test; names near ones.
    """
    apps = list(await store.list_scopes(""))
    if chain is None:
        return [unit for app in apps for unit in await store.list_scopes(app)]
    name = check_chain(chain)
    unit = held_by(name)
    if is_unit(unit):
        await check_unit(store, unit)
        return [unit]
    app = name.partition("/")[0]
    if app not in apps:
        unknown(app, apps)
    units = list(await store.list_scopes(app))
    found = [known for known in units if known.startswith(f"{name}/")]
    if not found and name != app:
        unknown(name, units)
    return found


async def find_whole_units(store: StateStore, chain: str | None) -> list[str]:
    """Give the stages and tests that a chain is, or that an application has; all for none.

    Raises:
        ConfigurationError: there is nothing of that name, or it is a part of a stage.
    """
    units = await find_units(store, chain)
    if chain is not None and is_unit(held_by(check_chain(chain))) and check_chain(chain) not in units:
        raise ConfigurationError(f"{chain} is a part of a stage", hint=f"name all of it: {units[0]}")
    return units


async def find(stores: Stores, chain: str | None) -> Contents:
    """Give what there is at a chain and below it, or everything.

    Raises:
        ConfigurationError: there is nothing of that name; names near ones.
        StateError: it cannot be read.
    """
    found = Contents()
    for unit in await find_units(stores.first, chain):
        found.add(await stores.contents(unit))
    if chain is None or not found.records:
        return found
    name = check_chain(chain)
    inside = found.within(name)
    if not inside.records:
        if found.unreadable:
            tell(found.unreadable)
        unknown(name, found.records)
    return inside


def tell(unreadable: Mapping[str, AlchemyError]) -> int:
    """Write to stderr what could not be read, if anything; give the exit code."""
    for chain, error in unreadable.items():
        terminal.problem(f"what {chain} keeps in a store of its own cannot be read: {error.message}", error.hint)
    return 1 if unreadable else 0


def near(name: str, known: Iterable[str]) -> str | None:
    """Give the hint that names what is called nearly so; `None` when nothing is."""
    found = difflib.get_close_matches(name, list(known), 3)
    return f"did you mean {', '.join(found)}?" if found else None


def unknown(name: str, known: Iterable[str]) -> NoReturn:
    """Raise `ConfigurationError`: there is nothing of that name; names near ones."""
    hint = near(name, known) or "`alchemy state list` shows what there is"
    raise ConfigurationError(f"there is no {name} in state", hint=hint)
