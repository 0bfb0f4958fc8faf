"""A command that is run when what it works from has changed."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alchemy.errors import DeclarationError, ProviderError
from alchemy.os._inputs import digests
from alchemy.os._masking import Masker, Stream, inherited_secrets
from alchemy.os._process import run
from alchemy.provider import Context, Provider
from alchemy.resource import Resource, output, prop
from alchemy.secret import Secret
from alchemy.serde import canonical

_RAN = "ran"
"""The key in a record's `data`: a hash of what was last run to its end; without it, the next update runs again."""

_SHOWN_LINES = 20
_SHOWN_CHARS = 2000


class Exec(Resource, kind="os::Exec", provider="alchemy.os._exec:ExecProvider"):
    """A command on this machine, such as a build.

    It runs when it is declared first, and again when the command, its folder, its environment or the contents of
    its input files have changed, or with `--force`. Otherwise what it gave then is given again. It gets no input, and
    inherits the environment of this process; its output goes to the run's log line by line, with `***` for the
    secrets of `env` and for inherited variables named like a secret (`…_TOKEN`, `…_PASSWORD`, `…_KEY`, …).

    When it has ended, what it started in the background is killed. Nothing is undone when it leaves the program:
    declare as resources what it makes and what should go.

    ```python
    build = await Exec("build", command=["npm", "run", "build"], cwd="site", inputs=["src/**", "package.json"])
    ```

    Attributes:
        command: the program and its arguments, one text each. No shell is involved: for one, `["sh", "-c", "…"]`.
        cwd: the folder it runs in; by default the current one.
        env: variables added to the inherited ones.
        inputs: patterns relative to `cwd` of files it works from; `**` stands for any number of folders, and a
            folder's name for all files in it. One that matches nothing is allowed, and the log says so.
        timeout: seconds after which it is stopped and counts as failed.
        exit_code: 0, since anything else is a failure.
        stdout, stderr: the last 64 KiB of each.
    """

    command: Sequence[str]
    cwd: str | None = None
    env: Mapping[str, str | Secret[str]] = prop(default_factory=dict)
    inputs: Sequence[str] = ()
    timeout: float | None = None
    exit_code: int = output()
    stdout: str = output()
    stderr: str = output()

    if not TYPE_CHECKING:  # type checkers keep the constructor that the fields make

        def __init__(self, *args: Any, **given: Any) -> None:
            for name in ("command", "inputs"):
                if isinstance(given.get(name), str):
                    id = given.get("id", *args[:1])
                    raise DeclarationError(
                        f"{name!r} of os::Exec {id!r} is one text; it takes a list of them",
                        hint=f"write {name}={_as_list(given[name])}",
                    )
            super().__init__(*args, **given)

    def fingerprint(self) -> Mapping[str, Any] | None:
        """Give the hashes of its input files.

        Raises:
            DeclarationError: an input is wrong, or a file cannot be read.
        """
        _check(self)
        return {"files": _digests(self)[0]} if self.inputs else None


class ExecProvider(Provider[Exec]):
    """Handle `Exec`."""

    recover = "again"

    async def read(self, ctx: Context[Exec], have: Exec) -> Exec | None:
        """Give it as it is remembered: a command that ran leaves nothing to look at."""
        return have

    async def create(self, ctx: Context[Exec], want: Exec) -> Exec:
        """Run it.

        Raises:
            ProviderError: it cannot be started, fails, or takes too long. Nothing of it runs any more.
        """
        return await _run(ctx, want, *await asyncio.to_thread(_survey, want))

    async def update(self, ctx: Context[Exec], want: Exec, have: Exec) -> Exec:
        """Run it again, unless nothing but its `timeout`, or how its inputs are named, has changed."""
        ran, idle = await asyncio.to_thread(_survey, want)
        if not ctx.force and ctx.data.get(_RAN) == ran and want.env == have.env:
            return ctx.result(exit_code=have.exit_code, stdout=have.stdout, stderr=have.stderr)
        if ctx.data.pop(_RAN, None) is not None:
            # A run that fails half-way may have undone what the last one did, whatever the next inputs are.
            await ctx.checkpoint()
        return await _run(ctx, want, ran, idle)

    async def delete(self, ctx: Context[Exec], have: Exec) -> None:
        """Nothing to do: what a command did is not undone."""


def _as_list(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError:
        words = [text]
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"


def _check(want: Exec) -> None:
    what = f"os::Exec {want.id!r}"
    if not want.command or not want.command[0]:
        raise DeclarationError(f"'command' of {what} names no program", hint='such as command=["npm", "run", "build"]')
    for name, variable in want.env.items():
        if not name or "=" in name or not _fits(name):
            raise DeclarationError(f"'env' of {what} holds {name!r}, which cannot be a variable's name")
        if not _fits(variable.reveal() if isinstance(variable, Secret) else variable):
            raise DeclarationError(f"{name!r} in 'env' of {what} holds a character that no variable can, such as NUL")
    for name, texts in (("command", want.command), ("inputs", want.inputs), ("cwd", (want.cwd or "",))):
        if not all(map(_fits, texts)):
            raise DeclarationError(f"{name!r} of {what} holds a character that it cannot, such as NUL")
    if want.timeout is not None and not want.timeout > 0:
        raise DeclarationError(f"'timeout' of {what} is {want.timeout:g}", hint="give seconds above 0, or leave it out")


def _fits(text: str) -> bool:
    """Say whether the operating system can be told a text."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _cwd(want: Exec) -> str:
    return os.path.abspath(want.cwd or ".")  # noqa: PTH100 - resolve() would follow links


def _digests(want: Exec) -> tuple[dict[str, str], list[str]]:
    return digests(want.inputs, _cwd(want), f"os::Exec {want.id!r}")


def _survey(want: Exec) -> tuple[str, list[str]]:
    """Give one hash for what is to be run, and the inputs that match no file.

    The hash leaves out `env`: that may hold a secret, which its hash could give away.

    Raises:
        DeclarationError: an input is wrong, or a file cannot be read.
        ProviderError: there is no such folder as `cwd`.
    """
    _check(want)
    if not Path(_cwd(want)).is_dir():
        raise ProviderError(f"{want.cwd} is not a folder: {want.command[0]} cannot run there", hint="check its cwd=…")
    files, idle = _digests(want)
    return hashlib.sha256(canonical([list(want.command), want.cwd, files])).hexdigest(), idle


async def _run(ctx: Context[Exec], want: Exec, ran: str, idle: Sequence[str]) -> Exec:
    cwd = _cwd(want)
    given = {name: item.reveal() if isinstance(item, Secret) else item for name, item in want.env.items()}
    secrets = [item.reveal() for item in want.env.values() if isinstance(item, Secret)]
    environment = {**os.environ, **given}
    masker = Masker((*secrets, *inherited_secrets(os.environ)))
    shown = masker.mask_text(shlex.join(want.command))
    for pattern in idle:
        ctx.log(f"the input {pattern!r} matches no file in {cwd}")
    ctx.log(f"$ {shown}")
    out, err = Stream(masker, ctx.log), Stream(masker, ctx.log)
    try:
        code = await run(want.command, cwd=cwd, environment=environment, out=out, err=err, timeout=want.timeout)
    except OSError as error:
        raise _not_started(error, _short(shown), want.command[0]) from error
    if code is None:
        raise ProviderError(
            _with_output(f"{_short(shown)} ran longer than {want.timeout} s and was stopped", out, err),
            hint="raise its timeout=…",
            code="timeout",
        )
    if code:
        raise ProviderError(_with_output(f"{_short(shown)} {_ended(code)}", out, err), code=code)
    ctx.data[_RAN] = ran
    return ctx.result(exit_code=code, stdout=out.text, stderr=err.text)


def _not_started(error: OSError, shown: str, program: str) -> ProviderError:
    if isinstance(error, FileNotFoundError):
        hint = f"is {program} installed, and on PATH? A script also needs the interpreter in its first line"
    elif isinstance(error, PermissionError):
        hint = f"make {program} executable: chmod +x"
    elif error.errno == errno.ENOEXEC:
        hint = "is it a program for this machine? A script needs a first line such as #!/bin/sh"
    else:
        hint = None
    return ProviderError(f"{shown} cannot be started: {error.strerror}", hint=hint, code="start")


def _ended(code: int) -> str:
    if code > 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _with_output(message: str, out: Stream, err: Stream) -> str:
    """Add the last lines that the command printed, of its errors if there are any."""
    text = err.text.strip() or out.text.strip()
    if not text:
        return message
    return message + ":\n" + "\n".join(text[-_SHOWN_CHARS:].splitlines()[-_SHOWN_LINES:])


def _short(shown: str) -> str:
    return shown if len(shown) <= 120 else shown[:119] + "…"
