"""The benchmarks do the work they measure, and say so in the promised form. How fast is for a quiet machine to tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def benchmark(name: str, *args: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a benchmark to its end."""
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / name), *args],
        env={**os.environ, **({"PATH": path} if path is not None else {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_engine_measures_every_step() -> None:
    """Each step of each kind has its time and its memory, and growth is given from one N to the next."""
    done = benchmark("engine.py", "--n", "2", "4", "--kind", "file", "null")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert [(run["kind"], run["n"]) for run in report["runs"]] == [("file", 2), ("file", 4), ("null", 2), ("null", 4)]
    for run in report["runs"]:
        for step in ("create", "noop", "update", "destroy"):
            assert run[step]["seconds"] > 0
            assert run[step]["peak_mb"] > 1
    assert [(ratio["kind"], ratio["from"], ratio["to"]) for ratio in report["growth"]] == [
        ("file", 2, 4),
        ("null", 2, 4),
    ]


def test_peers_leaves_out_what_is_not_there(tmp_path: Path) -> None:
    """Without a peer nothing is compared, and a line says which one is missing."""
    done = benchmark("peers.py", "--only", "terraform", "--nulls", "1", path=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("left out: Terraform: there is no terraform")
    assert json.loads("{" + done.stdout.partition("{")[2])["rows"] == []


def test_durability_compares_with_and_without() -> None:
    """Each cost has both sides and their ratio, and leases their times."""
    done = benchmark("durability.py", "--n", "3", "--repeat", "1", "--rounds", "2")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    for name, sides in (
        ("writes", ("durable", "not_durable")),
        ("backup", ("with", "without")),
        ("recovery", ("after_kill", "noop")),
    ):
        assert report[name]["ratio"] > 0
        assert all(report[name][side]["seconds"] > 0 for side in sides)
    assert report["backup"]["mib"] >= 0
    assert min(report["lease"]["round_trip_ms"], report["lease"]["renew_ms"]) > 0


@pytest.mark.workerd
def test_the_state_service_is_counted() -> None:
    """Calls of objects and rows are there for each step; a deploy that changes nothing writes no record."""
    done = benchmark("state_service.py", "--n", "3")
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads("{" + done.stdout.partition("{")[2])["rows"]
    assert [(row["n"], row["step"]) for row in rows] == [(3, "create"), (3, "no change"), (3, "destroy")]
    assert all(row["calls"] > 0 and row["rows_read"] > 0 and row["rows_written"] > 0 for row in rows)
    assert ["commit" in row["methods"] for row in rows] == [True, False, True]


@pytest.mark.workerd
def test_single_operations_are_measured() -> None:
    """Each store has its times, and with a server its requests; a run that changes nothing makes three, and one for its
    log each second that it takes.
    """
    done = benchmark("operations.py", "--records", "5", "--resources", "3", "--repeat", "2")
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads("{" + done.stdout.partition("{")[2])["rows"]
    assert [row["store"] for row in rows] == ["file", "sqlite", "service"]
    assert all(min(row["get_ms"], row["set_ms"], row["load_seconds"]) > 0 for row in rows)
    assert ["noop_requests" in row for row in rows] == [False, False, True]
    assert rows[2]["load_requests"] == 3
    assert 0 <= rows[2]["noop_requests"] - 3 <= int(rows[2]["noop_seconds"])
