"""The generated pages of the documentation: `python -m alchemy.cli.docs` writes them into `docs`.

`options.md` is made from `options.OPTIONS`, `events.md` from `events.ALL`: the tables that the code itself goes by.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from alchemy import events
from alchemy.cli.entry import COMMANDS, cli
from alchemy.cli.options import flag_of
from alchemy.events import Event
from alchemy.options import OPTIONS, Option

_GENERATED = "<!-- Written by `python -m alchemy.cli.docs`; change the code it is made from. -->"

_OPTIONS = f"""# Options

{_GENERATED}

Each may be said in several places; the strongest that says anything wins:

1. code: `alchemy("notes", stage="prod")`, or `alchemy.run("database", adopt=True)` for a nested scope; `None` says
   nothing,
2. the command line: `--stage prod`,
3. the environment: `ALCHEMY_STAGE=prod`,
4. `[tool.alchemy]` in `pyproject.toml` beside the program: `stage = "prod"`,
5. the default.

`[tool.alchemy]` also takes `app`: what an application is called that a test does not name.
"""

_EVENTS = f"""# Events

{_GENERATED}

`alchemy deploy --json` (and `destroy`, `run`) writes one event a line on stdout, as JSON, and nothing else; the log of
every run beside its state holds the same. Keys may be added in later versions; those that are here keep their meaning.

```json
{{"type":"resource.finished","at":1795251600.25,"fqn":"notes/prod/api","kind":"cloudflare::Worker","outcome":"created",
 "action":"create","seconds":0.81,"error":null,"old":false}}
```

(One line; broken here to fit.) A run begins with `run.started` and ends with `run.finished`; both come once for each
stage that the program opens. A run that could not be opened, as when somebody else holds the stage, has no
`run.finished`.
"""

_MEANING = {
    "type": "What happened.",
    "at": "When, in seconds since the epoch (UTC).",
    "fqn": "The resource or scope, by its full name.",
    "kind": "The resource's kind.",
    "unit": "The stage, `app/stage`, or the test, `app/test/id`.",
    "phase": "What the run does: `up`, `destroy`, `read`, or what `alchemy scope` does: `rebuild`, `reset`, …",
    "action": "What is, or was, being done; `null` when no provider was needed.",
    "known": "How many resources state held when the run began.",
    "ok": "Whether everything went well.",
    "counts": "How many resources ended how: a number for each outcome that occurred.",
    "exports": "What the program exported, by name; secrets are `***`.",
    "program": "The file that is run, relative to the project; `null` when there is none.",
    "options": "The options that differ from their defaults, by name; a password is `***`.",
    "failures": "What went wrong, in words, secrets masked.",
    "outcome": "How it ended.",
    "seconds": "How long it took, in seconds; 0 when nothing had to be done.",
    "error": "Why it failed, in words, secrets masked; `null` when it did not.",
    "old": "It is about the object that a replacement left behind.",
    "message": "In words.",
    "attempt": "Which further attempt it will be, from 1.",
    "delay": "Seconds until then.",
    "owner": "Who holds it, from where, and what for.",
    "held": "The chain that they hold: the unit, or one above or below it.",
    "since": "When they took it; UTC, ISO 8601.",
    "deadline": "When it is free unless they renew it; seconds since the epoch.",
    "patience": "How many seconds this run waits.",
    "level": "How serious it is.",
}
"""What the fields mean; a field means the same in every event."""


def options_page() -> str:
    """Give `options.md`."""
    used = _commands_by_option()
    return "\n".join([_OPTIONS, *(_option(option, used.get(option.name, [])) for option in OPTIONS)])


def _commands_by_option() -> dict[str, list[str]]:
    """Say which commands take which options."""
    import click

    used: dict[str, list[str]] = {}
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        inner = command.commands.items() if isinstance(command, click.Group) else ()
        for words, each in ((name, command), *((f"{name} {sub}", each) for sub, each in inner)):
            for parameter in each.params if each else ():
                if parameter.name:
                    used.setdefault(parameter.name, []).append(words)
    return used


def _option(option: Option, commands: list[str]) -> str:
    default = option.default
    if callable(default):
        shown = "the user's name"
    elif default is None:
        shown = "none"
    else:
        shown = f"`{str(default).lower() if isinstance(default, bool) else default}`"
    lines = [f"## `{option.name}`", "", option.help, ""]
    if commands:
        lines.append(f"- Command line: `{flag_of(option.name)}` of {', '.join(f'`{words}`' for words in commands)}")
    if option.env:
        lines.append(f"- Environment: `{option.env}`" + (f" ({option.env_note})" if option.env_note else ""))
    lines.append(f"- Default: {shown}")
    if option.nested:
        lines.append("- A nested scope may have its own.")
    return "\n".join([*lines, ""])


def events_page() -> str:
    """Give `events.md`. Raises `KeyError` for a field that nobody has explained."""
    return "\n".join([_EVENTS, *(_event(kind) for kind in events.ALL)])


def _event(kind: type[Event]) -> str:
    lines = [f"## `{kind.type}`", "", inspect.cleandoc(kind.__doc__ or ""), ""]
    lines += ["| Field | Type | Meaning |", "| --- | --- | --- |"]
    lines.append(f'| `type` | `"{kind.type}"` | {_MEANING["type"]} |')
    hints = get_type_hints(kind)
    for field in msgspec.structs.fields(kind):
        lines.append(f"| `{field.name}` | {_type(hints[field.name])} | {_MEANING[field.name]} |")
    return "\n".join([*lines, ""])


_WORDS: Mapping[Any, str] = {str: "text", int: "integer", float: "number", bool: "boolean", type(None): "`null`"}


def _type(hint: Any) -> str:
    """Say a field's type in JSON's words."""
    if hint in _WORDS:
        return _WORDS[hint]
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return ", ".join(f'`"{word}"`' for word in arguments)
    if get_origin(hint) is dict:
        value = _WORDS.get(arguments[1])
        return f"object of {value}s" if value else "object"
    return " or ".join(_type(argument) for argument in arguments)


PAGES = {"options.md": options_page, "events.md": events_page}


def main(folder: Path) -> None:
    """Write the pages."""
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")
        print(folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
