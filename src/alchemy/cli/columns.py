"""How lists and moments are written for people."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Give a line for each row, its columns below one another and two spaces apart; nothing is padded at the end."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def seconds_of(stamp: str) -> float | None:
    """Give a record's time in seconds since the epoch; `None` for what is none."""
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return None


def age(moment: float | None, *, now: float | None = None) -> str:
    """Say how long ago a moment (seconds since the epoch) was, in its largest unit: `40 s`, `3 min`, `2 h`, `9 d`."""
    if moment is None:
        return "?"
    passed = math.floor(max(0.0, (time.time() if now is None else now) - moment))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if passed >= length:
            return f"{passed // length} {unit}"
    return f"{passed} s"


def moment(seconds: float | None) -> str:
    """Write a moment as the machine's own time: `2026-11-21 09:00:00`."""
    return "?" if seconds is None else datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def plural(count: int, what: str) -> str:
    """Count something: `1 resource`, `3 resources`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
