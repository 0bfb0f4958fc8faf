"""Measure what keeping state safe costs: durable writes, backups, leases, and going on after a kill.

```
python benchmarks/durability.py --n 10000 --repeat 3
```

Prints JSON. `writes`, `backup` and `recovery` are whole processes, from start to exit, as `engine.py` measures them:

- `writes`: N resources created, with every write durable and with none; `ratio` is what durability costs.
- `backup`: N resources changed, with a backup before the first write and without; and what making one takes alone.
- `lease`: taking a stage and giving it back, and renewing it, in milliseconds.
- `recovery`: an unchanged deploy after a kill that left all N records in the log of commits, against one after a clean
  end; `ratio` is to be at most 2.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from measure import PROGRAMS, Failed, Sample, environment, expect, machine, median, run, work_folder

from alchemy.history import encode_backup
from alchemy.ports import Owner
from alchemy.state import now
from alchemy.stores import FileStore

STAGE = "bench"
UNIT = f"bench/{STAGE}"
OWNER = Owner(user="bench", host="bench", pid=0, operation="benchmark")


class Project:
    """A folder with the program in it."""

    def __init__(self, folder: Path, n: int) -> None:
        self.folder = folder
        self.n = n
        shutil.copy(PROGRAMS / "stored.py", folder)

    def deploy(self, *, version: int = 1, without: str = "") -> Sample:
        """Deploy; what is not there is created, what has another version is changed."""
        sample = self.again(version=version, without=without)
        expect(len(self.records()), self.n, "records")
        return sample

    def again(self, *, version: int = 1, without: str = "") -> Sample:
        """Deploy, wherever the records are."""
        return run(self._command(), cwd=self.folder, env=self._environment(version, without))

    def kill(self) -> None:
        """Deploy for the first time, and end at once when all is created: nothing is folded."""
        done = subprocess.run(
            self._command(),
            cwd=self.folder,
            env=environment(self._environment(1, "")) | {"KILL": "1"},
            capture_output=True,
            check=False,
        )
        expect(done.returncode, -signal.SIGKILL, "as the exit code of a killed deploy")
        expect(len(self.records()), 0, "folded records after a kill")

    def records(self) -> list[Path]:
        """Give the record files."""
        return list((self.folder / ".alchemy" / UNIT / "resources").glob("*/state.json"))

    def backups(self) -> list[Path]:
        """Give the backups."""
        return list((self.folder / ".alchemy" / UNIT / "backups").glob("*.json"))

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "alchemy", "deploy", "stored.py", "--stage", STAGE, "--quiet"]

    def _environment(self, version: int, without: str) -> dict[str, str]:
        return {"N": str(self.n), "V": str(version), "WITHOUT": without}


def writes(n: int, repeat: int) -> dict[str, Any]:
    """Create N resources with durable writes, and without."""
    found: dict[str, list[Sample]] = {"durable": [], "not_durable": []}
    for _ in range(repeat):
        for name, without in (("durable", ""), ("not_durable", "sync")):
            with work_folder(name) as folder:
                found[name].append(Project(folder, n).deploy(without=without))
    return compared(found, "durable", "not_durable")


def backup(n: int, repeat: int) -> dict[str, Any]:
    """Change N resources with a backup before it, and without; and make one alone."""
    found: dict[str, list[Sample]] = {"with": [], "without": []}
    with work_folder("backup") as folder:
        project = Project(folder, n)
        project.deploy()
        for version in range(2, 2 + 2 * repeat, 2):
            for more, (name, without) in enumerate((("with", ""), ("without", "backup"))):
                before = len(project.backups())
                found[name].append(project.deploy(version=version + more, without=without))
                expect(len(project.backups()) - before, int(name == "with"), "new backups")
        alone = asyncio.run(_backup_alone(folder / ".alchemy"))
    return {**compared(found, "with", "without"), **alone}


async def _backup_alone(root: Path) -> dict[str, float]:
    store = FileStore(root)
    await store.init()
    lease = await store.acquire(UNIT, owner=OWNER, timeout=0)
    records = (await store.load(UNIT, lease=lease)).records
    began = time.perf_counter()
    content = encode_backup(unit=UNIT, made_at=now(), operation="benchmark", records=records.values())
    encoded = time.perf_counter()
    await store.save_backup(lease, "state-1970-01-01T00-00-00-000Z.json", content)
    saved = time.perf_counter()
    await store.deinit()
    return {
        "encode_ms": round((encoded - began) * 1000, 1),
        "save_ms": round((saved - encoded) * 1000, 1),
        "mib": round(len(content) / 2**20, 2),
    }


def lease(rounds: int) -> dict[str, float]:
    """Take and give back a stage, and renew it."""

    async def measure(root: Path) -> dict[str, float]:
        store = FileStore(root)
        await store.init()

        async def once() -> None:
            await store.release(await store.acquire(UNIT, owner=OWNER, timeout=0))

        found = {"round_trip_ms": await _milliseconds(once, rounds)}
        held = await store.acquire(UNIT, owner=OWNER, timeout=0)
        found["renew_ms"] = await _milliseconds(lambda: store.renew(held), rounds)
        await store.deinit()
        return found

    with work_folder("lease") as folder:
        return asyncio.run(measure(folder))


async def _milliseconds(step: Callable[[], Awaitable[object]], rounds: int) -> float:
    times: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        await step()
        times.append(time.perf_counter() - began)
    return round(statistics.median(times) * 1000, 3)


def recovery(n: int, repeat: int) -> dict[str, Any]:
    """Deploy again after a kill, and after a clean end."""
    found: dict[str, list[Sample]] = {"after_kill": [], "noop": []}
    for _ in range(repeat):
        with work_folder("killed") as killed, work_folder("clean") as clean:
            project = Project(killed, n)
            project.kill()
            found["after_kill"].append(project.again())
            journals = len(list((killed / ".alchemy" / UNIT).glob("journal-*")))
            expect(len(project.records()), n * (journals == 0), "records, or a log that holds them")
            project = Project(clean, n)
            project.deploy()
            found["noop"].append(project.deploy())
    return compared(found, "after_kill", "noop")


def compared(found: dict[str, list[Sample]], one: str, other: str) -> dict[str, Any]:
    """Give both medians, and how many times as long the one takes."""
    medians = {name: median(samples) for name, samples in found.items()}
    ratio = medians[one].seconds / medians[other].seconds
    return {**{name: sample.to_json() for name, sample in medians.items()}, "ratio": round(ratio, 2)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description="Measure what keeping state safe costs; prints JSON.")
    parser.add_argument("--n", type=int, default=10000, help="how many resources")
    parser.add_argument("--repeat", type=int, default=3, help="how often; the median counts")
    parser.add_argument("--rounds", type=int, default=200, help="how many leases")
    args = parser.parse_args(arguments)
    with work_folder("warm-up") as folder:
        # So that no run pays for compiling modules.
        Project(folder, 1).deploy()
    where = machine()
    found = {
        "machine": where,
        "n": args.n,
        "repeat": args.repeat,
        "lease": lease(args.rounds),
        "writes": writes(args.n, args.repeat),
        "backup": backup(args.n, args.repeat),
        "recovery": recovery(args.n, args.repeat),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(str(failure))
