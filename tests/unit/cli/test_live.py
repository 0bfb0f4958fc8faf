"""What a terminal shows while a run waits."""

from __future__ import annotations

import io
import time

from rich.console import Console

from alchemy.cli.live import LiveTree
from alchemy.events import RunStarted, Waiting


def test_whom_a_run_waits_for_is_said_once() -> None:
    """In the picture, where it counts; as a line that stays only when the picture shows something else."""
    out = io.StringIO()
    display = LiveTree(console=Console(file=out, width=200))
    waiting = Waiting(at=time.time(), unit="app/dev", owner="ann@host (pid 7), deploy", since="", patience=30.0)
    display(waiting)
    assert out.getvalue() == ""
    assert ["held by ann@host" in line.plain for line in display.picture(time.time())] == [True]
    display(RunStarted(at=time.time(), unit="app/dev", phase="up"))
    display(waiting)
    assert out.getvalue().count("held by ann@host") == 1
