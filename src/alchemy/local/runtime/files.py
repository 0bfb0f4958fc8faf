"""Writing a configuration and what it embeds."""

from __future__ import annotations

import os
from pathlib import Path

from alchemy.local.runtime.wiring import Wiring


def write_files(config: Path, plan: Wiring) -> None:
    """Write the configuration to `config` and its embedded files beside it, all with mode 0600. Blocks.

    Embedded files are named by their digest, so one that is there already is the same; those that the configuration
    no longer needs are removed. The configuration is replaced in one step.
    """
    for path, content in plan.files.items():
        target = config.parent / path
        if not target.exists():
            _write(target, content)
    needed = {(config.parent / path).name for path in plan.files}
    for file in (config.parent / "modules").iterdir():
        if file.name not in needed:
            file.unlink()
    _write(config, plan.text().encode())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    aside.replace(path)
