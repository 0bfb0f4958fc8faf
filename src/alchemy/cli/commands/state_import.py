"""`alchemy state import`: take over the state that something else has kept."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alchemy.cli.commands.state_export import import_back
from alchemy.cli.options import given, launch_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alchemy.cli.places import Place
    from alchemy.importing import Import, Plan, Request, Source
    from alchemy.importing.translating import Item
    from alchemy.ports import StateStore


@click.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--app", metavar="NAME", help="The application: which one of a folder, or whose a file is.")
@launch_options("stage", "local", "state_dir", "state_store")
@click.option(
    "--password-env",
    metavar="VARIABLE",
    help="The variable with the password that PATH was encrypted with, if that is not ALCHEMY_PASSWORD.",
)
@click.option("--yes", "-y", is_flag=True, help="Import; without it nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def command(path: Path, app: str | None, password_env: str | None, yes: bool, as_json: bool, **options: Any) -> None:
    """Import state from PATH, and first show what that would do.

    PATH is a folder that Alchemy for TypeScript wrote, a JSON file that holds everything, or what `alchemy state
    export` wrote. Of a folder all stages are imported, unless --stage names one. Records that exist are not written
    over; what has no counterpart is kept in a file beside the state.
    """
    from alchemy.upkeep.exporting import is_export

    if is_export(path):
        import_back(path.absolute(), given(options), yes=yes, as_json=as_json)
        return
    _import(path.absolute(), app, given(options), password_env, yes=yes, as_json=as_json)


def _import(
    path: Path, app: str | None, options: Mapping[str, Any], password_env: str | None, *, yes: bool, as_json: bool
) -> None:
    from alchemy.cli import terminal
    from alchemy.cli.launching import tell_notices
    from alchemy.cli.places import find_place
    from alchemy.errors import AlchemyError
    from alchemy.importing import Request, read_source

    place = find_place(options, operation="import")
    tell_notices()
    _refuse_own_folder(place, path)
    source = read_source(
        path,
        app=app or _said_app(place, path),
        stage=options.get("stage"),
        default_stage=place.settings.stage,
        folder=place.root,
    )
    request = Request(
        source=source,
        settings=place.settings,
        folder=place.root / place.settings.state_dir,
        password=place.settings.password,
        source_password=_password(password_env) if password_env else place.settings.password,
    )
    try:
        imports = asyncio.run(_work(place, request, write=yes))
    except AlchemyError as error:
        for done in getattr(error, "__notes__", ()):  # of several stages, those before the one that failed
            terminal.note(done)
        raise
    _show_json(imports, source, written=yes) if as_json else _show(imports, written=yes)


def _password(variable: str) -> str:
    """Give what an environment variable holds; raises `ConfigurationError` when that is nothing."""
    from alchemy.errors import ConfigurationError

    value = os.environ.get(variable)
    if not value:
        raise ConfigurationError(f"{variable} is not set", hint="export it, with the password of what is imported")
    return value


def _said_app(place: Place, path: Path) -> str | None:
    """Give the application that the program's text names, for a file, which may not say it."""
    names = {opened.app for opened in place.opened}
    return names.pop() if path.is_file() and len(names) == 1 else None


def _refuse_own_folder(place: Place, path: Path) -> None:
    """Refuse to import from the very folder that the records go to: both would call their files alike."""
    from alchemy.cli.programs import shown
    from alchemy.errors import ConfigurationError

    ours = (place.root / place.settings.state_dir).resolve()
    theirs = path.resolve()
    if (
        place.settings.state_store is None
        and path.is_dir()
        and (theirs.is_relative_to(ours) or ours.is_relative_to(theirs))
    ):
        raise ConfigurationError(
            f"{shown(path)} is where this package keeps its own state: the two must not lie in one folder",
            hint="move it, such as: mv .alchemy alchemy-ts, then: alchemy state import alchemy-ts",
        )


async def _work(place: Place, request: Request, *, write: bool) -> Sequence[Import]:
    from alchemy import config
    from alchemy.cli.places import check_said
    from alchemy.importing import Import, dry_run, run_import
    from alchemy.stores import store_of

    check_said(place)
    folder = place.root / place.settings.state_dir
    if not write and place.settings.state_store is None and not folder.is_dir():
        return [Import(plan=plan) for plan in await dry_run(None, request)]
    config.check_lasting(place.settings)
    store: StateStore = store_of(place.settings, place.root)
    try:
        if write:
            return await run_import(store, request)
        return [Import(plan=plan) for plan in await dry_run(store, request)]
    finally:
        await store.deinit()


def _show(imports: Sequence[Import], *, written: bool) -> None:
    from alchemy.cli import terminal
    from alchemy.cli.programs import shown

    for one in imports:
        _show_plan(one.plan, written=written)
        if one.aside is not None:
            click.echo(f"  kept in {shown(one.aside)}")
        if one.backup is not None:
            click.echo(f"  what was there before is in the backup {one.backup}")
    if not written:
        terminal.note("nothing was written; add --yes to import")


def _show_plan(plan: Plan, *, written: bool) -> None:
    from alchemy.cli.columns import aligned

    verb = "imported" if written else "would be imported"
    click.echo(f"{plan.unit}: {_count(len(plan.items), 'resource')} and {_count(len(plan.scopes), 'scope')} {verb}")
    rows = [(f"  {item.fqn}", item.found.kind, _said(item)) for item in plan.items]
    rows += [(f"  {kept.fqn}", kept.kind, f"kept aside: {kept.why}") for kept in plan.kept]
    for line in aligned(rows) if rows else ():
        click.echo(line)


def _said(item: Item) -> str:
    """Say what is special about a resource that is imported."""
    without = [f"without {', '.join(item.left_out)}"] if item.left_out else []
    old = [f"with {len(item.old)} that it replaced, to be deleted"] if item.old else []
    return "; ".join([*without, *old, *item.notes])


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _show_json(imports: Sequence[Import], source: Source, *, written: bool) -> None:
    import msgspec

    stages = [
        {
            "unit": one.plan.unit,
            "resources": [
                {
                    "fqn": item.fqn,
                    "kind": item.found.kind,
                    "left_out": item.left_out,
                    "replaced": len(item.old),
                    "notes": item.notes,
                }
                for item in one.plan.items
            ],
            "scopes": one.plan.scopes,
            "kept": [{"fqn": kept.fqn, "kind": kept.kind, "why": kept.why} for kept in one.plan.kept],
            "aside": str(one.aside) if one.aside else None,
            "backup": one.backup,
        }
        for one in imports
    ]
    click.echo(
        msgspec.json.encode({"source": str(source.path), "form": source.form, "written": written, "stages": stages})
    )
