"""What a run says of itself at its beginning and at its end; nothing in it is secret."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from pathlib import Path
from typing import Any, cast

from alchemy.config import Launch
from alchemy.engine.run import Run, in_words
from alchemy.errors import AlchemyError
from alchemy.events import RunFinished, RunStarted
from alchemy.options import OPTIONS
from alchemy.ports import Owner
from alchemy.resource import Resource
from alchemy.secret import MASK
from alchemy.serde import encode, masked


def started(run: Run, launch: Launch, owner: Owner) -> RunStarted:
    """Say who does what, with which program and options."""
    known = sum(not record.is_scope for record in run.session.records.values())
    return RunStarted(
        unit=run.unit,
        phase="rebuild" if run.rebuilds else run.doing,
        known=known,
        owner=str(owner),
        program=_program(launch),
        options=_options(run),
    )


def finished(run: Run, *, ok: bool, exports: dict[str, Any], error: BaseException | None) -> RunFinished:
    """Say how it went; `error` is what ended it, besides the resources that failed."""
    failures = [*run.failures.values()]
    if run.lost is not None:
        failures.append(in_words(run.lost))
    elif error is not None and not run.failures:
        failures += _told(error)
    return RunFinished(
        unit=run.unit,
        phase="rebuild" if run.rebuilds else run.doing,
        ok=ok,
        seconds=round(time.monotonic() - run.started, 4),
        counts=dict(run.counts),
        exports=_shown(exports),
        failures=failures,
    )


def _told(error: BaseException) -> list[str]:
    """Say a failure; what a program raises itself is named only, for its text may hold anything."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return [line for one in group.exceptions for line in _told(one)]
    return [in_words(error) if isinstance(error, AlchemyError) else type(error).__name__]


def _program(launch: Launch) -> str | None:
    """Name the program: relative to the project's folder where it lies in it."""
    path = launch.program or getattr(sys.modules.get("__main__"), "__file__", None)
    if path is None:
        return None
    relative = os.path.relpath(path, launch.root)
    return Path(relative).as_posix() if not relative.startswith("..") else Path(path).name


def _options(run: Run) -> dict[str, Any]:
    """Give the options that differ from their defaults."""
    defaults = {field.name: field.default for field in dataclasses.fields(run.settings)}
    found: dict[str, Any] = {}
    for option in OPTIONS:
        value = getattr(run.settings, option.name)
        if option.name == "password":
            value = MASK if value is not None else None
        elif option.name == "state_store":
            value = run.session.store.url if value is not None else None
        if value is not None and value != defaults[option.name]:
            found[option.name] = value
    return found


def _shown(values: dict[str, Any]) -> dict[str, Any]:
    """Give exported values as JSON, secrets masked."""
    shown: dict[str, Any] = {}
    for name, value in values.items():
        try:
            data = encode(value, seal=lambda _secret, _path: None, refer=_reference)
        except AlchemyError:
            data = repr(value)
        shown[name] = masked(data)
    return shown


def _reference(value: object) -> dict[str, Any] | None:
    return {"fqn": value.fqn} if isinstance(value, Resource) else None
