"""`alchemy` itself: secrets, the environment, and what a program is told when it opens badly."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine.world import Cloud, Store, Thing, deploy, things

from alchemy import alchemy, config
from alchemy.app import default_app
from alchemy.config import Launch
from alchemy.errors import ConfigurationError, DeclarationError, LockedError
from alchemy.events import RunFinished, RunStarted, Waiting
from alchemy.opening import destroy_unit
from alchemy.secret import Secret

pytestmark = pytest.mark.anyio


def test_secrets_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a value, of an environment variable; `None` and a missing variable are errors that say so."""
    assert alchemy.secret("x").reveal() == "x"
    kept = Secret("y")
    assert alchemy.secret(kept) == kept
    monkeypatch.setenv("MY_TOKEN", "z")
    assert alchemy.secret.env("MY_TOKEN").reveal() == "z"
    assert alchemy.secret.env("MY_TOKEN").name == "MY_TOKEN"
    with pytest.raises(ConfigurationError, match="the secret 'TOKEN' has no value"):
        alchemy.secret(None, name="TOKEN")
    with pytest.raises(ConfigurationError, match=r"MY_TOKNE is not set \(did you mean MY_TOKEN\?\)"):
        alchemy.secret.env("MY_TOKNE")


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is not set is named, with the remedy."""
    monkeypatch.setenv("A_VARIABLE", "1")
    assert alchemy.env("A_VARIABLE") == "1"
    monkeypatch.delenv("A_VARIABLE")
    with pytest.raises(ConfigurationError, match="the environment variable QQQ_NOPE_77 is not set"):
        alchemy.env("QQQ_NOPE_77")


async def test_a_secret_needs_a_password_where_it_is_made(cloud: Cloud, store: Store) -> None:
    """In a scope without password: an error at once, naming the secret."""

    async def program(_app: Any) -> None:
        alchemy.secret("x", name="TOKEN")

    with pytest.raises(ConfigurationError, match="the secret 'TOKEN' is used in app/dev, and there is no password"):
        await deploy(program, store)


async def test_who_holds_the_stage_is_told(cloud: Cloud, store: Store) -> None:
    """Waiting is reported, and ends in an error; another stage is not disturbed."""
    async with alchemy("app", stage="dev", state_store=store):
        with pytest.raises(LockedError, match="app/dev is held by"):
            async with alchemy("app", stage="dev", state_store=store, lock_timeout=0.02):
                pytest.fail("entered")
        assert any(isinstance(event, Waiting) for event in cloud.events)
        async with alchemy("app", stage="other", state_store=store):
            await Thing("x")
    assert "app/other/x" in store.memory.records("app/other")


async def test_a_wait_that_is_cut_short_leaves_nothing_held(cloud: Cloud, store: Store) -> None:
    """A timeout around an opening that waits for a lease."""
    async with alchemy("app", stage="dev", state_store=store):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02), alchemy("app", stage="dev", state_store=store, lock_timeout=30):
                pytest.fail("entered")
        await Thing("still-ours")
    await deploy(things(a=1), store)


def test_what_began_before_a_refusal_hears_of_it(cloud: Cloud, store: Store) -> None:
    """A nested scope and a resource that began at the call: the refusal is raised where they are awaited, and by
    nobody else: no task ends with an error that only the loop would tell.

    The loop is this test's own: whatever the collector finds of others tells theirs.
    """
    untold: list[dict[str, Any]] = []

    async def part() -> None:
        pytest.fail("begun")

    async def program() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: untold.append(context))
        async with alchemy("app", stage="dev", state_store=store):
            opening = alchemy("app", stage="dev", state_store=store, lock_timeout=0.02)
            thing, nested = Thing("x"), alchemy.run("part", part)
            for refused in (opening, thing, nested):
                with pytest.raises(LockedError, match="app/dev is held by"):
                    await refused

    asyncio.run(program())
    gc.collect()
    assert untold == []


async def test_what_a_run_reports(cloud: Cloud, store: Store) -> None:
    """First what is known, last how it went."""
    await deploy(things(a=1), store)
    cloud.forget()
    await deploy(things(a=1, b=1), store)
    first, last = cloud.events[0], cloud.events[-1]
    assert isinstance(first, RunStarted)
    assert (first.unit, first.phase, first.known) == ("app/dev", "up", 1)
    assert isinstance(last, RunFinished)
    assert last.ok
    assert last.counts == {"unchanged": 1, "created": 1}


async def test_a_stage_of_its_own(cloud: Cloud, store: Store) -> None:
    """Two stages of one application share nothing but its lineage."""
    await deploy(things(a=1), store, stage="one")
    await deploy(things(a=1), store, stage="two")
    assert len(cloud.objects) == 2
    await destroy_unit("app/one", state_store=store)
    assert [made.fqn for made in cloud.objects.values()] == ["app/two/a"]


async def test_destroy_of_a_copy(cloud: Cloud, store: Store) -> None:
    """A handler's copy belongs to no scope, and cannot be destroyed."""
    import copy

    async def program(_app: Any) -> None:
        twin = copy.copy(await Thing("a"))
        with pytest.raises(DeclarationError, match="belongs to no scope"):
            await alchemy.destroy(twin)

    await deploy(program, store)
    app = await alchemy("app", stage="dev", state_store=store)
    await Thing("a")
    await app.finalize()
    with pytest.raises(DeclarationError, match="finalized already"):
        await alchemy.destroy(app)


def test_an_application_that_a_test_did_not_name(tmp_path: Path) -> None:
    """From pyproject.toml, else the folder's name, made fit."""
    folder = tmp_path / "my app!"
    folder.mkdir()
    assert default_app(folder) == "my-app"
    (folder / "pyproject.toml").write_text('[tool.alchemy]\napp = "named"\n')
    assert default_app(folder) == "named"


async def test_the_command_line_wins_over_the_environment(
    cloud: Cloud, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And code wins over both, unless it says `None`."""
    monkeypatch.setenv("ALCHEMY_STAGE", "from-env")
    token = config.launch.set(Launch(options={"stage": "from-cli"}))
    try:
        for stage, expected in ((None, "from-cli"), ("from-code", "from-code")):
            async with alchemy("app", stage=stage, state_store=store) as app:
                assert app.stage == expected
    finally:
        config.launch.reset(token)
    async with alchemy("app", state_store=store) as app:
        assert app.stage == "from-env"
