"""What went wrong is listed once each, with its cause and what to do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from alchemy.cli import failures
from alchemy.errors import ConfigurationError, NotStarted, ProviderError, ResourceFailed, StateError


def failed(fqn: str, cause: Exception | None = None, hint: str | None = None) -> ResourceFailed:
    error = ResourceFailed(f"{fqn}: create failed: {cause and cause.args[0]}", fqn=fqn, action="create", hint=hint)
    error.__cause__ = cause
    return error


def test_groups_are_flattened_and_repeats_left_out() -> None:
    """However deep they are nested, each failure counts once; what was not begun is no failure of its own."""
    one, two = failed("a/b/one"), failed("a/b/two")
    skipped = NotStarted("a/b/three was not begun", fqn="a/b/three", action="create")
    group = ExceptionGroup("outer", [one, ExceptionGroup("inner", [two, one, skipped])])
    assert failures.leaves(group) == [one, two]
    assert failures.leaves(ExceptionGroup("only", [skipped])) == [skipped]


def test_a_failure_has_its_hint(capsys: pytest.CaptureFixture[str]) -> None:
    """Message and hint, no traceback, each resource once; its FQN is given back."""
    cause = ProviderError("10021: syntax error", hint="mend the script")
    error = failed("a/b/one", cause, cause.hint)
    group = ExceptionGroup("g", [error, failed("a/b/one", cause)])
    assert failures.show(group) == {"a/b/one"}
    assert capsys.readouterr().err.splitlines() == [
        "error: a/b/one: create failed: 10021: syntax error",
        "  hint: mend the script",
    ]


def test_one_reason_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Several scopes that were refused, each with an error of its own that says the same."""
    refusals = [StateError("the store is not there", hint=hint) for hint in ("mend it", "mend it", "start it")]
    failures.show(ExceptionGroup("g", refusals))
    assert capsys.readouterr().err.splitlines() == [
        "error: the store is not there",
        "  hint: mend it",
        "error: the store is not there",
        "  hint: start it",
    ]


def test_what_the_program_caught_is_listed_too(capsys: pytest.CaptureFixture[str]) -> None:
    """Failures known from events only, without those that were shown."""
    failures.show_more({"a/b/one": "one broke", "a/b/two": "two broke"}, besides={"a/b/one"})
    assert capsys.readouterr().err == "error: two broke\n"


def raised_by(source: str, path: Path) -> BaseException:
    """What a program raises, with a traceback that leads through a library, the program, and asyncio."""

    async def main() -> None:
        exec(compile(source, str(path), "exec"), {})

    path.write_text(source)
    with pytest.raises(Exception) as raised:
        asyncio.run(main())
    return raised.value


def test_a_traceback_has_the_programs_frames_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither ours nor a library's, though those are what raised."""
    source = "import json\ndef f():\n    json.loads('{')\nf()\n"
    failures.show(raised_by(source, tmp_path / "p.py"), root=tmp_path)
    told = capsys.readouterr().err
    assert told.startswith("error: JSONDecodeError: ")
    frames = [line for line in told.splitlines() if "File" in line and Path(__file__).name not in line]
    assert [line.split(",")[1] for line in frames] == [" line 4", " line 3"]


def test_verbose_has_the_whole_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For whoever wants to report a bug."""
    failures.show(raised_by("import json\njson.loads('{')", tmp_path / "p.py"), root=tmp_path, verbose=True)
    assert "decoder.py" in capsys.readouterr().err


def test_an_error_on_purpose_names_the_programs_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line of the program that led to it, and no more."""
    source = "from alchemy.errors import *\n\nraise ConfigurationError('no token', hint='make one')"
    error = raised_by(source, tmp_path / "p.py")
    assert isinstance(error, ConfigurationError)
    failures.show(error, root=tmp_path)
    assert capsys.readouterr().err.splitlines() == [f"error: {tmp_path}/p.py:3: no token", "  hint: make one"]


def test_a_cause_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`raise … from …` says both."""
    source = "try:\n    1 / 0\nexcept Exception as e:\n    raise RuntimeError('sum') from e"
    failures.show(raised_by(source, tmp_path / "p.py"), root=tmp_path)
    assert capsys.readouterr().err.splitlines()[-1] == "  because of ZeroDivisionError: division by zero"


def test_messages_cannot_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """What a provider answered may hold escape sequences; they are left out."""
    failures.show(failed("a/b/one", ProviderError("\x1b]0;owned\x07")))
    assert "\x1b" not in capsys.readouterr().err
