"""Measure the engine: N resources created, left alone, changed and destroyed, each in a process of its own.

```
python benchmarks/engine.py --n 5000 10000 --kind file --repeat 3
```

Prints JSON. Every step is a real `alchemy` command with the default store, which makes each write durable; `seconds`
is the whole process, from its start to its exit. With several N, `growth` says what a larger one takes of a smaller.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from measure import PROGRAMS, Failed, Sample, count_files, expect, machine, median, run, work_folder

Kind = Literal["file", "null"]
STEPS = ("create", "noop", "update", "destroy")
STAGE = "bench"


class Engine:
    """Our own tool at work in a folder: one method for each step, each checked for what it left."""

    name = "alchemy-iac"

    def __init__(self, folder: Path, kind: Kind, n: int) -> None:
        self.folder = folder
        self.kind = kind
        self.n = n
        shutil.copy(PROGRAMS / f"{kind}.py", folder)

    def create(self) -> Sample:
        """Deploy for the first time."""
        return self._deploy("1")

    def noop(self) -> Sample:
        """Deploy the same program again."""
        before = self._state_written()
        sample = self._deploy("1")
        if self._state_written() != before:
            raise Failed("a deploy that changed nothing wrote state")
        return sample

    def update(self) -> Sample:
        """Deploy with every resource changed."""
        return self._deploy("2")

    def destroy(self) -> Sample:
        """Destroy everything, in parallel."""
        sample = self._alchemy("destroy", "--yes", "--strategy", "parallel")
        self._check(0)
        return sample

    def _deploy(self, version: str) -> Sample:
        sample = self._alchemy("deploy", f"{self.kind}.py", version=version)
        self._check(self.n)
        if self.kind == "file":
            last = self.folder / "out" / f"f{self.n - 1}.txt"
            expect(int(last.read_text().partition("-")[0]), int(version), "as the version of the last file")
        return sample

    def _alchemy(self, *args: str, version: str = "1") -> Sample:
        command = [sys.executable, "-m", "alchemy", *args, "--stage", STAGE, "--quiet"]
        return run(command, cwd=self.folder, env={"N": str(self.n), "V": version})

    def _check(self, wanted: int) -> None:
        expect(len(self._records()), wanted, "records")
        if self.kind == "file":
            expect(count_files(self.folder / "out"), wanted, "files")

    def _records(self) -> list[Path]:
        return list((self.folder / ".alchemy" / "bench" / STAGE / "resources").glob("*/state.json"))

    def _state_written(self) -> tuple[int, int]:
        """Say when a record was last written, and how many there are."""
        times = [path.stat().st_mtime_ns for path in self._records()]
        return max(times, default=0), len(times)


def measure(kinds: Sequence[Kind], numbers: Sequence[int], repeat: int) -> list[dict[str, Any]]:
    """Run all steps `repeat` times for every kind and N, and give the medians."""
    samples: dict[tuple[Kind, int, str], list[Sample]] = defaultdict(list)
    with ExitStack() as folders:
        engines = [
            Engine(folders.enter_context(work_folder(f"{kind}-{n}")), kind, n)
            for _ in range(repeat)
            for kind in kinds
            for n in numbers
        ]
        for steps in (("create", "noop", "update"), ("destroy",)):
            for engine in engines:
                for step in steps:
                    samples[engine.kind, engine.n, step].append(getattr(engine, step)())
    return [
        {"n": n, "kind": kind} | {step: median(samples[kind, n, step]).to_json() for step in STEPS}
        for kind in kinds
        for n in numbers
    ]


def growth(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Say how many times as long each run took as the one before it of the same kind."""
    found: list[dict[str, Any]] = []
    for smaller, larger in itertools.pairwise(runs):
        if smaller["kind"] == larger["kind"]:
            ratios = {step: round(larger[step]["seconds"] / smaller[step]["seconds"], 2) for step in STEPS}
            found.append({"kind": larger["kind"], "from": smaller["n"], "to": larger["n"], **ratios})
    return found


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description="Measure the engine; prints JSON.")
    parser.add_argument("--n", type=int, nargs="+", default=[10, 5000, 10000], help="how many resources")
    parser.add_argument("--kind", choices=["file", "null"], nargs="+", default=["file", "null"])
    parser.add_argument("--repeat", type=int, default=1, help="how often; the median counts")
    args = parser.parse_args()
    with work_folder("warm-up") as folder:
        # So that no run pays for compiling modules.
        Engine(folder, args.kind[0], 1).create()
    where = machine()
    runs = measure(args.kind, sorted(args.n), args.repeat)
    print(json.dumps({"machine": where, "repeat": args.repeat, "runs": runs, "growth": growth(runs)}, indent=2))


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(str(failure))
