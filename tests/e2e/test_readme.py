"""The documentation does what it says: its examples are run as a reader would, and their output is compared."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "examples" / "notes" / "README.md", *ROOT.glob("docs/**/*.md")]
SECONDS = 120
_FENCE = re.compile(r'^```(?P<language>\w*)(?: title="(?P<title>[^"]+)")?$')
_ADDRESS = re.compile(r"127\.0\.0\.1:\d+")


@dataclass
class Block:
    """A fenced block: `title` is the file it shows, `line` where it begins."""

    language: str
    title: str | None
    line: int
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Give what is in it."""
        return "\n".join(self.lines) + "\n"


@dataclass
class Section:
    """What stands under one heading."""

    heading: str
    blocks: list[Block] = field(default_factory=list)

    @property
    def runs(self) -> bool:
        """Say whether there is something to run."""
        return any(block.language == "console" for block in self.blocks)


def sections(path: Path) -> list[Section]:
    """Give the sections of a page with their blocks."""
    found = [Section(path.name)]
    block: Block | None = None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if block is not None:
            if line == "```":
                block = None
            else:
                block.lines.append(line)
        elif match := _FENCE.match(line):
            block = Block(match["language"], match["title"], number)
            found[-1].blocks.append(block)
        elif line.startswith("#"):
            found.append(Section(line.lstrip("# ")))
    assert block is None, f"{path.name}: a block is not closed"
    return found


def commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Give each command of a console block with the lines it is said to print."""
    command, printed = "", list[str]()
    for line in block.lines:
        if line.startswith("$ "):
            if command:
                yield command, printed
            command, printed = line.removeprefix("$ "), []
        else:
            printed.append(line)
    yield command, printed


class Reader:
    """Somebody called ada who follows an example in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        bin_folder = str(Path(sys.executable).parent)
        self.environment = {
            **os.environ,
            "PATH": bin_folder + os.pathsep + os.environ["PATH"],
            "LOGNAME": "ada",
            "COLUMNS": "120",
        }
        self.addresses: dict[str, str] = {}

    def follow(self, block: Block) -> None:
        """Write the file that a block shows, or run its commands and compare what they print."""
        if block.title is not None:
            (self.folder / block.title).write_text(block.text)
        elif block.language == "console":
            for command, printed in commands(block):
                said = self.run(_ADDRESS.sub(lambda found: self.addresses.get(found[0], found[0]), command))
                self._learn(printed, said)
                assert [normal(line) for line in said] == [normal(line) for line in printed], command

    def run(self, command: str) -> list[str]:
        """Run a command and give the lines it printed on standard output."""
        if command.startswith("curl -s "):  # curl is not everywhere where the tests run
            with urllib.request.urlopen(command.removeprefix("curl -s "), timeout=SECONDS) as response:
                text: str = response.read().decode()
                return text.splitlines()
        done = subprocess.run(
            command,
            shell=True,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{command}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.splitlines()

    def _learn(self, printed: list[str], said: list[str]) -> None:
        """Ports differ from the printed ones: remember which is which for the commands that follow."""
        for line, actual in zip(printed, said, strict=False):
            self.addresses.update(zip(_ADDRESS.findall(line), _ADDRESS.findall(actual), strict=False))


def normal(line: str) -> str:
    """Give a line without what differs between runs: times, ports and the width of columns."""
    line = re.sub(r"\b\d+(\.\d+)? (ms|s|min)\b", "TIME", line)
    return " ".join(_ADDRESS.sub("ADDRESS", line).split())


def examples() -> list[object]:
    """Give every section that can be run, as a parameter."""
    found: list[object] = []
    for page in PAGES:
        for section in sections(page):
            if section.runs:
                local = any("--local" in block.text for block in section.blocks)
                marks = [pytest.mark.workerd] if local else []
                found.append(pytest.param(section, id=f"{page.stem}-{section.heading}".replace(" ", "-"), marks=marks))
    return found


@pytest.mark.parametrize("section", examples())
def test_example_prints_what_is_printed(section: Section, tmp_path: Path) -> None:
    """Following an example from top to bottom gives the output that the page shows."""
    reader = Reader(tmp_path)
    try:
        for block in section.blocks:
            reader.follow(block)
    finally:
        if (tmp_path / ".alchemy" / "local").exists():
            reader.run("alchemy local stop")


def test_readme_shows_no_code_that_is_not_run() -> None:
    """Every program in the README is a file of an example that the test above runs."""
    shown = [block for section in sections(README) for block in section.blocks if block.language in ("python", "js")]
    run = [block for section in sections(README) if section.runs for block in section.blocks if block.title]
    assert shown
    assert [block.line for block in shown] == [block.line for block in run]


def test_python_in_the_documentation_can_be_read_and_imports_what_exists() -> None:
    """Fragments on the other pages are valid Python, and what they import from here is there."""
    for page in PAGES:
        for block in (block for section in sections(page) for block in section.blocks if block.language == "python"):
            where = f"{page.name}:{block.line}"
            flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            tree = compile(block.text, where, "exec", flags=flags)
            assert isinstance(tree, ast.Module)
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "alchemy":
                    module = importlib.import_module(node.module or "")
                    missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                    assert not missing, f"{where}: {node.module} has no {missing}"


def test_links_between_pages_lead_somewhere() -> None:
    """Every relative link names a file of the repository; one to a heading of its own page, a heading."""
    for page in PAGES:
        anchors = {re.sub(r"[^\w -]", "", section.heading).lower().replace(" ", "-") for section in sections(page)}
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if target.startswith("#"):
                assert target[1:] in anchors, f"{page.name}: {target}"
            elif "://" not in target:
                assert (page.parent / target.partition("#")[0]).exists(), f"{page.name}: {target}"


def test_make_commands_in_the_documentation_exist() -> None:
    """Every `make TARGET` that a page names is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(), re.MULTILINE)}
    assert named
    assert named <= targets
