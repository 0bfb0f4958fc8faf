"""`alchemy init`: a small project to begin with."""

from __future__ import annotations

import re
from pathlib import Path

import click

from alchemy.errors import AlchemyError, ConfigurationError

FILES = {"alchemy.run.py": "alchemy.run.py.txt", "src/worker.js": "worker.js.txt"}
"""What is made, and of which template."""


@click.command("init")
@click.argument("folder", metavar="[DIR]", default=".")
def command(folder: str) -> None:
    """Make a small project in DIR, or here: a Worker that counts its visitors. Existing files are left alone."""
    root = Path(folder)
    create(root)
    for name in FILES:
        click.echo(f"created {root / name}")
    click.echo("\nNext:")
    if root.resolve() != Path.cwd():
        click.echo(f"  cd {folder}")
    click.echo("  alchemy deploy --local     runs it on this machine, no account needed")


def create(root: Path) -> None:
    """Write the project's files.

    Raises:
        ConfigurationError: one of them is there already; nothing was written.
    """
    existing = [name for name in (*FILES, "alchemy_run.py") if (root / name).exists()]
    if existing:
        raise ConfigurationError(
            f"{root / existing[0]} exists already: nothing was written", hint="choose another folder: alchemy init DIR"
        )
    app = app_name(root.resolve().name)
    templates = Path(__file__).parent.parent / "template"
    texts = {name: (templates / source).read_text(encoding="utf-8") for name, source in FILES.items()}
    texts["alchemy.run.py"] = texts["alchemy.run.py"].format(app=app)
    try:
        for name, text in texts.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise AlchemyError(f"{root} cannot be written to: {error}") from error


def app_name(folder: str) -> str:
    """Make an application's name of a folder's: letters, digits, `-`; never one that state uses for itself."""
    from alchemy.names import RESERVED_APPS

    name = re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")[:40].rstrip("-") or "hello"
    return f"{name}-app" if name in RESERVED_APPS else name
