"""The clocks that leases are judged by."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

_COUNTING_SUSPENSION = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux leaves suspended time out of its monotonic clock, macOS counts it in."""


def elapsed() -> float:
    """Give seconds of a clock that nobody sets and that goes on while the machine sleeps.

    By this a holder judges itself: after a night with the lid closed it must not believe that it was away for a moment.
    """
    return time.clock_gettime(_COUNTING_SUSPENSION)


def awake() -> float:
    """Give seconds of a clock that nobody sets and that stands still while the machine sleeps.

    By this others are judged: whoever slept on the same machine had no chance to renew either.
    """
    return time.monotonic()


@functools.cache
def machine() -> str:
    """Name what shares `awake`: this boot of this kernel, and its time namespace; `""` where that cannot be told.

    Containers on one machine share it, whatever their host names; machines with the same host name do not.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/time')}"  # noqa: PTH115
    except OSError:
        return ""
