"""The documentation has every command, option and event, and the generated pages are up to date."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest

from alchemy import events
from alchemy.cli import docs
from alchemy.cli.entry import COMMANDS, cli
from alchemy.options import OPTIONS

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("name", docs.PAGES)
def test_generated_pages_are_up_to_date(name: str) -> None:
    """What is committed is what `python -m alchemy.cli.docs` writes."""
    assert (DOCS / name).read_text(encoding="utf-8") == docs.PAGES[name]()


def test_pages_are_written(tmp_path: Path) -> None:
    """The command writes each page into the folder."""
    docs.main(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(docs.PAGES)


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command and subcommand, by how it is typed."""
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        yield f"alchemy {name}", command
        if isinstance(command, click.Group):
            yield from ((f"alchemy {name} {sub}", each) for sub, each in command.commands.items())


def sections() -> dict[str, str]:
    """The sections of `cli.md` by the command in their headings."""
    parts = re.split(r"^#{2,3} (.+)$", (DOCS / "cli.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=lambda value: str(getattr(value, "name", value)))
def test_every_command_and_option_is_documented(name: str, command: click.Command) -> None:
    """Each command has a section of its own in `cli.md`, which names each of its options and arguments."""
    section = sections()[f"`{name}`"]
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert f"`{parameter.opts[0]}`" in section, f"{parameter.opts[0]} is missing"
        elif parameter.name != "shell":
            assert (parameter.metavar or parameter.human_readable_name).strip("[]") in section
    assert command.help


def test_no_command_is_documented_that_does_not_exist() -> None:
    """A section for a command goes when the command goes."""
    known = {f"`{name}`" for name, _ in commands()}
    assert {heading for heading in sections() if heading.startswith("`alchemy ")} == known


def test_every_option_has_its_place() -> None:
    """The page has a heading for each option, with its environment variable."""
    page = docs.options_page()
    for option in OPTIONS:
        assert f"## `{option.name}`" in page
        assert option.env is None or f"`{option.env}`" in page


def test_every_event_and_field_has_its_place() -> None:
    """The page has a heading for each event and a row for each field, none without a meaning or a type."""
    page = docs.events_page()
    for kind in events.ALL:
        section = page.split(f"## `{kind.type}`\n")[1].split("\n## ")[0]
        for field in msgspec.structs.fields(kind):
            assert re.search(rf"^\| `{field.name}` \| \S.* \| \S.* \|$", section, re.MULTILINE), field.name
