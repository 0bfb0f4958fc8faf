"""`alchemy state export`, and taking back what it wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alchemy.cli.options import given, launch_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alchemy.cli.places import Place
    from alchemy.upkeep.copying import Contents, Copied


@click.command("export")
@click.argument("chain", required=False)
@click.option("--output", "-o", type=click.Path(dir_okay=False), help="The file to write; stdout if it is not said.")
@launch_options("local", "state_dir", "state_store")
def command(chain: str | None, output: str | None, **options: Any) -> None:
    """Write state into one file: CHAIN, an application, a stage or a test, or all there is.

    `alchemy state import FILE` takes it back, into any store. Secrets in it are encrypted as they are in state.
    Backups, logs, and what nested scopes keep in stores of their own are not in it.
    """
    import os
    import sys

    from alchemy.cli import terminal
    from alchemy.cli.columns import plural
    from alchemy.cli.finding import find_whole_units
    from alchemy.cli.places import find_place, reading
    from alchemy.errors import ConfigurationError
    from alchemy.ports import StateStore
    from alchemy.stores._sealed import plain
    from alchemy.upkeep.exporting import export

    path = Path(output).absolute() if output is not None else None
    place = find_place(given(options), operation="export")

    async def work(store: StateStore) -> tuple[list[str], bytes]:
        units = await find_whole_units(store, chain)
        return units, await export(plain(store), units)

    units, content = reading(place, work)
    if path is None:
        sys.stdout.buffer.write(content)
        return
    try:
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(content)
    except OSError as error:
        raise ConfigurationError(f"{output} cannot be written: {error.strerror}", hint="name a new file") from error
    terminal.note(f"{plural(len(units), 'stage')} written to {output}")


def import_back(path: Path, options: Mapping[str, Any], *, yes: bool, as_json: bool) -> None:
    """Take back what was exported."""
    import asyncio

    import msgspec

    from alchemy.cli import terminal
    from alchemy.cli.columns import plural
    from alchemy.cli.launching import tell_notices
    from alchemy.cli.places import find_place
    from alchemy.names import join
    from alchemy.upkeep.exporting import read_export

    place = find_place(options, operation="import")
    tell_notices()
    contents = read_export(path)
    stage = options.get("stage")
    if stage is not None:
        contents = [one for one in contents if one.unit == join(one.unit.partition("/")[0], stage)]
    done = {one.unit: one for one in asyncio.run(_work(place, contents, write=yes))}
    rows: list[dict[str, Any]] = []
    for one in contents:
        was = done.get(one.unit)
        verb = "would be imported" if was is None else "were there already" if was.already else "imported"
        rows.append({"unit": one.unit, "records": len(one.records), "written": was is not None and not was.already})
        if not as_json:
            click.echo(f"{one.unit}: {plural(len(one.records), 'record')} {verb}")
    if as_json:
        click.echo(msgspec.json.encode({"source": str(path), "form": "export", "written": yes, "stages": rows}))
    elif not yes:
        terminal.note("nothing was written; add --yes to import")


async def _work(place: Place, contents: Sequence[Contents], *, write: bool) -> Sequence[Copied]:
    from alchemy import config
    from alchemy.cli.places import check_said
    from alchemy.stores import is_there, store_of
    from alchemy.stores._sealed import plain
    from alchemy.upkeep.exporting import check_import, import_export

    check_said(place)
    config.check_lasting(place.settings)
    store = plain(store_of(place.settings, place.root))
    if not write and not is_there(store.url):
        return []
    await store.init()
    try:
        if write:
            return await import_export(store, contents, place.settings)
        await check_import(store, contents)
        return []
    finally:
        await store.deinit()
