"""What has no counterpart: kept in a file beside the state, as it was, so that nothing is lost."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from alchemy.errors import StateError
from alchemy.importing.composing import Plan
from alchemy.importing.found import Source
from alchemy.state import now


def entries(plan: Plan) -> list[dict[str, Any]]:
    """List what is kept aside: what is not imported, and what is imported without some of its inputs."""
    kept = [{"fqn": one.fqn, "kind": one.kind, "why": one.why, "record": one.raw} for one in plan.kept]
    return kept + [
        {
            "fqn": item.fqn,
            "kind": item.found.kind,
            "why": f"imported without {', '.join(item.left_out)}",
            "record": item.found.raw,
        }
        for item in plan.items
        if item.left_out
    ]


def write_aside(folder: Path, source: Source, plan: Plan, kept: Sequence[dict[str, Any]]) -> Path:
    """Write it, durable when this returns; readable by the owner only. Secrets stay encrypted as they were.

    Raises:
        StateError: it cannot be written.
    """
    made_at = now()
    stamp = re.sub(r"[^0-9TZ]+", "-", made_at)
    unit = re.sub(r"[^A-Za-z0-9._-]+", "-", plan.unit)
    path = folder / f"import-{unit}-{stamp}.json"
    content = {"unit": plan.unit, "source": str(source.path), "made_at": made_at, "records": kept}
    raw = msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(fd)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StateError(
            f"{path} cannot be written: {error.strerror}", hint="nothing was imported; free the place, then try again"
        ) from error
    return path
