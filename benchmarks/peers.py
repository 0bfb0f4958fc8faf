"""Measure the same work with Alchemy for TypeScript and with Terraform, side by side in one run.

```
python benchmarks/peers.py --repeat 3
```

Prints a table in Markdown, then the same as JSON. Files are compared with Alchemy for TypeScript, resources without
provider work with Terraform's built-in `terraform_data`. The tools take turns, step by step, so that a machine that
grows slower meanwhile is slower for all. A peer that is not there is left out, with a line that says so. Every write of
ours is durable; the peers' are not.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from engine import Engine, Kind
from measure import PROGRAMS, Failed, Sample, count_files, environment, expect, machine, median, run, work_folder

from alchemy.local import ToolchainError, cache_dir
from alchemy.local._npm import npm_command

TYPESCRIPT_VERSION = "0.94.0"
STEPS = ("create", "noop", "destroy")
WORDS = {"create": "create", "noop": "no change", "destroy": "destroy"}


class Missing(Exception):
    """A peer is not on this machine; the message says what to do."""


class Tool(Protocol):
    """One tool in a folder of its own, with a method for each step."""

    name: str

    def create(self) -> Sample: ...
    def noop(self) -> Sample: ...
    def destroy(self) -> Sample: ...


class TypeScript:
    """Alchemy for TypeScript, run by Node.js as its documentation says."""

    name = f"Alchemy for TypeScript {TYPESCRIPT_VERSION}"

    def __init__(self, folder: Path, n: int) -> None:
        self.folder = folder
        self.n = n
        shutil.copy(PROGRAMS / "file.mjs", folder)
        # Modules are looked for beside the program.
        (folder / "node_modules").symlink_to(_installed_typescript() / "node_modules")

    def create(self) -> Sample:
        """Deploy for the first time."""
        return self._run(self.n)

    def noop(self) -> Sample:
        """Deploy the same program again."""
        return self._run(self.n)

    def destroy(self) -> Sample:
        """Destroy everything, in parallel."""
        return self._run(0, "--destroy")

    def _run(self, left: int, *args: str) -> Sample:
        env = {
            "N": str(self.n),
            "V": "1",
            "NODE_ENV": "production",
            "DO_NOT_TRACK": "1",
            "ALCHEMY_TELEMETRY_DISABLED": "1",
            # It refuses its file store where CI is set.
            "ALCHEMY_CI_STATE_STORE_CHECK": "false",
        }
        sample = run([_node(), "file.mjs", *args], cwd=self.folder, env=env)
        expect(count_files(self.folder / "out"), left, "files")
        expect(count_files(self.folder / ".alchemy", "*.json"), left, "records")
        return sample


class Terraform:
    """Terraform with its built-in resource, which needs no plugin and does nothing."""

    def __init__(self, folder: Path, n: int) -> None:
        self.folder = folder
        self.n = n
        self.name = f"Terraform {_terraform_version()}"
        shutil.copy(PROGRAMS / "null.tf", folder)
        self._run("init", n=False)

    def create(self) -> Sample:
        """Plan and apply for the first time."""
        return self._change("apply", self.n)

    def noop(self) -> Sample:
        """Plan and apply the same again."""
        return self._change("apply", self.n)

    def destroy(self) -> Sample:
        """Destroy everything."""
        return self._change("destroy", 0)

    def _change(self, command: str, left: int) -> Sample:
        sample = self._run(command, "-auto-approve", f"-parallelism={PARALLELISM}")
        state = json.loads((self.folder / "terraform.tfstate").read_bytes())
        expect(sum(len(resource["instances"]) for resource in state["resources"]), left, "records")
        return sample

    def _run(self, command: str, *args: str, n: bool = True) -> Sample:
        given = [*args, *([f"-var=n={self.n}"] if n else [])]
        env = {"CHECKPOINT_DISABLE": "1"}
        return run([_terraform(), command, "-input=false", "-no-color", *given], cwd=self.folder, env=env)


PARALLELISM = 32
"""The same for Terraform as ours has by default; its own default is 10."""


def _node() -> str:
    # Where npm is the one of a Python package, so is node; it lies beside it.
    command = npm_command()
    found = command[0] if len(command) == 2 else shutil.which("node")
    if found is None:
        raise Missing("there is an npm on the path, but no node")
    return found


def _terraform() -> str:
    found = shutil.which("terraform")
    if found is None:
        raise Missing("there is no terraform on the path; it is not installed by this project")
    return found


def _terraform_version() -> str:
    said = subprocess.run([_terraform(), "version", "-json"], env=environment(), capture_output=True, check=True)
    return str(json.loads(said.stdout)["terraform_version"])


def _installed_typescript() -> Path:
    """Install the peer once into the user's cache, and give the folder."""
    folder = cache_dir() / "benchmarks" / f"alchemy-{TYPESCRIPT_VERSION}"
    if folder.is_dir():
        return folder
    try:
        command = [*npm_command(), "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    except ToolchainError as error:
        raise Missing(error.message) from error
    print(f"installing alchemy@{TYPESCRIPT_VERSION} with npm, once", file=sys.stderr)
    filling = folder.with_name(f"{folder.name}.{os.getpid()}")
    filling.mkdir(parents=True)
    try:
        (filling / "package.json").write_text('{"private": true}\n')
        done = subprocess.run(
            [*command, f"alchemy@{TYPESCRIPT_VERSION}"],
            cwd=filling,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise Missing(f"npm could not install alchemy@{TYPESCRIPT_VERSION}: {done.stderr.strip()[-300:]}")
        filling.rename(folder)
    finally:
        shutil.rmtree(filling, ignore_errors=True)
    return folder


@dataclass
class Comparison:
    """The same work, ours and a peer's.

    Attributes:
        targets: the largest part of the peer's time that ours may take, by step.
    """

    what: str
    kind: Kind
    n: int
    peer: Callable[[Path, int], Tool]
    targets: dict[str, float]
    ours: dict[str, list[Sample]] = field(default_factory=dict[str, list[Sample]])
    theirs: dict[str, list[Sample]] = field(default_factory=dict[str, list[Sample]])
    peer_name: str = ""
    pairs: list[tuple[Tool, Tool]] = field(default_factory=list[tuple[Tool, Tool]])

    def prepare(self, folders: ExitStack, repeat: int) -> None:
        """Give both tools a folder for each time they are measured."""
        for _ in range(repeat):
            ours = Engine(folders.enter_context(work_folder("ours")), self.kind, self.n)
            peer = self.peer(folders.enter_context(work_folder("peer")), self.n)
            self.peer_name = peer.name
            self.pairs.append((ours, peer))

    def run(self, number: int, *steps: str) -> None:
        """Measure for the `number`th time: each step with one tool, then with the other."""
        ours, peer = self.pairs[number]
        for step in steps:
            self.ours.setdefault(step, []).append(getattr(ours, step)())
            self.theirs.setdefault(step, []).append(getattr(peer, step)())

    def rows(self) -> list[dict[str, Any]]:
        """Give one row for each step."""
        found: list[dict[str, Any]] = []
        for step in STEPS:
            ours, theirs = median(self.ours[step]), median(self.theirs[step])
            ratio = ours.seconds / theirs.seconds
            found.append(
                {
                    "work": f"{self.n:,} {self.what}",
                    "step": WORDS[step],
                    "ours": ours.to_json(),
                    "peer": self.peer_name,
                    "theirs": theirs.to_json(),
                    "ratio": round(ratio, 3),
                    "to_reach": self.targets[step],
                    "reached": ratio <= self.targets[step],
                }
            )
        return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Give the rows as a table in Markdown."""
    lines = [
        "| work | step | ours | peer | its time | ratio | to reach |",
        "| --- | --- | ---: | --- | ---: | ---: | --- |",
    ]
    for row in rows:
        ours, theirs = row["ours"], row["theirs"]
        lines.append(
            f"| {row['work']} | {row['step']} | {ours['seconds']:.2f} s, {ours['peak_mb']:.0f} MB | {row['peer']} "
            f"| {theirs['seconds']:.2f} s, {theirs['peak_mb']:.0f} MB | {row['ratio']:.2f} "
            f"| ≤ {row['to_reach']}{'' if row['reached'] else ': missed'} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description="Measure the engine beside its peers.")
    parser.add_argument("--files", type=int, default=10_000, metavar="N", help="how many files (default 10000)")
    parser.add_argument("--nulls", type=int, default=1_000, metavar="N", help="how many without work (default 1000)")
    parser.add_argument("--repeat", type=int, default=3, help="how often; the median counts (default 3)")
    parser.add_argument("--only", choices=["typescript", "terraform"], help="compare with this peer alone")
    args = parser.parse_args()
    wanted = {
        "typescript": Comparison(
            "files", "file", args.files, TypeScript, {"create": 0.4, "noop": 0.4, "destroy": 0.25}
        ),
        "terraform": Comparison(
            "resources without work", "null", args.nulls, Terraform, {"create": 0.1, "noop": 0.5, "destroy": 0.1}
        ),
    }
    compared = [wanted[name] for name in ([args.only] if args.only else wanted)]
    for comparison in list(compared):
        try:
            _warm_up(comparison)
        except Missing as missing:
            print(f"left out: {comparison.peer.__name__}: {missing}", file=sys.stderr)
            compared.remove(comparison)
    where = machine()
    _measure(compared, args.repeat)
    rows = [row for comparison in compared for row in comparison.rows()]
    print(table(rows))
    print(json.dumps({"machine": where, "repeat": args.repeat, "rows": rows}, indent=2))


def _measure(compared: Sequence[Comparison], repeat: int) -> None:
    """Create everything before anything is destroyed; `measure` says why."""
    with ExitStack() as folders:
        for comparison in compared:
            comparison.prepare(folders, repeat)
        for steps in (("create", "noop"), ("destroy",)):
            for number in range(repeat):
                for comparison in compared:
                    comparison.run(number, *steps)


def _warm_up(comparison: Comparison) -> None:
    """Run both tools once on a single resource: compiled modules and file caches are there from then on."""
    _measure([Comparison(comparison.what, comparison.kind, 1, comparison.peer, comparison.targets)], 1)


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(str(failure))
