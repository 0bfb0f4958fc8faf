"""The pytest plugin, in projects of its users."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alchemy.testing.plugin import MAX_ID, scope_id

pytest_plugins = ["pytester"]

THINGS = """
import pytest
from alchemy import Provider, Resource, alchemy, output

class Thing(Resource, kind="test::Thing", provider="things:ThingProvider"):
    fails: bool = False
    path: str = output()

class ThingProvider(Provider[Thing]):
    recover = "again"

    async def create(self, ctx, want):
        from pathlib import Path
        path = Path("world") / ctx.fqn.replace("/", "_")
        path.parent.mkdir(exist_ok=True)
        path.touch()
        return ctx.result(path=str(path))

    async def delete(self, ctx, have):
        from pathlib import Path
        Path(have.path).unlink(missing_ok=True)
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A user's project whose resources are files below `world/`."""
    pytester.makepyfile(things=THINGS)
    pytester.makeini("[pytest]\npythonpath = .\n")
    pytester.makeconftest("import pytest\n\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n")
    return pytester


def world(project: pytest.Pytester) -> list[str]:
    """The objects that exist."""
    return sorted(path.name for path in (project.path / "world").glob("*"))


def test_a_scope_is_destroyed_after_success_and_after_failure(project: pytest.Pytester) -> None:
    """What a test declared exists while it runs, and is gone afterwards, whatever became of the test."""
    project.makepyfile(
        """
        import pytest
        from pathlib import Path
        from things import Thing

        @pytest.mark.anyio
        async def test_good(alchemy_scope):
            thing = await Thing("a")
            assert Path(thing.path).exists()

        @pytest.mark.anyio
        async def test_bad(alchemy_scope):
            await Thing("b")
            raise RuntimeError("the test itself fails")
        """
    )
    result = project.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*the test itself fails*"])
    assert world(project) == []


def test_the_factory_works_without_an_asynchronous_plugin(project: pytest.Pytester) -> None:
    """`alchemy_test` is an ordinary fixture, for whatever runs coroutines."""
    project.makepyfile(
        """
        import asyncio
        from things import Thing

        def test_it(alchemy_test):
            async def body():
                async with alchemy_test(app="shop") as scope:
                    await Thing("a")
                    return scope.chain
            assert asyncio.run(body()).startswith("shop/test/test_the_factory")
        """
    )
    project.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
    assert world(project) == []


def test_what_was_kept_is_destroyed_by_the_next_run(project: pytest.Pytester) -> None:
    """`--alchemy-keep` leaves everything in place; the next run without it begins with an empty scope."""
    project.makepyfile(
        """
        import pytest
        from things import Thing
        from pathlib import Path

        @pytest.mark.anyio
        async def test_it(alchemy_scope):
            if not Path("second").exists():
                await Thing("left")
            else:
                assert not list(Path("world").iterdir())
        """
    )
    project.runpytest_subprocess("--alchemy-keep", "-p", "no:cacheprovider").assert_outcomes(passed=1)
    assert len(world(project)) == 1
    (project.path / "second").touch()
    project.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
    assert world(project) == []


def test_a_prefix_tells_runs_apart(project: pytest.Pytester) -> None:
    """`--alchemy-prefix pr-12` is part of where the state lies."""
    project.makepyfile(
        """
        import pytest, json
        from pathlib import Path

        @pytest.mark.anyio
        async def test_it(alchemy_scope):
            Path("chain.json").write_text(json.dumps(alchemy_scope.chain))
        """
    )
    project.runpytest_subprocess("--alchemy-prefix", "pr-12", "-p", "no:cacheprovider").assert_outcomes(passed=1)
    chain = json.loads(Path(project.path / "chain.json").read_text())
    assert chain.split("/")[1] == "test"
    assert chain.split("/")[2].startswith("pr-12-")


def test_ids_are_legal_and_differ() -> None:
    """A test's node id becomes a scope id that is short enough, and that no other test has."""
    long = scope_id("tests/test_a.py::test_" + "x" * 500)
    assert len(long) <= MAX_ID
    assert scope_id("tests/test_a.py::test[a/b]") != scope_id("tests/test_a.py::test[a-b]")
    assert "/" not in scope_id("tests/test_a.py::test[a/b]")
