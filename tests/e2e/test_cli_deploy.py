"""`alchemy deploy` and `alchemy run` as a process: what they do, print and exit with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Project

FILES = """
from alchemy import alchemy
from alchemy.fs import File

async def main():
    async with alchemy("notes") as app:
        async with alchemy.run("texts"):
            one = await File("one", path="out/one.txt", content="{one}")
        {two}
        app.export(path=one.absolute_path, sizes={{"one": one.size}})
"""


def test_a_program_is_deployed_changed_and_cleaned_up(project: Project) -> None:
    """Files come, stay untouched by a second run, change alone, and go when they leave the program."""
    two = 'await File("two", path="out/two.txt", content="2")'
    project.write(FILES.format(one="1", two=two))
    first = project.ok("deploy").stdout.splitlines()
    assert first[0] == "deploying notes/dev"
    assert [line.split()[:3] for line in first[1:3]] == [
        ["created", "notes/dev/texts/one", "fs::File"],
        ["created", "notes/dev/two", "fs::File"],
    ]
    assert first[3].startswith("notes/dev: 2 created in ")
    assert first[4].split() == ["path", str(project.folder / "out/one.txt")]
    assert first[5].split() == ["sizes", '{"one":1}']

    second = project.ok("deploy").stdout.splitlines()
    assert second[0] == "deploying notes/dev, 2 in state"
    assert second[1].startswith("notes/dev: 2 unchanged in ")

    project.write(FILES.format(one="changed", two=two))
    third = project.ok("deploy").stdout
    assert "updated    notes/dev/texts/one" in third
    assert "1 updated, 1 unchanged" in third
    assert (project.folder / "out/one.txt").read_text() == "changed"

    project.write(FILES.format(one="changed", two="pass"))
    assert "deleted    notes/dev/two" in project.ok("deploy").stdout
    assert not (project.folder / "out/two.txt").exists()


def test_resources_may_be_defined_in_the_program(project: Project) -> None:
    """A provider in the program is named by file and class, and found again by the next run."""
    project.things('Thing("a", size=1)')
    project.ok("deploy")
    project.things('Thing("a", size=2)')
    project.ok("deploy")
    assert project.objects == {"notes-dev-a": "2"}
    record = json.loads(project.ok("state", "get", "notes/dev/a").stdout)
    assert record["provider"] == "file:alchemy.run.py#Things"


def test_an_edit_of_the_same_size_within_a_second_counts(project: Project) -> None:
    """The program is compiled as it stands, whatever compiled files Python keeps."""
    for size in "123":
        project.things(f'Thing("a", size={size})')
        project.ok("deploy")
    assert project.objects == {"notes-dev-a": "3"}


def test_a_failure_is_named_once_and_fails_the_command(project: Project) -> None:
    """Exit code 1, each failure once with its FQN, its cause and the program's line; what worked is kept."""
    project.things('Thing("a")', 'Thing("b", bad=True)', 'Thing("c", bad=True)')
    done = project.run("deploy")
    assert done.returncode == 1
    assert done.stderr.count("error:") == 2
    assert "error: notes/dev/b: create failed: ValueError: b went bad" in done.stderr
    assert "error: notes/dev/c: create failed: ValueError: c went bad" in done.stderr
    assert 'alchemy.run.py", line' in done.stderr
    assert "Traceback" not in done.stderr
    assert "engine" not in done.stderr
    assert "1 created, 2 failed, not finished" in done.stdout
    assert project.objects == {"notes-dev-a": "1"}


def test_a_failure_that_the_program_caught_is_still_a_failure(project: Project) -> None:
    """A resource that failed is listed, and the exit code is 1, also when the program went on without it."""
    project.things("try:", '    await Thing("a", bad=True)', "except Exception:", "    pass", 'await Thing("b")')
    done = project.run("deploy")
    assert done.returncode == 1
    assert done.stderr.count("error:") == 1
    assert "notes/dev/a: create failed" in done.stderr


def test_verbose_tells_what_providers_say(project: Project) -> None:
    """`--verbose` shows logs, unchanged resources and whole tracebacks; without it none of them."""
    project.things('Thing("a")')
    assert "making a" not in project.ok("deploy", "--stage", "one").stdout
    told = project.ok("deploy", "--verbose").stdout
    assert "log        notes/dev/a  making a" in told
    assert "unchanged  notes/dev/a" in project.ok("deploy", "--verbose").stdout
    project.things('Thing("b", bad=True)')
    assert "Traceback" in project.run("deploy", "--verbose").stderr


def test_quiet_tells_failures_only(project: Project) -> None:
    """`--quiet` prints nothing when all is well, and failures when not."""
    project.things('Thing("a")')
    assert project.ok("deploy", "--quiet").stdout == ""
    project.things('Thing("b", bad=True)')
    done = project.run("deploy", "--quiet")
    assert (done.returncode, done.stdout) == (1, "")
    assert "notes/dev/b: create failed" in done.stderr


def test_json_is_events_and_nothing_else(project: Project) -> None:
    """Every line of stdout is an event; what the program and its children print goes to stderr."""
    project.things('print("from the program")', 'os.system("echo from a child")', 'await Thing("a")')
    done = project.run("deploy", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert events[0]["type"] == "run.started"
    assert events[-1]["type"] == "run.finished"
    assert events[-1]["counts"] == {"created": 1}
    assert "from the program" in done.stderr
    assert "from a child" in done.stderr


def test_run_gives_what_state_holds(project: Project) -> None:
    """`alchemy run` reads outputs without calling providers, and fails for what was never deployed."""
    project.things('a = await Thing("a")', "app.export(id=a.object_id)")
    missing = project.run("run")
    assert missing.returncode == 1
    assert "notes/dev/a is not in state" in missing.stderr
    assert "alchemy deploy" in missing.stderr
    project.ok("deploy")
    project.things('a = await Thing("a", size=5)', "app.export(id=a.object_id)")
    told = project.ok("run").stdout
    assert "notes/dev: 1 read" in told
    assert "  id  notes-dev-a-" in told
    assert project.objects == {"notes-dev-a": "1"}


def test_options_reach_the_program(project: Project) -> None:
    """What is said on the command line holds for `alchemy(...)`: stage, state folder, force."""
    project.things('Thing("a")')
    project.ok("deploy", "--stage", "prod", "--state-dir", "elsewhere")
    assert (project.folder / "elsewhere/notes/prod/state.json").exists()
    told = project.ok("deploy", "--stage", "prod", "--state-dir", "elsewhere", "--force").stdout
    assert "updated    notes/prod/a" in told


def test_a_program_is_found_from_elsewhere(project: Project) -> None:
    """Named by its folder, state and imports stay beside the program, and the current folder is left alone."""
    project.write("SIZE = 7", "sizes.py")
    project.things("from sizes import SIZE", "app.export(size=SIZE)")
    other = project.folder / "other"
    other.mkdir()
    assert "size  7" in project.ok("deploy", "..", cwd=other).stdout
    assert (project.folder / ".alchemy").is_dir()
    assert list(other.iterdir()) == []


def test_a_program_that_runs_itself_works_both_ways(project: Project) -> None:
    """`if __name__ == "__main__": asyncio.run(main())` does nothing under `alchemy deploy`."""
    project.things('await Thing("a")')
    source = (project.folder / "alchemy.run.py").read_text()
    project.write(f'{source}\nif __name__ == "__main__":\n    print("by itself")\n    asyncio.run(main())\n')
    assert "by itself" not in project.ok("deploy").stdout


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        ("x = 1", "defines no `main`", "async def main()"),
        ("def main(): pass", "is not asynchronous", "async def main()"),
        ("main = 3", "is a int", "async def main()"),
        ("async def main(stage): pass", "takes stage", "alchemy.env"),
        ("async def main(): pass", "opened no application", "async with alchemy"),
        ("async def main(:", "alchemy.run.py:1: SyntaxError", "async def main(:"),
        ("import does_not_exist", "No module named 'does_not_exist'", "import does_not_exist"),
        ("\nraise RuntimeError('early')", "RuntimeError: early", 'alchemy.run.py", line 2'),
        ("async def main():\n    raise RuntimeError('late')", "RuntimeError: late", 'alchemy.run.py", line 2'),
    ],
)
def test_a_program_that_cannot_run_is_told_why(project: Project, source: str, message: str, hint: str) -> None:
    """The message names the file, the line and the remedy; none of our own frames is shown."""
    project.write(source)
    done = project.run("deploy")
    assert done.returncode == 1
    assert message in done.stderr
    assert hint in done.stderr
    assert "alchemy/cli" not in done.stderr
    assert done.stdout == ""


def test_a_mistake_in_a_declaration_is_told_with_its_line(project: Project) -> None:
    """An error that the package raises on purpose has no traceback, but the line of the program that it is about."""
    project.things('Thing("a", sise=3)')
    line = len((project.folder / "alchemy.run.py").read_text().splitlines())
    done = project.run("deploy")
    assert done.returncode == 1
    assert f"error: alchemy.run.py:{line}: " in done.stderr
    assert "'sise'" in done.stderr
    assert "File" not in done.stderr


def test_bad_options_are_told_wherever_they_come_from(project: Project) -> None:
    """On the command line it is misuse, in the environment and in pyproject.toml a clean error."""
    project.things()
    done = project.run("deploy", "--parallelism", "none")
    assert (done.returncode, "--parallelism" in done.stderr) == (2, True)
    done = project.run("deploy", env={"ALCHEMY_PARALLELISM": "none"})
    assert (done.returncode, "ALCHEMY_PARALLELISM" in done.stderr) == (1, True)
    project.write("[tool.alchemy]\nparalelism = 3\n", "pyproject.toml")
    done = project.run("deploy")
    assert (done.returncode, "did you mean 'parallelism'" in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_does_not_end_the_run(project: Project) -> None:
    """`alchemy deploy | head -0` deploys everything, and does not complain."""
    project.things('await Thing("a", slow=True)', *(f'Thing("t{index}")' for index in range(50)))
    running = project.start("deploy", "--verbose")
    assert "deploying" in running.stdout.readline()
    running.stdout.close()
    (project.folder / "go").touch()
    assert running.process.wait(60) == 0
    assert running.stderr.read() == ""
    assert len(project.objects) == 51


def test_a_program_that_runs_itself_while_loaded_is_refused(project: Project) -> None:
    """`asyncio.run(main())` without a guard would deploy twice."""
    project.things('await Thing("a")')
    source = (project.folder / "alchemy.run.py").read_text()
    project.write(f"{source}\nasyncio.run(main())\n")
    done = project.run("deploy")
    assert done.returncode == 1
    assert "runs itself while it is loaded" in done.stderr
    assert "__main__" in done.stderr
    assert done.stdout.count("deploying") == 1


def test_a_program_that_does_not_finalize_is_told_so(project: Project) -> None:
    """What it made is kept and recorded, nothing is destroyed, and the exit code is 1, also with `--quiet`."""
    body = '\nasync def main():\n    app = await alchemy("notes")\n    Thing("a")\n'
    project.program(body)
    for args in ((), ("--quiet",)):
        done = project.run("deploy", *args)
        assert done.returncode == 1
        assert "notes/dev was not finished" in done.stderr
        assert "app.finalize()" in done.stderr
    assert project.records() == {"notes/dev/a": "created"}
    project.program(f"{body}    await app.finalize()\n")
    project.ok("deploy")


def test_a_program_in_the_phase_destroy_destroys(project: Project) -> None:
    """`phase="destroy"` in code ends the program where it awaits its application, and that is success."""
    project.things('await Thing("a")')
    project.ok("deploy")
    project.program('async def main():\n    await alchemy("notes", phase="destroy")\n    print("not reached")\n')
    told = project.ok("deploy").stdout
    assert "1 deleted" in told
    assert "not reached" not in told
    assert project.objects == {}


def test_a_program_may_open_several_applications(project: Project) -> None:
    """Each is summed up for itself, one within the other or one after the other."""
    project.things('Thing("a")', 'async with alchemy("shop") as other:', "    other.export(n=1)")
    told = project.ok("deploy").stdout
    assert "notes/dev: 1 created" in told
    assert "shop/dev: nothing to do" in told
