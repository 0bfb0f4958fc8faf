"""The command `alchemy`: finds the subcommand, imports it alone, and turns what goes wrong into an exit code."""

from __future__ import annotations

import difflib
import importlib
import os
import shlex
import sys
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import click

from alchemy.cli import terminal

COMMANDS = {
    "init": "Make a small project to begin with.",
    "deploy": "Make everything as the program says.",
    "destroy": "Destroy everything of a stage, from its state.",
    "run": "Run the program without changing anything.",
    "state": "Look into the state: list, tree, get; copy, import, export, mv, rm, rekey, …",
    "scope": "Look into scopes, and put them in order: list, inspect, logs, unlock, …",
    "local": "The Cloudflare on this machine: start, stop, status, reset, env, objects, evict, …",
    "state-service": "A state store for a team, in Durable Objects: serve, set-token.",
    "completion": "Print what a shell needs to complete commands.",
}
"""What there is, with its line in the help. A module of the name (`-` is `_`) under `commands` has it; only the one
asked for is imported, which is what keeps `alchemy --help` quick."""


class Commands(click.Group):
    """A group that suggests the nearest name for one that does not exist, and keeps the order of its commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names in the order in which they were added."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Give each subcommand with the first paragraph of its help: whole, as wide as the terminal is."""
        commands = [(name, self.commands[name]) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, _first_paragraph(each)) for name, each in commands if not each.hidden])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the group's own options. Raises `UsageError` when no subcommand follows."""
        if not args and not self.invoke_without_command and not ctx.resilient_parsing:
            # click's answer is the whole help, on stdout or stderr, with code 0 or 2, as its version will have it.
            ctx.fail(f"no command given, there are {', '.join(self.list_commands(ctx))}")
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand. Raises `UsageError` with a suggestion."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            known = self.list_commands(ctx)
            near = difflib.get_close_matches(name, known, 1)
            rest = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            ctx.fail(f"no such command {name!r}, {rest}")
        return super().resolve_command(ctx, args)


def _first_paragraph(command: click.Command) -> str:
    text = command.short_help or command.help or ""
    return " ".join(text.split("\n\n")[0].split())


class _Root(Commands):
    """The outermost group: its subcommands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module: Any = importlib.import_module(f"alchemy.cli.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        import alchemy

        click.echo(f"alchemy {alchemy.__version__}")
        ctx.exit()


@click.group(
    cls=_Root,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with `alchemy init`, then `alchemy deploy --local`.",
)
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Show it.")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Infrastructure as plain async Python."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run(args: Sequence[str]) -> int:
    """Run a command line, and give its exit code.

    What the package raises on purpose is shown as a message with a hint; anything else is a bug of the command
    line and comes out as it is.
    """
    terminal.forgive_encoding()
    try:
        outcome = cli.main(args=list(args), prog_name="alchemy", standalone_mode=False)
    except click.UsageError as error:
        return _misused(error, args)
    except (click.Abort, KeyboardInterrupt):
        terminal.problem("interrupted")
        return 130
    except click.ClickException as error:
        terminal.problem(error.format_message())
        return 1
    except BrokenPipeError:
        return _nobody_reads()
    except Exception as error:
        from alchemy.errors import AlchemyError

        if not isinstance(error, AlchemyError):
            raise
        terminal.problem(error.message, error.hint)
        return 1
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _nobody_reads()
    return outcome if type(outcome) is int else 0


def _misused(error: click.UsageError, args: Sequence[str]) -> int:
    message = error.format_message()
    if isinstance(error, click.NoSuchOption):
        # click's own wording differs between its versions; an option should read like a command.
        near = error.possibilities
        message = f"no such option {error.option_name!r}" + (f", did you mean {near[0]!r}?" if near else "")
    # click does not say whose option lacks its argument
    said = shlex.join(["alchemy", *takewhile(lambda word: not word.startswith("-"), args)])
    path = error.ctx.command_path if error.ctx else said
    terminal.problem(message[:1].lower() + message[1:].rstrip("."), f"{path} --help")
    return 2


def _nobody_reads() -> int:
    """Whoever read our output has gone, as `head` does: no reason to complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
