"""What end-to-end tests share: a project in a folder of its own, and the command line as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pytest
from tests.amounts import amount

LIMIT = amount(60, 600)
"""Seconds after which a process that hangs fails its test; a long one may share its machine with others."""

THINGS = '''
import asyncio, os
from pathlib import Path
from alchemy import Naming, Options, Provider, Resource, alchemy, output, prop

class Thing(Resource, kind="test::Thing", provider="file:alchemy.run.py#Things"):
    size: int = 1
    bad: bool = False
    slow: bool = False
    token: str | None = prop(default=None, secret=True)
    object_id: str = output()

class Things(Provider[Thing]):
    """Objects are files in the folder `objects`. A slow one waits until there is a file `go`."""

    naming = Naming(max=40)
    recover = "name"

    def _file(self, name):
        return Path("objects") / name

    async def find(self, ctx, want):
        return ctx.result(object_id=ctx.name) if self._file(ctx.name).exists() else None

    async def create(self, ctx, want):
        ctx.log(f"making {ctx.id}")
        while want.slow and not Path("go").exists():
            await asyncio.sleep(0.01)
        if want.bad:
            raise ValueError(f"{ctx.id} went bad")
        self._file(ctx.name).parent.mkdir(exist_ok=True)
        self._file(ctx.name).write_text(str(want.size))
        return ctx.result(object_id=ctx.name)

    async def update(self, ctx, want, have):
        self._file(have.object_id).write_text(str(want.size))
        return ctx.result(object_id=have.object_id)

    async def delete(self, ctx, have):
        self._file(have.object_id).unlink(missing_ok=True)
'''
"""A resource and its provider, to be put at the head of a program."""


class Running:
    """A command that runs; its stdout is read line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        assert process.stderr is not None
        self.stdout: IO[str] = process.stdout
        self.stderr: IO[str] = process.stderr

    def event(self, type_: str, **fields: Any) -> dict[str, Any]:
        """Read events until one of this type with these fields comes."""
        for line in self.stdout:
            event: dict[str, Any] = json.loads(line)
            if event["type"] == type_ and all(event[name] == value for name, value in fields.items()):
                return event
        raise AssertionError(f"no {type_} came; stderr: {self.stderr.read()}")

    def said(self, text: str) -> str:
        """Read stderr until a line with `text` comes."""
        for line in self.stderr:
            if text in line:
                return line
        raise AssertionError(f"{text!r} was never said")

    def interrupt(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def finish(self) -> tuple[int, str, str]:
        """Wait for its end; give the exit code and the rest of stdout and stderr."""
        stdout, stderr = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, stdout, stderr


class Project:
    """A folder with a program, and the command line in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[str]] = []

    def write(self, source: str, name: str = "alchemy.run.py") -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)

    def program(self, source: str) -> None:
        """Write a program that has `Thing`, and then `source`."""
        self.write(f"{THINGS}\n{source}")

    def things(self, *body: str, app: str = 'alchemy("notes")') -> None:
        """Write a program that opens an application and does `body` in it."""
        inner = "".join(f"        {line}\n" for line in body or ("pass",))
        self.program(f"async def main():\n    async with {app} as app:\n{inner}")

    @property
    def objects(self) -> dict[str, str]:
        """What there is in the world, by the readable part of its name."""
        folder = self.folder / "objects"
        return {path.name[:-9]: path.read_text() for path in folder.iterdir()} if folder.is_dir() else {}

    def environment(self, changes: Mapping[str, str]) -> dict[str, str]:
        return {**os.environ, "ALCHEMY_STAGE": "dev", "PYTHONWARNINGS": "default", **changes}

    def run(
        self, *args: str, env: Mapping[str, str] | None = None, stdin: str | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. Without `stdin` it has no terminal and nothing to read."""
        return subprocess.run(
            [sys.executable, "-m", "alchemy", *args],
            cwd=cwd or self.folder,
            env=self.environment(env or {}),
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )

    def ok(self, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command that must succeed, and say nothing on stderr."""
        done = self.run(*args, **options)
        assert (done.returncode, done.stderr) == (0, ""), f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *args: str, env: Mapping[str, str] | None = None) -> Running:
        """Start a command and let it run."""
        process = subprocess.Popen(
            [sys.executable, "-m", "alchemy", *args],
            cwd=self.folder,
            env=self.environment(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return Running(process)

    def records(self) -> dict[str, str]:
        """Give the statuses in state by FQN, as `state list` tells them."""
        rows = [
            json.loads(line)
            for line in self.ok("state", "list", "--json", "--state-store", "file:.alchemy").stdout.splitlines()
        ]
        return {row["fqn"]: row["status"] for row in rows}

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=LIMIT)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A folder of its own for a program; what was started there ends with the test."""
    made = Project(tmp_path)
    yield made
    made.close()
