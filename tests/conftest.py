"""What every test shares: one event loop, and nothing leaking in from the developer's shell or from another test."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from alchemy import config

# The same examples every time, so that a run says something of the change and not of the dice; to look for new ones:
# HYPOTHESIS_PROFILE=explore make test
# Nothing is failed for being slow: that would be said of the machine.
settings.register_profile("steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
# `make torture` tries many more, new ones each time, and says how to see a failure again.
settings.register_profile("torture", settings.get_profile("explore"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

# A shell lets what it runs in the background ignore Ctrl-C, and so do all processes that the tests start: they wait for
# ever for one that is to be interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> str:
    """Run asynchronous tests on asyncio, the only loop the product supports."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide the developer's own settings from every test, and undo what a command does to its process."""
    for name in list(os.environ):
        if name.startswith(("ALCHEMY_", "CLOUDFLARE_")) or name == "CI":
            monkeypatch.delenv(name)
    folder = Path.cwd()
    monkeypatch.setattr(config, "launch", ContextVar("alchemy_launch", default=None))
    yield
    os.chdir(folder)
