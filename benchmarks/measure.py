"""Running a command as a person would, and saying what it took: the whole process, from start to exit.

What was deleted before counts. ext4 does not give an inode out again for some minutes, and whoever makes a file nearby
meanwhile pays for looking past it: making 10,000 folders with a file each took 0.5 s on a file system at rest, 2.5 s
after as many were deleted. So everything is created before anything is destroyed, folders are removed at the very end,
and `probe` says whether somebody else deleted many files lately.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
PLACE = "BENCHMARKS_FOLDER"
BUILD = Path(os.environ.get(PLACE) or HERE.parent / "build" / "benchmarks").resolve()
"""Beside the sources and not in a temporary folder: that is often memory, where a durable write costs nothing. What
`BENCHMARKS_FOLDER` names is used instead, so that one machine can be measured on several file systems."""
SLOW = 150
"""Microseconds for a new folder and file that no disk at rest needs."""


@dataclass(frozen=True)
class Sample:
    """What a process took.

    Attributes:
        seconds: from its start until it was gone.
        cpu: seconds of processor time, its own and the system's for it; the rest it waited, mostly for the disk.
        peak_mb: the most memory it held at once, in MiB.
    """

    seconds: float
    cpu: float
    peak_mb: float

    def to_json(self) -> dict[str, float]:
        """Give it in the precision that means anything."""
        return {"seconds": round(self.seconds, 3), "cpu": round(self.cpu, 3), "peak_mb": round(self.peak_mb, 1)}


class Failed(Exception):
    """A measured command did not do what it should have: its number would mean nothing."""


def run(command: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None) -> Sample:
    """Run a command to its end.

    Args:
        env: in place of variables of the caller; see `environment`.

    Raises:
        Failed: it exited with an error; the end of what it printed is in the message.
    """
    # What is not written out yet belongs to whoever ran before, and must not be waited for by this one's fsync.
    os.sync()
    with tempfile.TemporaryFile() as printed:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, env=environment(env), stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            printed.seek(0)
            end = printed.read()[-2000:].decode(errors="replace")
            raise Failed(f"{' '.join(command)} exited with {process.returncode}:\n{end}")
    # Bytes on macOS, kibibytes elsewhere.
    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    return Sample(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit)


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the caller's environment without settings of the tools that are measured, and with `more`.

    What is measured keeps its state here, also in CI.
    """
    ours = ("ALCHEMY_", "CLOUDFLARE_", "TF_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"ALCHEMY_CI_STATE_STORE_CHECK": "false"} | dict(more or {})


def median(samples: Sequence[Sample]) -> Sample:
    """Give the medians of the times, and the largest peak."""
    return Sample(
        seconds=statistics.median(sample.seconds for sample in samples),
        cpu=statistics.median(sample.cpu for sample in samples),
        peak_mb=max(sample.peak_mb for sample in samples),
    )


def machine() -> dict[str, Any]:
    """Say what is measured on."""
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "file_system": file_system(),
        "new_file_us": probe(),
    }


def file_system() -> str:
    """Say what the work's folders lie on and how it is mounted, such as `ext4 (rw,relatime)`."""
    BUILD.mkdir(parents=True, exist_ok=True)
    command = ["findmnt", "--noheadings", "--raw", "--output", "FSTYPE,OPTIONS", "--target", str(BUILD)]
    try:
        said = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"  # no Linux
    return f"{said[0]} ({said[1]})"


def probe() -> float:
    """Say how long it takes to make a folder with a small file in it, in microseconds."""
    with work_folder("probe") as folder:
        began = time.perf_counter()
        for number in range(1000):
            place = folder / str(number)
            place.mkdir()
            (place / "state.json").write_bytes(bytes(500))
        found = (time.perf_counter() - began) * 1000
    if found > SLOW:
        print(
            f"making a file takes {found:.0f} µs here: many were deleted lately, or the disk is busy. "
            "The numbers will say more in five minutes.",
            file=sys.stderr,
        )
    return round(found, 1)


@contextmanager
def work_folder(name: str) -> Iterator[Path]:
    """Give an empty folder on a real disk, removed afterwards."""
    BUILD.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=BUILD))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def expect(found: int, wanted: int, what: str) -> None:
    """Insist that a measured command did its work."""
    if found != wanted:
        raise Failed(f"expected {wanted} {what}, found {found}")


def count_files(folder: Path, pattern: str = "*") -> int:
    """Count the files below a folder; 0 when there is none."""
    return sum(1 for path in folder.rglob(pattern) if path.is_file())
