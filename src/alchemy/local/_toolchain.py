"""Installing workerd and the simulator files into the user's cache, once.

```
<cache>/local-cloudflare/<key>/workerd                        the server
<cache>/local-cloudflare/<key>/simulators/d1/database.worker.js    and its siblings, from miniflare
<cache>/local-cloudflare/install.lock
```

`<cache>` is `$ALCHEMY_CACHE_DIR`, else `$XDG_CACHE_HOME/alchemy`, else `~/.cache/alchemy`. `<key>` is made of both
versions, the platform and the digests, so that two versions of this package do not disturb each other. A folder
that exists is complete: it is filled beside its place and renamed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from alchemy.local import _npm, _pins, _tarball
from alchemy.local._errors import ToolchainError
from alchemy.local._flock import FileLock

Report = Callable[[str], None]
"""Takes one line that says what is being done, for people."""


@dataclass(frozen=True)
class Toolchain:
    """What the data plane runs.

    Attributes:
        workerd: the executable.
        simulators: folder of miniflare's simulator workers, such as `d1/database.worker.js`.
    """

    workerd: Path
    simulators: Path


def silent(message: str) -> None:
    """Report nothing."""


def cache_dir() -> Path:
    """Return the folder that things to be downloaded once are kept in."""
    if chosen := os.environ.get("ALCHEMY_CACHE_DIR"):
        return Path(chosen).expanduser().absolute()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg).expanduser().absolute() / "alchemy"
    return Path.home() / ".cache" / "alchemy"


def installed() -> Toolchain | None:
    """Return the toolchain of this version and platform when it is in the cache. Never downloads."""
    folder = _folder(_pins.platform_name())
    return _toolchain(folder) if folder.is_dir() else None


async def install(*, report: Report = silent) -> Toolchain:
    """Make sure that the toolchain is in the cache. Safe to repeat, and safe for several processes at once.

    A cancelled or killed installation leaves nothing that counts as installed.

    Raises:
        ToolchainError: npm is missing, the registry is out of reach, a digest differs, or the platform has none.
    """
    platform_name = _pins.platform_name()
    folder = _folder(platform_name)
    if folder.is_dir():
        return _toolchain(folder)
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with FileLock(
        folder.parent / "install.lock", waiting=lambda: report("waiting for another installation to finish")
    ):
        if not folder.is_dir():
            await asyncio.to_thread(_install, folder, platform_name, report)
    return _toolchain(folder)


def _folder(platform_name: str) -> Path:
    packages = (_pins.MINIFLARE, _pins.workerd_package(platform_name))
    digest = hashlib.sha256("\n".join(package.integrity for package in packages).encode()).hexdigest()
    return cache_dir() / "local-cloudflare" / f"{_pins.WORKERD_VERSION}-{platform_name}-{digest[:12]}"


def _toolchain(folder: Path) -> Toolchain:
    return Toolchain(workerd=folder / "workerd", simulators=folder / "simulators")


def _install(folder: Path, platform_name: str, report: Report) -> None:
    with _scratch(folder.parent) as scratch:
        filled = scratch / "filled"
        filled.mkdir()
        _fetch(_pins.workerd_package(platform_name), scratch, filled, _choose_workerd, report)
        _fetch(_pins.MINIFLARE, scratch, filled, _choose_simulator, report)
        _try_out(filled / "workerd")
        _move(filled, folder)
    report(f"installed the local Cloudflare's runtime in {folder}")


def _move(filled: Path, folder: Path) -> None:
    try:
        filled.rename(folder)
    except OSError:
        if not folder.is_dir():  # otherwise the thread of a cancelled installation was quicker: the same files
            raise


@contextmanager
def _scratch(parent: Path) -> Generator[Path]:
    # Beside the target, so that the rename stays on one file system. What a killed installation left goes first.
    for left in parent.glob("installing-*"):
        shutil.rmtree(left, ignore_errors=True)
    path = Path(tempfile.mkdtemp(prefix="installing-", dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _fetch(
    package: _pins.Package,
    scratch: Path,
    into: Path,
    choose: Callable[[PurePosixPath], PurePosixPath | None],
    report: Report,
) -> None:
    report(f"fetching {package.spec} with npm")
    download = Path(tempfile.mkdtemp(dir=scratch))
    tarball = _npm.pack(package, download)
    _tarball.verify(tarball, package.integrity, package=package.spec)
    if not _tarball.extract(tarball, into, choose=choose):
        raise ToolchainError(f"the tarball of {package.spec} does not hold the files that are needed")


def _choose_workerd(path: PurePosixPath) -> PurePosixPath | None:
    return PurePosixPath("workerd") if path == PurePosixPath("bin/workerd") else None


def _choose_simulator(path: PurePosixPath) -> PurePosixPath | None:
    workers = PurePosixPath("dist/src/workers")
    if path.is_relative_to(workers) and path.name.endswith(".worker.js"):
        return "simulators" / path.relative_to(workers)
    return None


def _try_out(workerd: Path) -> None:
    try:
        subprocess.run([str(workerd), "--version"], capture_output=True, text=True, timeout=60, check=True)
    except subprocess.CalledProcessError as error:
        raise ToolchainError(f"workerd does not run on this machine: {error.stderr.strip()}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolchainError(f"workerd does not run on this machine: {error}") from error
