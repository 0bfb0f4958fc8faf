"""Trying a script out before it replaces anything: a workerd of its own, which only has to start.

Measured at 20 to 40 ms. What fails here is what Cloudflare refuses with code 10021: a syntax error, an import of
nothing, an exception or an endless loop at top level, a compatibility date or flag that is not known.
"""

from __future__ import annotations

import asyncio
import re
import socket
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from alchemy.local._toolchain import Toolchain
from alchemy.local.runtime import wiring
from alchemy.local.runtime.files import write_files
from alchemy.local.runtime.process import Workerd, WorkerdRefused
from alchemy.local.runtime.worker import Worker

_CPU_SECONDS = 2
_MISSING_CLASS = re.compile(r'referenced the class "(.*?)", but no such Durable Object class is exported', re.DOTALL)
"""workerd says so and starts all the same."""
_SECONDS = 20


class ScriptRefused(Exception):
    """The script does not start; the message is V8's or workerd's."""


async def preflight(worker: Worker, toolchain: Toolchain, *, probes: Iterable[str] = ()) -> frozenset[str]:
    """Start the script by itself and stop it again.

    Args:
        probes: further classes to look for in it.

    Returns:
        The Durable Object classes that it does not export, of those that it has and of `probes`.

    An endless loop is recognised by the processor time it uses (two seconds), so a busy machine refuses nothing.

    Raises:
        ScriptRefused: it does not start.
    """
    names = {*worker.classes, *probes}
    plan = wiring.scratch(replace(worker, classes={name: name for name in names}))
    with tempfile.TemporaryDirectory(prefix="alchemy-") as folder, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        config, log = Path(folder) / "config.capnp", Path(folder) / "log"
        await asyncio.to_thread(write_files, config, plan)
        try:
            workerd = await Workerd.start(
                toolchain,
                config,
                sockets={"worker": listener.fileno()},
                environment=plan.environment,
                experimental=False,
                seconds=_SECONDS,
                cpu_seconds=_CPU_SECONDS,
                log=log,
            )
        except WorkerdRefused as refused:
            raise ScriptRefused(_message(worker, refused)) from refused
        await workerd.stop(grace=0)
        said = await asyncio.to_thread(log.read_text, "utf-8", "replace") if names else ""
        return frozenset(_MISSING_CLASS.findall(said))


def _message(worker: Worker, refused: WorkerdRefused) -> str:
    if refused.timed_out:
        return "Script startup exceeded CPU time limit."
    said = re.sub(rf"^service worker:{re.escape(worker.name)}: ", "", refused.message, flags=re.MULTILINE)
    return said.replace("\n  at ", "\n at ")
