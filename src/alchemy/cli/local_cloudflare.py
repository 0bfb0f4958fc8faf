"""The Cloudflare on this machine, as the command line uses it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alchemy.cli import terminal
from alchemy.cli.options import given
from alchemy.cli.places import find_place
from alchemy.errors import ConfigurationError

if TYPE_CHECKING:
    from alchemy.local import LocalCloudflare

_NEEDED = ("cloudflare", "httpx", "python_multipart", "starlette", "uvicorn")


def check_installed() -> None:
    """Raise `ConfigurationError` when what `alchemy.local` needs is not installed."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"the local Cloudflare needs {', '.join(missing)}", hint="pip install 'alchemy-iac[local]'"
        )


def data_folder(options: Mapping[str, Any]) -> Path:
    """Give the folder that its data lies in, as the command line says, once all that it needs is known to be there."""
    check_installed()
    return find_place(given(options), operation="local").local_data


def ensure_running(data: Path) -> LocalCloudflare:
    """Start it if it is not running, and let this process talk to it."""
    check_installed()
    from alchemy.local import environment, start

    info = asyncio.run(start(data, report=terminal.note))
    os.environ.update(environment(info))
    return info
