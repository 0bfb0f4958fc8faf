"""`alchemy completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_HINTS = {
    "bash": 'eval "$(alchemy completion bash)"   in ~/.bashrc',
    "zsh": 'eval "$(alchemy completion zsh)"   in ~/.zshrc',
    "fish": "alchemy completion fish > ~/.config/fish/completions/alchemy.fish",
}


@click.command("completion", epilog="  ".join(_HINTS.values()))
@click.argument("shell", type=click.Choice(list(_HINTS)))
def command(shell: str) -> None:
    """Print what SHELL needs to complete commands and options.

    \b
    bash:  eval "$(alchemy completion bash)"    in ~/.bashrc
    zsh:   eval "$(alchemy completion zsh)"     in ~/.zshrc
    fish:  alchemy completion fish > ~/.config/fish/completions/alchemy.fish
    """
    from alchemy.cli.entry import cli

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(cli, {}, "alchemy", "_ALCHEMY_COMPLETE").source())
