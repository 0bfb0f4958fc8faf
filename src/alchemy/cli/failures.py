"""What went wrong, for people: each failure once, with what it concerns, its cause and the next thing to do."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

import alchemy
from alchemy.cli import terminal
from alchemy.cli.programs import shown
from alchemy.errors import AlchemyError, NotStarted, ResourceFailed

_OURS = str(Path(alchemy.__file__).parent)
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def leaves(error: BaseException) -> list[BaseException]:
    """Give the failures in a group of groups, each once; what was only not begun is left out when there is more."""
    found: list[BaseException] = []
    _collect(error, found)
    real = [one for one in found if not isinstance(one, NotStarted)]
    return real or found[:1]


def _collect(error: BaseException, found: list[BaseException]) -> None:
    if isinstance(error, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            _collect(inner, found)
    elif not any(one is error for one in found):
        found.append(error)


def show(error: BaseException, *, root: Path | None = None, verbose: bool = False) -> set[str]:
    """Write what went wrong to stderr.

    Args:
        error: what a command or a program raised.
        root: the program's folder: only frames in it are shown of a traceback.
        verbose: show tracebacks of everything, whole.

    Returns:
        The FQNs of the resources that were named.
    """
    named: set[str] = set()
    told: set[str] = set()
    for failure in leaves(error):
        if isinstance(failure, ResourceFailed):
            if failure.fqn in named:
                continue
            named.add(failure.fqn)
        elif isinstance(failure, AlchemyError):
            if str(failure) in told:
                continue  # several scopes were refused for one reason
            told.add(str(failure))
        show_one(failure, root=root, verbose=verbose)
    return named


def show_more(failed: Mapping[str, str], *, besides: Iterable[str]) -> None:
    """Write the failures that the program caught, and that were reported all the same.

    Args:
        failed: what failed in the run, by FQN, in words.
        besides: those that were shown already.
    """
    for fqn in failed.keys() - set(besides):
        terminal.problem(failed[fqn])


def show_one(error: BaseException, *, root: Path | None, verbose: bool) -> None:
    """Write one failure to stderr."""
    if isinstance(error, AlchemyError):
        place = None if isinstance(error, ResourceFailed) else _place(error, root)
        terminal.problem(f"{place}: {error.message}" if place else error.message, error.hint)
    else:
        terminal.problem(_headline(error))
    if verbose:
        terminal.note(_indented("".join(traceback.format_exception(error))))
        return
    # A provider that the program defines may have a mistake in it: that is shown like one in the program.
    raised = error.__cause__ if isinstance(error, ResourceFailed) else error
    if raised is None or isinstance(raised, AlchemyError):
        return
    frames = _limited(raised, root)
    if frames:
        terminal.note(_indented(frames))
    if raised.__cause__ is not None:
        terminal.note(f"  because of {_headline(raised.__cause__)}")


def _headline(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        where = f"{shown(Path(error.filename))}:{error.lineno}: " if error.filename else ""
        return f"{where}{type(error).__name__}: {error.msg}"
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _limited(error: BaseException, root: Path | None) -> str:
    """Give the frames of the program, and for a syntax error the line with its mark."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename, root)]
    text = "".join(traceback.StackSummary.from_list([_relative(frame) for frame in frames]).format())
    if isinstance(error, SyntaxError) and error.text:
        marked = traceback.TracebackException.from_exception(error, limit=0)
        text += "".join(list(marked.format_exception_only())[1:-1])
    return text


def _is_users(filename: str, root: Path | None) -> bool:
    """Say whether a frame is the program's: in its folder, or at least neither ours nor a library's."""
    if filename.startswith("<") or filename.startswith(_OURS):
        return False
    if root is not None and Path(filename).is_relative_to(root):
        return not any(part in ("site-packages", ".venv", "node_modules") for part in Path(filename).parts)
    return not filename.startswith(_LIBRARIES)


def _relative(frame: traceback.FrameSummary) -> traceback.FrameSummary:
    return traceback.FrameSummary(shown(Path(frame.filename)), frame.lineno, frame.name, line=frame.line)


def _place(error: BaseException, root: Path | None) -> str | None:
    """Give `file:line` of the program's own line that led to an error."""
    if root is None:
        return None
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename, root)]
    return f"{shown(Path(frames[-1].filename))}:{frames[-1].lineno}" if frames else None


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.rstrip().splitlines())
