"""What commands share that change state: finding what they are about, and running with a display."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alchemy.cli.places import Place
    from alchemy.upkeep.stores import Contents


@dataclass(frozen=True, slots=True)
class Subject:
    """What a command is about.

    Attributes:
        chain: as it was typed.
        contents: by stage or test that the chain is, has, or lies in.
    """

    place: Place
    chain: str
    contents: Mapping[str, Contents]

    def chain_in(self, unit: str) -> str:
        """Give the part of a unit that is meant."""
        from alchemy.names import is_within

        return self.chain if is_within(self.chain, unit) else unit


def find_subject(typed: str, options: Mapping[str, Any], *, operation: str) -> Subject:
    """Find what a chain names, and read it.

    Raises:
        ConfigurationError: there is nothing of that name; names near ones.
        StateError: it cannot be read, wherever it lies.
    """
    from alchemy.cli.finding import find, find_units, looking
    from alchemy.cli.places import check_chain, find_place
    from alchemy.errors import StateError
    from alchemy.upkeep.stores import Stores

    name = check_chain(typed)
    place = find_place(options, operation=operation)

    async def look(stores: Stores) -> dict[str, Contents]:
        units = await find_units(stores.first, name)
        found = {unit: await stores.contents(unit) for unit in units}
        if name not in (*units, name.partition("/")[0]):
            await find(stores, name)
        return found

    contents = looking(place, look)
    for found in contents.values():
        for chain, error in found.unreadable.items():
            raise StateError(
                f"what {chain} keeps in a store of its own cannot be read: {error.message}", hint=error.hint
            )
    return Subject(place, name, contents)


def carry_out(place: Place, work: Callable[[], Awaitable[Any]], *, as_json: bool) -> int:
    """Do it, show what happens, list what failed, and give the exit code."""
    from alchemy.cli.execution import execute
    from alchemy.cli.launching import finish, listen, use_local
    from alchemy.cli.programs import add_to_path

    add_to_path(place.root)  # providers may be modules beside the program
    if place.settings.local:
        use_local(place)
    display = listen(place, as_json=as_json)
    return finish(execute(work, display), display, place)
