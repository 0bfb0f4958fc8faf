"""Commands that were not understood, and what needs no program: help, version, completion, init."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alchemy.cli.literals import opened_in

if TYPE_CHECKING:
    from tests.e2e.conftest import Project

HEAVY = ("asyncio", "rich", "msgspec", "alchemy.engine", "alchemy.config", "cryptography", "httpx", "cloudflare")


@pytest.mark.parametrize("args", [(), ("--help",), ("--version",), ("deplyo",)])
def test_help_imports_nothing_heavy(args: tuple[str, ...]) -> None:
    """What needs no engine loads none: that is what keeps it under 0.2 s."""
    code = (
        "import sys; from alchemy.cli.entry import run; run(sys.argv[1:]);"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_deploy_in_a_pipe_does_not_import_rich(project: Project) -> None:
    """Only a terminal needs what draws in it."""
    project.things("import sys", 'app.export(rich="rich" in sys.modules)')
    assert "rich  false" in project.ok("deploy").stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("deplyo",), "error: no such command 'deplyo', did you mean 'deploy'?"),
        (("state", "lst"), "error: no such command 'lst', did you mean 'list'?"),
        (("frobnicate",), "error: no such command 'frobnicate', there are init, deploy"),
        (("deploy", "--stag", "x"), "error: no such option '--stag', did you mean '--stage'?"),
        (("deploy", "a", "b"), "error: got unexpected extra argument"),
        (("destroy", "--strategy", "fast"), "error: invalid value for '--strategy'"),
        (("deploy", "--stage"), "error: option '--stage' requires an argument"),
        (("state",), "error: no command given, there are list, tree, get"),
    ],
)
def test_misuse_is_exit_code_2_with_a_suggestion(project: Project, args: tuple[str, ...], message: str) -> None:
    """Nothing is done, and the message says what was probably meant."""
    done = project.run(*args)
    assert done.returncode == 2
    assert done.stderr.startswith(message)


def test_an_option_without_its_argument_leads_to_the_help_of_its_command(project: Project) -> None:
    """And not to that of all commands."""
    assert project.run("scope", "inspect", "notes/dev", "--state-dir").stderr.splitlines()[1:] == [
        "  hint: alchemy scope inspect notes/dev --help"
    ]
    assert "Usage: alchemy scope inspect" in project.ok("scope", "inspect", "notes/dev", "--help").stdout


def test_a_program_that_raised_is_not_told_to_finalize(project: Project) -> None:
    """That it did not finalize is told where it was forgotten, and not where something went wrong before."""
    opening = "from alchemy import alchemy\nasync def main():\n    app = await alchemy('x')\n"
    project.write(opening)
    assert "x/dev was never finalized" in project.run("deploy").stdout
    project.write(opening + "    raise ValueError('mine')\n    await app.finalize()\n")
    done = project.run("deploy")
    assert "ValueError: mine" in done.stderr
    assert "finalized" not in done.stdout + done.stderr


@pytest.mark.parametrize("entered", ["with alchemy('x')", "async with alchemy('x'):\n        with alchemy.run('y')"])
def test_a_scope_that_is_entered_without_async_says_what_to_write(project: Project, entered: str) -> None:
    """The application and nested scopes alike."""
    project.write(f"from alchemy import alchemy\nasync def main():\n    {entered}:\n            pass\n")
    done = project.run("deploy")
    assert (done.returncode, "hint: write `async with`" in done.stderr) == (1, True)


def test_a_missing_program_says_what_was_looked_for(project: Project) -> None:
    """The names, the folder, and the command that makes one."""
    done = project.run("deploy")
    assert done.returncode == 1
    for part in ("alchemy.run.py", "alchemy_run.py", str(project.folder), "alchemy init"):
        assert part in done.stderr
    assert "there is no program nope.py" in project.run("deploy", "nope.py").stderr


def test_the_other_name_of_a_program_is_found(project: Project) -> None:
    """`alchemy_run.py` serves where `alchemy.run.py` is not there."""
    project.write('from alchemy import alchemy\nasync def main():\n    async with alchemy("x"): pass', "alchemy_run.py")
    assert "deploying x/dev" in project.ok("deploy").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed(project: Project, shell: str) -> None:
    """Each shell gets its script."""
    assert "_ALCHEMY_COMPLETE" in project.ok("completion", shell).stdout


def test_completion_knows_commands_and_options(project: Project) -> None:
    """What the script asks for is answered: commands and options, and a strategy's words."""
    for words, index, wanted in (
        ("alchemy de", 1, "deploy"),
        ("alchemy state ", 2, "tree"),
        ("alchemy destroy --strat", 2, "--strategy"),
        ("alchemy destroy --strategy par", 3, "parallel"),
    ):
        env = {"_ALCHEMY_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(index)}
        assert wanted in project.run(env=env).stdout


def test_init_makes_a_project_that_can_be_deployed(project: Project) -> None:
    """The files are there and compile, the application is named after the folder, and `src/worker.js` is found."""
    told = project.ok("init", "My Shop").stdout
    assert "alchemy deploy --local" in told
    source = (project.folder / "My Shop/alchemy.run.py").read_text()
    ast.parse(source)
    assert [opened.app for opened in opened_in(source)] == ["my-shop"]
    assert (project.folder / "My Shop/src/worker.js").exists()


@pytest.mark.parametrize("existing", ["alchemy.run.py", "alchemy_run.py", "src/worker.js"])
def test_init_overwrites_nothing(project: Project, existing: str) -> None:
    """One file in the way, and none is written."""
    project.write("mine", existing)
    done = project.run("init")
    assert done.returncode == 1
    assert existing in done.stderr
    files = [path for path in project.folder.rglob("*") if path.is_file()]
    assert files == [project.folder / existing]
    assert files[0].read_text() == "mine"


def test_the_version_is_shown(project: Project) -> None:
    """As the package's metadata say."""
    from importlib.metadata import version

    assert project.ok("--version").stdout == f"alchemy {version('alchemy-iac')}\n"


def test_the_command_is_installed() -> None:
    """`alchemy` beside the interpreter is the same command."""
    done = subprocess.run(
        [Path(sys.executable).parent / "alchemy", "--help"], capture_output=True, text=True, check=True
    )
    assert "Commands:" in done.stdout
