"""Running a program: what `deploy` and `run` share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from alchemy import config
from alchemy.cli import failures, terminal
from alchemy.cli.execution import INTERRUPTED, Ending, execute
from alchemy.cli.places import Place, find_place
from alchemy.cli.programs import find_program, load_main, shown
from alchemy.cli.render import Display, choose, notice_of
from alchemy.errors import ConfigurationError
from alchemy.events import Event


def run_program(
    given: str | None, *, options: Mapping[str, Any], operation: str, as_json: bool, unit: str | None = None
) -> int:
    """Load a program, run its `main`, show what happens, and give the exit code.

    Args:
        given: the program, as on the command line.
        options: from the command line, as `options.OPTIONS` names them.
        operation: what holds the lease, for others to read; `rebuild` only reads what exists, and records it.
        unit: the stage that is meant; the program must open no other.
        as_json: write events, one a line.

    Raises:
        AlchemyError: there is no program, or an option cannot be used.
    """
    program = find_program(given)
    place = find_place(options, operation=operation, program=program)
    if unit is not None:
        _check_meant(place, unit)
    if operation == "rebuild":
        _set_rebuilding()
    display = listen(place, as_json=as_json)
    if place.settings.local:
        use_local(place)
    try:
        main = load_main(program)
        _check_idle(display, program)
    except Exception as error:
        display.close()
        failures.show(error, root=place.root, verbose=place.settings.verbose)
        return 1
    ending = execute(main, display)
    code = finish(ending, display, place)
    if code == 0 and not display.progress.phases:
        terminal.problem(
            f"{shown(program)} opened no application: nothing was done",
            'write `async with alchemy("my-app") as app:` in main, and declare resources in it',
        )
        return 1
    return code


def _check_meant(place: Place, unit: str) -> None:
    """Raise `ConfigurationError` when the program's text says that it opens another stage, and not this one."""
    app, _, stage = unit.partition("/")
    assert place.program is not None
    others = [
        f"{opened.app or app}/{opened.options.get('stage', stage)}"
        for opened in place.opened
        if opened.app not in (app, None) or str(opened.options.get("stage", stage)) != stage
    ]
    if others and len(others) == len(place.opened):
        raise ConfigurationError(
            f"{shown(place.program)} does not open {unit}, but {', '.join(others)}",
            hint="name the program that does: alchemy scope rebuild PROGRAM --stage NAME",
        )


def _set_rebuilding() -> None:
    launch = config.launch.get()
    assert launch is not None
    config.launch.set(replace(launch, rebuild=True))


def _check_idle(display: Display, program: Path) -> None:
    """Raise `ConfigurationError` when loading the program has run it: it would run twice."""
    if display.progress.phases:
        raise ConfigurationError(
            f"{shown(program)} runs itself while it is loaded",
            hint='write `if __name__ == "__main__":` before asyncio.run(main()), or leave it out',
        )


def listen(place: Place, *, as_json: bool) -> Display:
    """Make the display, and let it hear what the program's applications emit."""
    settings = place.settings
    display = choose(as_json=as_json, quiet=settings.quiet, verbose=settings.verbose)
    launch = config.launch.get()
    assert launch is not None
    config.launch.set(replace(launch, listeners=(*launch.listeners, display)))
    return display


def tell_notices() -> None:
    """Have what must be said at once, such as whom a command waits for, written to stderr."""

    def tell(event: Event) -> None:
        line = notice_of(event)
        if line is not None:
            terminal.note(terminal.clean(line))

    launch = config.launch.get()
    assert launch is not None
    config.launch.set(replace(launch, listeners=(*launch.listeners, tell)))


def use_local(place: Place) -> None:
    """Let this process talk to the Cloudflare on this machine, started if need be."""
    from alchemy.cli.local_cloudflare import ensure_running

    ensure_running(place.local_data)


def finish(ending: Ending, display: Display, place: Place) -> int:
    """List what failed, and give the exit code."""
    named: set[str] = set()
    error = ending.error
    interrupted = ending.interrupted
    if error is not None and not _is_cancellation(error):
        named = failures.show(error, root=place.root, verbose=place.settings.verbose)
    progress = display.progress
    failures.show_more(progress.failed, besides=named)
    if interrupted:
        terminal.note("interrupted: what had begun is recorded; the next run continues from there")
        return INTERRUPTED
    if error is None and not progress.ok and not progress.failed:
        left = ", ".join(run.unit for run in progress.finished if not run.ok)
        terminal.problem(f"{left} was not finished", "`async with alchemy(...)` does it, or `await app.finalize()`")
    return 0 if error is None and progress.ok else 1


def _is_cancellation(error: BaseException) -> bool:
    import asyncio

    return isinstance(error, asyncio.CancelledError)
