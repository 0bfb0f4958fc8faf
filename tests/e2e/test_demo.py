"""The demo, as `make demo` runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.workerd

DEMO = Path(__file__).resolve().parents[2] / "examples" / "notes" / "demo.py"


def test_every_step_of_the_demo_does_what_it_says() -> None:
    """It deploys, uses, deploys again, changes, drops and destroys; it would exit with another code than 0 if not."""
    done = subprocess.run(
        [sys.executable, str(DEMO)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line[0] for line in done.stdout.splitlines() if line[:1].isdigit()] == list("123456")


def test_the_demo_fails_loudly() -> None:
    """When the Worker is not as it should be, it says which expectation failed, and exits with 1."""
    broken = DEMO.read_text().replace('b"seen 1 times" in page', 'b"seen 7 times" in page')
    program = f"__file__ = {str(DEMO)!r}\n" + broken.replace("from __future__ import annotations\n", "")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1
    assert "The demo failed: expected that the page is served, and its view counted" in done.stderr
