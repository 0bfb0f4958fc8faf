"""What every command needs to write to people: problems on stderr, and text that is safe to show."""

from __future__ import annotations

import io
import os
import re
import sys

import click

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def forgive_encoding() -> None:
    """Let a terminal that lacks a character show its escape instead of ending the run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def clean(text: str) -> str:
    """Give text without the control characters that a provider's answer could steer a terminal with."""
    return _CONTROL.sub("", text)


def is_colored(stream: io.TextIOBase | object) -> bool:
    """Say whether a stream is a terminal that wants colors. `NO_COLOR` says no, as does `TERM=dumb`."""
    isatty = getattr(stream, "isatty", None)
    return bool(isatty and isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def style(text: str, **styles: bool | str) -> str:
    """Style text for stderr, if that shows styles."""
    return click.style(text, **styles) if is_colored(sys.stderr) else text  # type: ignore[arg-type]


def problem(message: str, hint: str | None = None) -> None:
    """Write what is wrong, and what to do about it, to stderr."""
    first, *more = clean(message).splitlines() or [""]
    print(f"{style('error:', fg='red', bold=True)} {first}", file=sys.stderr)
    for line in more:
        print(f"  {line}", file=sys.stderr)
    if hint:
        print(f"  {style('hint:', fg='cyan')} {clean(hint)}", file=sys.stderr)


def note(message: str) -> None:
    """Write a line about what the command itself is doing to stderr, so that stdout keeps to the results."""
    print(clean(message), file=sys.stderr, flush=True)
