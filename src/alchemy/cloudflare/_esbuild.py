"""Bundling with esbuild, for programs that use npm packages or TypeScript."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from alchemy.cloudflare._modules import Bundle, absolute, collect
from alchemy.errors import DeclarationError

_SECONDS = 120
_OPTIONS = (
    "--bundle",
    "--format=esm",
    "--target=es2022",
    "--platform=neutral",
    "--conditions=workerd,worker,browser",
    "--main-fields=browser,module,main",
    "--external:cloudflare:*",
    "--external:node:*",
    "--external:workerd:*",
    "--loader:.html=text",
    "--loader:.txt=text",
    "--loader:.sql=text",
    "--loader:.bin=copy",
    "--loader:.wasm=copy",  # WebAssembly must be a module of its own: Workers may not compile any at run time
    "--asset-names=[name]-[hash]",
    "--entry-names=worker",
    "--log-level=error",
    "--color=false",
)


def find_esbuild(start: Path) -> str | None:
    """Look for esbuild in `node_modules/.bin` of a folder and those above it, then on the PATH."""
    for folder in (start, *start.parents):
        candidate = folder / "node_modules" / ".bin" / "esbuild"
        if os.access(candidate, os.X_OK) and candidate.is_file():
            return str(candidate)
    return shutil.which("esbuild")


def bundle(entrypoint: str | Path) -> Bundle:
    """Bundle an entrypoint, JavaScript or TypeScript, with everything it imports. Takes as long as esbuild does.

    Raises:
        DeclarationError: esbuild is not there, or refuses; with its message.
    """
    entry = absolute(entrypoint)
    if not entry.is_file():
        raise DeclarationError(
            f"the entrypoint {str(entrypoint)!r} does not exist",
            hint=f"correct the path; it is looked for from {Path.cwd()}",
        )
    program = find_esbuild(entry.parent)
    if program is None:
        raise DeclarationError(
            f"bundling {str(entrypoint)!r} needs esbuild, which is neither in node_modules/.bin nor on the PATH",
            hint="npm install --save-dev esbuild",
        )
    with tempfile.TemporaryDirectory(prefix="alchemy-") as folder:
        _run([program, entry.name, *_OPTIONS, f"--outdir={folder}"], entry)
        return collect(Path(folder) / "worker.js")


def _run(command: list[str], entry: Path) -> None:
    # In the entry's folder: the names of files get into what esbuild writes, and must not depend on where one stands.
    try:
        ended = subprocess.run(
            command, cwd=entry.parent, capture_output=True, text=True, timeout=_SECONDS, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeclarationError(f"esbuild could not bundle {entry.name!r}: {error}") from error
    if ended.returncode:
        said = ended.stderr.strip() or f"it ended with {ended.returncode}"
        raise DeclarationError(f"esbuild could not bundle {entry.name!r}: {said}")
