"""`os.Exec`: what it runs, when it runs again, and what it says."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from alchemy.errors import DeclarationError, ProviderError
from alchemy.os import Exec
from alchemy.os._exec import ExecProvider
from alchemy.os._masking import KEPT
from alchemy.secret import Secret

if TYPE_CHECKING:
    from tests.unit.os.conftest import Bench

pytestmark = pytest.mark.anyio
provider = ExecProvider()


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder."""
    monkeypatch.chdir(tmp_path)


async def create(bench: Bench, want: Exec) -> Exec:
    return await provider.create(bench.context(want), want)


async def runs_again(bench: Bench, have: Exec, *, force: bool = False, **changes: Any) -> bool:
    """Update `have` with changes, and say whether its command ran."""
    names = ("command", "cwd", "env", "inputs", "timeout")
    want = bench.make(**{name: changes.get(name, getattr(have, name)) for name in names})
    want = bench.make(*changes.get("command", have.command), **{name: want.__dict__[name] for name in names[1:]})
    before = len(bench.logs)
    made = await provider.update(bench.context(want, force=force), want, have)
    assert made.exit_code == 0
    return len(bench.logs) > before


# What it runs


async def test_runs(bench: Bench) -> None:
    """A command's exit code and both of its outputs are given, and each line is logged."""
    made = await create(bench, bench.shell("echo one; echo two >&2; printf three"))
    assert (made.exit_code, made.stdout, made.stderr) == (0, "one\nthree", "two\n")
    assert bench.logs[0] == "$ sh -c 'echo one; echo two >&2; printf three'"
    assert sorted(bench.logs[1:]) == ["one", "three", "two"]
    assert await provider.read(bench.context(made), made) is made
    await provider.delete(bench.context(made), made)


async def test_no_shell(bench: Bench) -> None:
    """Arguments reach the program as they are, and it gets no input."""
    code = "import sys; print(sys.argv[1:], repr(sys.stdin.read()))"
    made = await create(bench, bench.make(sys.executable, "-c", code, "a b", "$HOME", "*"))
    assert made.stdout == "['a b', '$HOME', '*'] ''\n"


async def test_folder_and_environment(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs in its folder, with this process's variables and its own, which count first."""
    (tmp_path / "sub").mkdir()
    monkeypatch.setenv("INHERITED", "one")
    monkeypatch.setenv("CHANGED", "two")
    want = bench.shell("pwd; echo $INHERITED $CHANGED $OWN", cwd="sub", env={"CHANGED": "three", "OWN": "four"})
    assert (await create(bench, want)).stdout == f"{tmp_path}/sub\none three four\n"


async def test_program_relative_to_its_folder(bench: Bench, tmp_path: Path) -> None:
    """A program is looked for in the folder it runs in when it is given by a relative path."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "build.sh").write_text("#!/bin/sh\necho built\n")
    (tmp_path / "sub" / "build.sh").chmod(0o755)
    assert (await create(bench, bench.make("./build.sh", cwd="sub"))).stdout == "built\n"


async def test_lines_come_as_they_are_printed(bench: Bench, tmp_path: Path) -> None:
    """A line is logged while the command still runs: this one waits for what the log does with it."""
    os.mkfifo("answer")
    lines: list[str] = []

    def log(line: str) -> None:
        lines.append(line)
        if line == "question":
            fd = os.open("answer", os.O_WRONLY)
            os.write(fd, b"42\n")
            os.close(fd)

    bench.log = log
    made = await create(bench, bench.shell("echo question; read answer < answer; echo got $answer"))
    assert made.stdout == "question\ngot 42\n"
    assert lines[1:] == ["question", "got 42"]


async def test_big_output(bench: Bench) -> None:
    """Of much output the end is kept, whole characters only, and all of it was logged."""
    code = "import sys\nfor n in range(60_000): print('zeile', n, 'ü' * 7)\nsys.stderr.write('€' * 100_000)"
    made = await create(bench, bench.make(sys.executable, "-X", "utf8", "-c", code))
    assert made.stdout.endswith("zeile 59999 üüüüüüü\n")
    assert KEPT - 4 <= len(made.stdout.encode()) <= KEPT
    assert set(made.stderr) == {"€"}
    assert KEPT - 4 <= len(made.stderr.encode()) <= KEPT
    assert [line for line in bench.logs if line.startswith("zeile")] == [f"zeile {n} üüüüüüü" for n in range(60_000)]
    assert sum(line.count("€") for line in bench.logs) >= 99_990


async def test_invalid_utf8(bench: Bench) -> None:
    """Output that is no UTF-8 is shown with U+FFFD in place of what it is not; line ends may be CRLF."""
    made = await create(bench, bench.shell(r"printf 'a\377b\r\nc\n'"))
    assert made.stdout == "a\ufffdb\r\nc\n"
    assert bench.logs[1:] == ["a\ufffdb", "c"]


# Secrets


async def test_secrets_are_masked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret of `env`, nor an inherited variable named like one, is logged, kept or told in an error."""
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "inherited-token")
    monkeypatch.setenv("MY_KEY", "short")
    env = {"A": Secret("hunter2"), "B": Secret("line one\nline two"), "C": "plain", "D": Secret("")}
    script = 'echo "$A$A-$B-$C-$CLOUDFLARE_API_TOKEN-$MY_KEY"; echo "x${A}y" >&2; '
    made = await create(bench, bench.shell(script, env=env))
    assert made.stdout == "******-***\n***-plain-***-short\n"
    assert made.stderr == "x***y\n"
    with pytest.raises(ProviderError) as raised:
        await create(bench, bench.shell(script + "exit 3 # hunter2", env=env))
    everything = "\n".join((*bench.logs, made.stdout, made.stderr, str(raised.value), repr(made.__dict__)))
    for value in ("hunter2", "line one", "line two", "inherited-token"):
        assert value not in everything


async def test_secret_across_the_parts_of_a_long_line(bench: Bench) -> None:
    """A secret is masked wherever it falls in a line that is too long to be logged in one part."""
    code = "import os, sys\nfor n in range(200): sys.stdout.write('x' * 997 + os.environ['A']); sys.stdout.flush()"
    made = await create(bench, bench.make(sys.executable, "-c", code, env={"A": Secret("s3cret-" * 11)}))
    assert "s3cret" not in "".join(bench.logs[1:])
    assert "s3cret" not in made.stdout
    assert "".join(bench.logs[1:]) == ("x" * 997 + "***") * 200


# When it runs again


async def test_runs_again_only_for_what_counts(bench: Bench) -> None:
    """Command, folder, environment and input contents make it run again; a timeout or other patterns do not."""
    Path("src").mkdir()
    Path("src/a").write_text("1")
    have = await create(bench, bench.make("echo", "x", inputs=["src/*"], env={"A": Secret("1")}))
    assert not await runs_again(bench, have)
    assert not await runs_again(bench, have, timeout=5.0)
    assert not await runs_again(bench, have, inputs=["src/a"])
    assert await runs_again(bench, have, env={"A": Secret("2")})
    assert await runs_again(bench, have, command=["echo", "y"])
    assert await runs_again(bench, have, cwd="src", inputs=[])
    assert await runs_again(bench, have)
    assert not await runs_again(bench, have)
    assert await runs_again(bench, have, force=True)
    Path("src/a").write_text("2")
    assert await runs_again(bench, have)


async def test_runs_again_after_a_failure(bench: Bench) -> None:
    """A run that failed half-way is forgotten as one that counts before it begins: going back runs again."""
    have = await create(bench, bench.make("true"))
    want = bench.make("false")
    with pytest.raises(ProviderError):
        await provider.update(bench.context(want), want, have)
    assert bench.checkpoints == [{}]
    assert await runs_again(bench, have)


async def test_fingerprint(bench: Bench) -> None:
    """The fingerprint is the contents of input files by path; without inputs there is none."""
    Path("src/deep").mkdir(parents=True)
    Path("src/a").write_text("1")
    Path("src/deep/b").write_text("2")
    Path("src/.hidden").write_text("3")
    Path("src/link").symlink_to("a")
    os.mkfifo("src/pipe")
    assert bench.make("true").fingerprint() is None

    def paths(*inputs: str, **values: Any) -> list[str]:
        found = bench.make("true", inputs=list(inputs), **values).fingerprint()
        assert found is not None
        return list(found["files"])

    assert paths("src/*") == ["src/a", "src/link"]
    assert paths("src/**") == paths("src") == paths("src/") == ["src/a", "src/deep/b", "src/link"]
    assert paths("**/b", "src/a", "./src/a") == ["src/deep/b", "src/a"]
    assert paths("src/.*") == ["src/.hidden"]
    assert paths("b", "../a", cwd="src/deep") == ["b", "../a"]
    assert paths("nothing", "src/deep/*.x", cwd=None) == []
    assert paths("*", cwd="missing") == []
    first = bench.make("true", inputs=["src"]).fingerprint()
    Path("src/a").write_text("9")
    assert bench.make("true", inputs=["src"]).fingerprint() != first


async def test_folder_with_odd_name(bench: Bench) -> None:
    """A name that would be a pattern stands for itself where it is a folder's given without wildcards."""
    Path("src").mkdir()
    Path("src/b c").mkdir()
    Path("src/b c/1").write_text("")
    found = bench.make("true", inputs=["src/b c"]).fingerprint()
    assert found is not None
    assert list(found["files"]) == ["src/b c/1"]


async def test_input_that_matches_nothing(bench: Bench, tmp_path: Path) -> None:
    """A pattern that matches no file is allowed, and the log says so."""
    await create(bench, bench.make("true", inputs=["*.c"]))
    assert bench.logs == [f"the input '*.c' matches no file in {tmp_path}", "$ true"]


async def test_unreadable_input(bench: Bench, nobodys: Path) -> None:
    """An input that may not be read is an error that names it."""
    (nobodys / "a").write_text("")
    (nobodys / "a").chmod(0)
    with pytest.raises(DeclarationError, match="os::Exec 'it': the input a cannot be read: Permission denied"):
        bench.make("true", inputs=["*"], cwd=str(nobodys)).fingerprint()


# What it refuses


async def test_text_for_a_command(bench: Bench) -> None:
    """A command or inputs as one text are refused when declared, with the list that was meant."""
    with pytest.raises(DeclarationError, match=r'one text.*write command=\["npm", "run", "my build"\]'):
        Exec("build", command="npm run 'my build'")
    with pytest.raises(
        DeclarationError, match=r"'inputs' of os::Exec 'build' is one text.*write inputs=\[\"src/\*\"\]"
    ):
        Exec("build", command=["true"], inputs="src/*")
    with pytest.raises(DeclarationError, match="one text"):
        Exec("build", command="it's")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"command": []}, "'command' of os::Exec 'it' names no program"),
        ({"command": [""]}, "'command' of os::Exec 'it' names no program"),
        ({"command": ["a\0"]}, "'command' of os::Exec 'it' holds a character"),
        ({"command": ["\ud800"]}, "'command' of os::Exec 'it' holds a character"),
        ({"cwd": "a\0"}, "'cwd' of os::Exec 'it' holds a character"),
        ({"inputs": ["a\0"]}, "'inputs' of os::Exec 'it' holds a character"),
        ({"env": {"A=B": ""}}, "'env' of os::Exec 'it' holds 'A=B'"),
        ({"env": {"": ""}}, "'env' of os::Exec 'it' holds ''"),
        ({"env": {"A": Secret("x\0y")}}, "'A' in 'env' of os::Exec 'it' holds a character"),
        ({"timeout": 0.0}, "'timeout' of os::Exec 'it' is 0 "),
        ({"timeout": float("nan")}, "'timeout' of os::Exec 'it' is nan"),
    ],
)
async def test_refuses_wrong_inputs(bench: Bench, values: dict[str, Any], message: str) -> None:
    """An input that cannot be is named, when it is declared and in the handler; nothing is run."""
    command = values.pop("command", ["touch", "ran"])
    want = bench.make(*command, **values)
    with pytest.raises(DeclarationError, match=message):
        want.fingerprint()
    with pytest.raises(DeclarationError, match=message):
        await create(bench, want)
    assert os.listdir() == []


async def test_missing_folder(bench: Bench) -> None:
    """A folder to run in that does not exist is named, and not mistaken for a missing program."""
    with pytest.raises(ProviderError, match=r"nowhere is not a folder: true cannot run there \(check its cwd"):
        await create(bench, bench.make("true", cwd="nowhere"))


async def test_programs_that_cannot_be_started(bench: Bench) -> None:
    """A missing program, one that may not be run, and one that is none: each says what to do."""
    Path("plain").write_text("echo hello\n")
    Path("noexec").write_text("")
    Path("plain").chmod(0o755)
    Path("broken").write_text("#!/no/such/interpreter\n")
    Path("broken").chmod(0o755)
    for program, message in (
        ("no-such-program", "No such file or directory.*installed, and on PATH"),
        ("./broken", "No such file or directory.*interpreter"),
        ("./noexec", r"Permission denied \(make ./noexec executable: chmod \+x\)"),
        ("./plain", "Exec format error.*first line such as #!/bin/sh"),
    ):
        with pytest.raises(ProviderError, match=rf"{program} x cannot be started: {message}") as raised:
            await create(bench, bench.make(program, "x"))
        assert not raised.value.ambiguous


async def test_argument_too_long(bench: Bench) -> None:
    """What the operating system refuses for another reason is told as it is, and shortened."""
    with pytest.raises(ProviderError, match=r"true xx.*… cannot be started: Argument list too long") as raised:
        await create(bench, bench.make("true", "x" * 3_000_000))
    assert raised.value.hint is None
    assert len(str(raised.value)) < 200


async def test_failure(bench: Bench) -> None:
    """A command that fails is an error with its exit code and the last lines it printed, of its errors first."""
    with pytest.raises(ProviderError) as raised:
        await create(bench, bench.shell("echo out; for n in $(seq 100); do echo line $n >&2; done; exit 3"))
    assert raised.value.code == 3
    message, *lines = raised.value.message.splitlines()
    assert message.endswith("ended with exit code 3:")
    assert lines == [f"line {n}" for n in range(81, 101)]
    with pytest.raises(ProviderError, match=r"ended with exit code 1:\nout$"):
        await create(bench, bench.shell("echo out; exit 1"))
    with pytest.raises(ProviderError, match=r"false ended with exit code 1$"):
        await create(bench, bench.make("false"))
    assert bench.data == {}


async def test_killed(bench: Bench) -> None:
    """A command that a signal has ended is an error that names the signal."""
    with pytest.raises(ProviderError, match="was killed by SIGKILL"):
        await create(bench, bench.shell("kill -9 $$"))
